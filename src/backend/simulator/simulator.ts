/**
 * The back end `simulator`: domains of a simulated hypervisor, a process of its own that outlives the daemon. When that
 * process is lost its domains are gone, as at a power loss: each is announced as gone, and a new hypervisor is started.
 *
 * Every request has a time in which it is to be answered. One that was not may have its effect all the same, later, and before
 * any request that is sent after it; those that wait for memory, `reserve` and `create`, also after such a request. That does no
 * harm: the requests are idempotent, and what these two have made too late is given back, as nobody knows of it.
 */
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type DomainHandle, type DomainInfo, type DomainSpec, type GuestEnd, sameDomain } from '../../base/domain.js';
import { XapiError } from '../../base/errors.js';
import type {
  HypervisorOp,
  HypervisorOps,
  SimulatedDomain,
  SimulatedSpec,
} from '../../base/protocol/hypervisor-protocol.js';
import { libxcFormats } from '../../base/protocol/stream-formats.js';
import type { Backend } from '../backend.js';
import { createEmuManager, type EmuProgram, emuProgram } from '../emu-manager.js';
import type { CallOptions, HypervisorClient } from './client.js';
import { checkSpec } from './content.js';
import { attachOrStart, type HypervisorInit, socketPathOf } from './program.js';

export interface Simulator extends Backend {
  list(): Promise<SimulatedDomain[]>;
  specOf(handle: DomainHandle): Promise<SimulatedSpec>;
  /** Whether every page is what the guest's seed and counts say it must be. */
  verify(handle: DomainHandle): Promise<HypervisorOps['verify']['result']>;
  /** Let the guest of a running domain end by itself. */
  endGuest(handle: DomainHandle, how: GuestEnd): Promise<void>;
  /** Close, and end the hypervisor where this back end has started it. For a daemon that cannot start: nobody has anything in it. */
  discard(): Promise<void>;
  /** End the hypervisor and its domains with it; returns when the process is gone. For whoever owns the whole host. */
  quit(): Promise<void>;
}

type Change = DomainInfo | { readonly gone: string };

export interface SimulatorInit extends Omit<HypervisorInit, 'timeouts'> {
  /** How long the hypervisor has to answer a request whose work does not grow with memory, in milliseconds. */
  readonly timeoutMs?: () => number;
  /** The emu-manager of now; the one that comes with xenferry where absent. */
  readonly emuProgram?: () => EmuProgram;
}

const defaultTimeoutMs = 30_000;
/** Those that read or write all of a domain's memory. */
const slowOps: ReadonlySet<HypervisorOp> = new Set<HypervisorOp>(['build', 'digest', 'verify']);
const slowTimeoutMs = 600_000;
/** What `create` takes from the system in a second, in bytes: a tenth of what it does. */
const takenInSecond = 256 * 2 ** 20;

/**
 * Attaches to the hypervisor of the state directory, which is started where none runs.
 * @throws INTERNAL_ERROR when it cannot be started, or does not answer
 */
export async function createSimulator({
  timeoutMs = () => defaultTimeoutMs,
  emuProgram: program = () => emuProgram(''),
  ...directories
}: SimulatorInit): Promise<Simulator> {
  const timeouts = (op: HypervisorOp) => (slowOps.has(op) ? Math.max(slowTimeoutMs, timeoutMs()) : timeoutMs());
  const init: HypervisorInit = { ...directories, timeouts };
  const listeners: ((change: Change) => void)[] = [];
  const link = createLink(init, (change) => {
    for (const listener of listeners) listener(change);
  });
  const call = async <O extends HypervisorOp>(
    op: O,
    args: HypervisorOps[O]['args'],
    options?: CallOptions<HypervisorOps[O]['result']>,
  ): Promise<HypervisorOps[O]['result']> => (await (await link.client()).call(op, args, options)).result;
  const create = async (described: DomainSpec, reservation?: string): Promise<DomainHandle> => {
    const spec = checkSpec(described);
    const destroy = (handle: DomainHandle): void => {
      call('destroy_unless_ran', { handle }).catch(() => undefined);
    };
    const within = timeoutMs() + Math.floor(spec.memoryBytes / takenInSecond) * 1000;
    return call('create', reservation === undefined ? { spec } : { spec, reservation }, {
      ...{ onLate: destroy, timeoutMs: within },
    });
  };
  const release = (key: string) => call('release', { key });
  await link.client();
  return {
    name: 'simulator',
    memory: async () => {
      const { total, used, reserved } = await call('memory', {});
      return { total, free: total - used - reserved };
    },
    reserve: (key, bytes) =>
      call('reserve', { key, bytes }, { onLate: () => void release(key).catch(() => undefined) }),
    release,
    checkSpec,
    create,
    build: (handle) => call('build', { handle }),
    list: () => call('list', {}),
    look: async (handle) => (await call('list', {})).find((domain) => sameDomain(domain.handle, handle)),
    specOf: async (handle) => checkSpec((await call('memory_of', { handle })).spec),
    pause: (handle, within) => call('pause', { handle }, within === undefined ? {} : { timeoutMs: within }),
    // A simulated guest does it at once.
    shutDownGuest: (handle) => call('pause', { handle }, {}),
    unpause: (handle, token) => call('unpause', { handle, token }),
    destroy: (handle) => call('destroy', { handle }),
    destroyUnlessRan: async (handle) => (await call('destroy_unless_ran', { handle })).destroyed,
    rename: (handle, uuid) => call('rename', { handle, uuid }),
    markInDoubt: (handle, reason) => call('mark_in_doubt', reason === undefined ? { handle } : { handle, reason }),
    armDigest: (handle) => call('arm_digest', { handle }),
    digest: async (handle) => (await call('digest', { handle })).digest,
    verify: (handle) => call('verify', { handle }),
    endGuest: (handle, how) => call('end_guest', { handle, how }),
    processId: async () => (await link.client()).pid,
    saveHelper: () =>
      createEmuManager({
        program: program(),
        environment: { XENFERRY_HYPERVISOR: socketPathOf(init.stateDir) },
        formats: libxcFormats,
      }),
    onDomainChange: (listener) => void listeners.push(listener),
    close: link.close,
    discard: link.discard,
    quit: async () => {
      const { pid } = await link.client();
      link.expectEnd();
      await call('quit', {});
      await link.close();
      while (isAlive(pid)) await delay(5);
    },
  };
}

interface Link {
  /** The attached client; attaches anew after a loss. */
  client(): Promise<HypervisorClient>;
  /** The connection's end is no loss from now on. */
  expectEnd(): void;
  close(): Promise<void>;
  /** Close, and end the hypervisor where it was started for this link. */
  discard(): Promise<void>;
}

/** The connection to the hypervisor, made anew when it is lost, and what is known of its domains meanwhile. */
function createLink(init: HypervisorInit, announce: (change: Change) => void): Link {
  const known = new Map<string, string>();
  let current: Promise<HypervisorClient> | undefined;
  let ending = false;
  let endOwn: (() => Promise<void>) | undefined;

  const forget = (key: string): void => {
    const uuid = known.get(key);
    known.delete(key);
    if (uuid !== undefined) announce({ gone: uuid });
  };
  const learn = (domain: DomainInfo): void => {
    known.set(keyOf(domain.handle), domain.uuid);
    announce(domain);
  };
  const attach = async (): Promise<HypervisorClient> => {
    const { client, end } = await attachOrStart(init);
    endOwn = end;
    client.onNotification((notification) => {
      if (notification.event === 'destroyed') forget(keyOf(notification.handle));
      else learn(notification.domain);
    });
    const domains = await client.call('list', {}).then(
      ({ result }) => result,
      async (error: unknown) => {
        await client.close();
        // A newer daemon has it then, and what is in it.
        if (!isFenced(error)) await end?.();
        throw error;
      },
    );
    client.onClose(() => {
      current = undefined;
      if (!ending) void recover();
    });
    const there = new Set(domains.map(({ handle }) => keyOf(handle)));
    for (const key of [...known.keys()]) if (!there.has(key)) forget(key);
    for (const domain of domains) learn(domain);
    return client;
  };
  const client = async (): Promise<HypervisorClient> => {
    if (current === undefined && ending) throw new XapiError('INTERNAL_ERROR', ['the back end is closed']);
    current ??= attach();
    const mine = current;
    try {
      return await mine;
    } catch (error) {
      if (current === mine) current = undefined;
      throw error;
    }
  };
  const recover = (): Promise<unknown> =>
    client().catch(() => {
      for (const key of [...known.keys()]) forget(key);
    });
  const close = async (): Promise<void> => {
    ending = true;
    await (await current?.catch(() => undefined))?.close();
  };
  return {
    client,
    expectEnd: () => {
      ending = true;
    },
    close,
    discard: async () => {
      await close();
      await endOwn?.();
    },
  };
}

function keyOf({ instance, domid }: DomainHandle): string {
  return `${instance}/${domid}`;
}

/** A zombie is dead: it may wait for a parent that never collects it. */
function isAlive(pid: number): boolean {
  try {
    return !/\) Z /.test(fs.readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

/** Whether the hypervisor refuses a request because a newer daemon has attached. */
function isFenced(error: unknown): boolean {
  return error instanceof XapiError && error.code === 'OPERATION_NOT_ALLOWED';
}
