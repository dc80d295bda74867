/**
 * One domain of the back end `qemu`: a directory with what it was made from, and, once it was built or is being restored, a process.
 *
 * | status of QEMU | state |
 * |---|---|
 * | no process yet, inmigrate | building |
 * | prelaunch, paused, finish-migrate, postmigrate, suspended, io-error | paused |
 * | running | running |
 * | shutdown | shutdown: a power-off where QEMU has traced a request for one, else a reboot |
 * | guest-panicked, internal-error | shutdown: a crash |
 *
 * The state is what the process has said last: while a peer stalls in the last round of a migration QEMU answers nothing, and who
 * lists the domains must not wait for it.
 */
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { DomainHandle, DomainInfo, DomainSpec, DomainState, GuestEnd } from '../../base/domain.js';
import { XapiError } from '../../base/errors.js';
import { commandLine, type DomainPaths, type Machine, openedFiles } from './command-line.js';
import { encodeMark, type Mark, readMark, writeMark } from './mark.js';
import { type DomainUser, endQemu, findQemu, type Started, startQemu } from './process.js';
import type { Qmp, QmpEvent } from './qmp.js';

export interface DomainInit {
  readonly handle: DomainHandle;
  readonly spec: DomainSpec;
  readonly paths: DomainPaths;
  readonly program: string;
  readonly user?: DomainUser;
  /** What QEMU is told of a domain. */
  machineOf(spec: DomainSpec): Machine;
  /** Its state or its name has changed. */
  onChange(): void;
  /** Its process has ended without being asked to. */
  onLost(): void;
}

export interface QemuDomain {
  readonly spec: DomainSpec;
  info(): DomainInfo;
  /** Aborts with INTERNAL_ERROR when its process has ended without being asked to. */
  readonly lost: AbortSignal;
  /** The process id, where there is one. */
  pid(): number | undefined;
  /** Start its process; it stands still then. @param incoming whether its memory comes from a stream */
  start(incoming: boolean): Promise<void>;
  /** Take what the process is in now for its state, as after its memory has come. */
  refresh(): Promise<void>;
  pause(timeoutMs?: number): Promise<void>;
  shutDownGuest(timeoutMs: number): Promise<void>;
  unpause(token: string): Promise<void>;
  rename(uuid: string): Promise<void>;
  markInDoubt(reason: string | undefined): Promise<void>;
  destroy(): Promise<void>;
  /** Let go of it; it lives on. */
  close(): void;
}

interface Status {
  readonly status: string;
  readonly running: boolean;
}

const paused: ReadonlySet<string> = new Set([
  ...['prelaunch', 'paused', 'finish-migrate', 'postmigrate', 'suspended', 'io-error'],
]);
const crashed: ReadonlySet<string> = new Set(['guest-panicked', 'internal-error']);
/** Events after which the status may be another one. */
const statusEvents: ReadonlySet<string> = new Set([
  'STOP',
  'RESUME',
  'SHUTDOWN',
  'GUEST_PANICKED',
  'SUSPEND',
  'WAKEUP',
]);
/** A migration has ended when its last event comes, and the status may follow it by a moment. */
const releaseMs = 2_000;
const pollMs = 10;
/** How often a guest that is to shut down is asked, and how often it is looked at. */
const pressAgainMs = 5_000;
const lookMs = 50;

/** The domain of a directory; its process is found where one runs. @throws what the process says where it does not serve */
export async function openQemuDomain(init: DomainInit): Promise<QemuDomain | undefined> {
  const domain = createQemuDomain(init);
  const found = await findQemu(init.paths, init.spec.uuid);
  if (found === undefined) return fs.existsSync(init.paths.pid) ? undefined : domain;
  await domain.adopt(found);
  return domain;
}

/** A domain that has no process yet. */
export function createQemuDomain(init: DomainInit): QemuDomain & { adopt(started: Started): Promise<void> } {
  const { handle, spec, paths } = init;
  let mark: Mark = { uuid: spec.uuid, everRan: false };
  let running: Started | undefined;
  let state: DomainState = 'building';
  let ended: GuestEnd | undefined;
  let ending = false;
  const lost = new AbortController();

  const take = ({ status }: Status): void => {
    const before = state;
    state = stateOf(status);
    ended = state === 'shutdown' ? endOf(status, paths) : undefined;
    if (state !== before) init.onChange();
  };
  const qmpOf = (): Qmp => {
    if (running === undefined) throw new XapiError('INTERNAL_ERROR', [`domain ${handle.domid} has no process yet`]);
    return running.qmp;
  };
  const refresh = async (): Promise<void> => {
    if (running !== undefined) take(await running.qmp.execute<Status>('query-status'));
  };
  const keep = async (changed: Mark): Promise<void> => {
    if (running !== undefined) await writeMark(running.qmp, changed);
    mark = changed;
    init.onChange();
  };
  const adopt = async (started: Started): Promise<void> => {
    running = started;
    mark = await readMark(started.qmp);
    started.qmp.onEvent(({ event }: QmpEvent) => {
      if (event === 'RESUME') mark = { ...mark, everRan: true };
      if (statusEvents.has(event)) void refresh().catch(() => undefined);
    });
    void started.qmp.closed.then(() => {
      if (ending) return;
      lost.abort(new XapiError('INTERNAL_ERROR', [`domain ${handle.domid}: QEMU has ended`]));
      init.onLost();
    });
    await refresh();
    // The mark follows the guest: one that was let go and not marked yet has run.
    if (state === 'running' && !mark.everRan) await keep({ ...mark, everRan: true });
  };
  const stop = async (timeoutMs?: number): Promise<void> => {
    await qmpOf().execute('stop', {}, timeoutMs === undefined ? {} : { timeoutMs });
    await refresh();
  };
  return {
    spec,
    adopt,
    refresh,
    lost: lost.signal,
    pid: () => running?.process.pid,
    info: () => infoOf(init, mark, state, ended),
    async start(incoming) {
      if (running !== undefined) throw wrongState(handle, `it is ${state}`);
      const machine = init.machineOf(spec);
      const argv = commandLine(machine, paths, encodeMark(mark), incoming);
      await adopt(await startQemu(init.program, argv, paths, openedFiles(machine), init.user));
    },
    async pause(timeoutMs) {
      if (state === 'building') throw wrongState(handle, 'it is being built');
      if (state === 'running') await stop(timeoutMs);
    },
    async shutDownGuest(timeoutMs) {
      if (state === 'building') throw wrongState(handle, 'it is being built');
      const runs = () => state === 'running';
      if (await pressPowerButton(qmpOf(), runs, refresh, timeoutMs)) return;
      throw new XapiError('VM_SHUTDOWN_TIMEOUT', [mark.uuid, String(timeoutMs / 1000)]);
    },
    async unpause(token) {
      if (mark.inDoubt !== undefined) throw wrongState(handle, `it is in doubt: ${mark.inDoubt}`);
      if (mark.token === token) return;
      await untilReleased(qmpOf(), take);
      // After a migration that was given up QEMU lets a guest go on by itself that it had stopped.
      if (state !== 'paused' && state !== 'running') throw wrongState(handle, `it is ${state}`);
      if (state === 'paused') await qmpOf().execute('cont');
      await keep({ ...mark, everRan: true, token });
      await refresh();
    },
    rename: (uuid) => keep({ ...mark, uuid }),
    async markInDoubt(reason) {
      const { inDoubt: _before, ...rest } = mark;
      await keep(reason === undefined ? rest : { ...rest, inDoubt: reason });
      if (reason !== undefined && state === 'running') await stop();
    },
    async destroy() {
      ending = true;
      if (running !== undefined) {
        running.qmp.close();
        await endQemu(running.process);
      }
      fs.rmSync(paths.directory, { recursive: true, force: true });
    },
    close() {
      ending = true;
      running?.qmp.close();
    },
  };
}

function infoOf({ handle, spec }: DomainInit, mark: Mark, state: DomainState, ended?: GuestEnd): DomainInfo {
  return {
    ...{ handle, uuid: mark.uuid, name: spec.name, state, everRan: mark.everRan },
    ...(ended === undefined ? {} : { ended }),
    ...{ memoryBytes: spec.memoryBytes, vcpus: spec.vcpus, vgpus: spec.vgpus },
    ...(mark.inDoubt === undefined ? {} : { inDoubt: mark.inDoubt }),
  };
}

/** Press it now and again, as a guest that is busy, or not that far yet, misses the first. @returns whether the guest has ended in time */
async function pressPowerButton(
  qmp: Qmp,
  runs: () => boolean,
  refresh: () => Promise<void>,
  timeoutMs: number,
): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (runs()) {
    if (performance.now() > deadline) return false;
    await qmp.execute('system_powerdown');
    for (let waited = 0; waited < pressAgainMs && runs() && performance.now() < deadline; waited += lookMs) {
      await delay(lookMs);
      await refresh();
    }
  }
  return true;
}

/**
 * Wait until no migration holds the machine: one that has just ended lets go of it by itself, and one whose helper was killed at
 * the switch-over is cancelled.
 * @throws INTERNAL_ERROR where that does not help
 */
async function untilReleased(qmp: Qmp, take: (status: Status) => void): Promise<void> {
  let deadline = performance.now() + releaseMs;
  let isCancelled = false;
  for (;;) {
    const status = await qmp.execute<Status>('query-status');
    take(status);
    if (status.status !== 'finish-migrate') return;
    if (performance.now() > deadline) {
      if (isCancelled)
        throw new XapiError('INTERNAL_ERROR', ['QEMU: a migration that was cancelled holds its machine']);
      isCancelled = true;
      deadline += releaseMs;
      await qmp.execute('migrate_cancel');
    }
    await delay(pollMs);
  }
}

function stateOf(status: string): DomainState {
  if (status === 'inmigrate') return 'building';
  if (status === 'running') return 'running';
  if (paused.has(status)) return 'paused';
  return 'shutdown';
}

function endOf(status: string, paths: DomainPaths): GuestEnd {
  if (crashed.has(status)) return 'crash';
  return readTrace(paths.trace).includes('qemu_system_shutdown_request') ? 'poweroff' : 'reboot';
}

function readTrace(file: string): string {
  try {
    return fs.readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}

function wrongState({ domid }: DomainHandle, why: string): XapiError {
  return new XapiError('OPERATION_NOT_ALLOWED', [`domain ${domid}: ${why}`]);
}
