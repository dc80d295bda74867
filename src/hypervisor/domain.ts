/**
 * One domain: its states, and what may be done in which.
 *
 *   building --build | built--> paused --unpause--> running --pause--> paused;  running --the guest ends--> shutdown
 *   running --no room for what it writes--> paused
 *
 * A domain in doubt never runs. `everRan` never goes back to false.
 */

import { defined } from '../base/defined.js';
import type { DomainHandle, DomainState, GuestEnd } from '../base/domain.js';
import { pageSize } from '../base/domain.js';
import { messageOf, XapiError } from '../base/errors.js';
import type { SimulatedDomain, SimulatedSpec, Verification } from '../base/protocol/hypervisor-protocol.js';
import { type Content, createContent } from './guest/content.js';
import { type Context, decodeContext, encodeContext } from './guest/context.js';
import { createDigest, type Digest } from './guest/digest.js';
import { type GuestMemory, openGuestMemory } from './guest/guest-memory.js';
import { createLogDirty, type LogDirty } from './guest/log-dirty.js';
import type { Material } from './guest/material.js';
import { foldSeed, seedRandom } from './guest/random.js';
import { fillMemory, verifyMemory } from './guest/sweep.js';
import { createVcpu, type Vcpu } from './guest/vcpu.js';
import { createVgpus, type Vgpus } from './guest/vgpus.js';
import type { MemoryFile } from './memory.js';

export interface Domain {
  readonly handle: DomainHandle;
  readonly file: MemoryFile;
  readonly vgpus: Pick<Vgpus, 'get' | 'set'>;
  readonly logDirty: LogDirty;
  /** The specification, with the domain's present uuid. */
  spec(): SimulatedSpec;
  info(): SimulatedDomain;
  build(): Promise<void>;
  built(): Promise<void>;
  pause(): void;
  unpause(token: string): void;
  /** End the guest as if by itself. */
  endGuest(how: GuestEnd): void;
  /** Give the guest a share of its CPU, more than 0 and at most 1, until the open session of log-dirty ends. */
  throttle(session: number, share: number): void;
  rename(uuid: string): void;
  markInDoubt(reason: string | undefined): void;
  getContext(): Buffer;
  setContext(bytes: Buffer): void;
  armDigest(): void;
  digest(): Promise<string>;
  verify(): Promise<Verification>;
  /** Stop the guest at once, and let go of the memory file. */
  end(): Promise<void>;
}

export interface DomainInit {
  readonly handle: DomainHandle;
  readonly spec: SimulatedSpec;
  readonly file: MemoryFile;
  readonly material: Material;
  /** Called after each change of `info`, but for its counters. */
  changed(): void;
  log(line: string): void;
}

/** The parts of a domain, and its state. */
interface Parts extends Pick<DomainInit, 'handle' | 'spec' | 'file' | 'material' | 'changed' | 'log'> {
  readonly pages: number;
  readonly memory: GuestMemory;
  readonly content: Content;
  readonly logDirty: LogDirty;
  readonly vgpus: Vgpus;
  readonly vcpu: Vcpu;
  readonly context: Context;
  uuid: string;
  state: DomainState;
  cpuShare: number;
  everRan: boolean;
  ended?: GuestEnd;
  inDoubt?: string | undefined;
  stalled?: string | undefined;
  digest?: Digest;
  /** The context's bytes while the domain stands still: to make them takes some of a migration's downtime. */
  encoded?: Buffer | undefined;
}

/** Make a domain in the state `building`, its memory zero. */
export function createDomain(init: DomainInit): Domain {
  const parts = createParts(init);
  const { handle, spec, file, vgpus, logDirty, changed } = parts;
  return {
    handle,
    file,
    vgpus,
    logDirty,
    spec: () => ({ ...spec, uuid: parts.uuid }),
    info: () => infoOf(parts),
    ...lifeOf(parts),
    ...contentOf(parts),
    throttle: (session, share) => {
      logDirty.assertOpen(session);
      setShare(parts, share);
    },
    rename: (next) => {
      parts.uuid = next;
      changed();
    },
  };
}

function createParts(init: DomainInit): Parts {
  const { handle, spec, file, material, log } = init;
  const pages = spec.memoryBytes / pageSize;
  const memory = openGuestMemory(file.path);
  const content = createContent(spec, material);
  const logDirty = createLogDirty(pages, () => setShare(parts, 1));
  const vgpus = createVgpus(spec, material);
  const context = firstContext(spec.seed, pages);
  const page = Buffer.alloc(pageSize);
  const vcpu = createVcpu({
    workload: spec.workload,
    pages,
    context,
    write: (pfn) => {
      parts.digest?.beforeWrite(pfn);
      const generation = ((context.generations[pfn] as number) + 1) >>> 0;
      content.fillPage(page, pfn, generation);
      memory.write(page, pfn);
      context.generations[pfn] = generation;
      logDirty.mark(pfn);
    },
    ticked: vgpus.ticked,
    failed: (error) => {
      if (error instanceof XapiError && error.code === 'HOST_NOT_ENOUGH_FREE_MEMORY') {
        parts.stalled = `the guest's memory cannot be written: ${messageOf(error.cause)}`;
        return enter(parts, 'paused');
      }
      log(`domain ${handle.domid} (${parts.uuid}) crashed: ${error}`);
      parts.ended = 'crash';
      enter(parts, 'shutdown');
    },
  });
  const parts: Parts = {
    ...init,
    ...{ pages, memory, content, logDirty, vgpus, vcpu, context },
    ...{ uuid: spec.uuid, state: 'building', cpuShare: 1, everRan: false },
  };
  return parts;
}

function infoOf(parts: Parts): SimulatedDomain {
  const { handle, spec, context, uuid, state, everRan, ended, inDoubt, stalled, cpuShare } = parts;
  return {
    ...{ handle, uuid, name: spec.name, state, everRan, memoryBytes: spec.memoryBytes, vcpus: spec.vcpus },
    ...{ vgpus: spec.vgpus, ticks: context.ticks, pagesWritten: context.pagesWritten },
    ...defined({ ended, inDoubt, stalled, cpuShare: cpuShare === 1 ? undefined : cpuShare }),
  };
}

type Life = Pick<Domain, 'build' | 'built' | 'pause' | 'unpause' | 'endGuest' | 'markInDoubt' | 'end'>;

/** The requests that change a domain's state. */
function lifeOf(parts: Parts): Life {
  const { material, memory, content, pages, vgpus, vcpu, changed } = parts;
  const tokens = new Set<string>();
  return {
    build: async () => {
      assertIn(parts, ['building'], 'build');
      assertNoDoubt(parts, 'build');
      await material.ready();
      await fillMemory(memory, content, pages);
      assertIn(parts, ['building'], 'build');
      vgpus.build();
      enter(parts, 'paused');
    },
    built: async () => {
      assertIn(parts, ['building'], 'built');
      await material.ready();
      assertIn(parts, ['building'], 'built');
      enter(parts, 'paused');
    },
    pause: () => {
      assertIn(parts, ['paused', 'running'], 'pause');
      if (parts.state === 'paused') return;
      vcpu.stop();
      enter(parts, 'paused');
    },
    unpause: (token) => {
      assertIn(parts, ['paused', 'running'], 'unpause');
      assertNoDoubt(parts, 'unpause');
      if (tokens.has(token)) return;
      tokens.add(token);
      if (parts.state === 'running') return;
      parts.everRan = true;
      parts.stalled = undefined;
      parts.encoded = undefined;
      vcpu.start();
      enter(parts, 'running');
    },
    endGuest: (how) => {
      assertIn(parts, ['running'], 'end_guest');
      vcpu.stop();
      parts.ended = how;
      enter(parts, 'shutdown');
    },
    markInDoubt: (reason) => {
      if (parts.state === 'running' && reason !== undefined) {
        vcpu.stop();
        parts.state = 'paused';
      }
      parts.inDoubt = reason;
      changed();
    },
    end: () => {
      vcpu.stop();
      return memory.close();
    },
  };
}

/** The requests about what a domain has in its memory and its virtual CPU. */
function contentOf(parts: Parts): Pick<Domain, 'getContext' | 'setContext' | 'armDigest' | 'digest' | 'verify'> {
  const { memory, content, context, pages, vgpus } = parts;
  const contextBytes = (): Buffer => {
    parts.encoded ??= encodeContext(context);
    return parts.encoded;
  };
  return {
    getContext: () => {
      assertIn(parts, ['building', 'paused'], 'get_context');
      return contextBytes();
    },
    setContext: (bytes) => {
      assertIn(parts, ['building', 'paused'], 'set_context');
      Object.assign(context, decodeContext(bytes, pages));
      parts.encoded = undefined;
    },
    armDigest: () => {
      assertIn(parts, ['paused'], 'arm_digest');
      parts.digest = createDigest({ pages, read: memory.read, parts: [contextBytes(), ...vgpus.all()] });
    },
    digest: async () => {
      if (parts.digest === undefined) {
        throw new XapiError('OPERATION_NOT_ALLOWED', [`digest: none was armed for domain ${parts.uuid}`]);
      }
      return parts.digest.complete();
    },
    verify: () => {
      assertIn(parts, ['paused', 'running'], 'verify');
      return verifyMemory(memory, content, () => context.generations);
    },
  };
}

function enter(parts: Parts, next: DomainState): void {
  parts.state = next;
  parts.changed();
}

function setShare(parts: Parts, share: number): void {
  const { handle, uuid, vcpu, log } = parts;
  if (share !== parts.cpuShare) log(`domain ${handle.domid} (${uuid}) gets ${Math.round(share * 100)}% of its CPU`);
  parts.cpuShare = share;
  vcpu.setShare(share);
}

/** @param what the request, for the error @throws OPERATION_NOT_ALLOWED in another state */
function assertIn({ state, uuid }: Parts, wanted: readonly DomainState[], what: string): void {
  if (wanted.includes(state)) return;
  const text = `${what}: domain ${uuid} is ${state}, it has to be ${wanted.join(' or ')}`;
  throw new XapiError('OPERATION_NOT_ALLOWED', [text]);
}

function assertNoDoubt({ inDoubt, uuid }: Parts, what: string): void {
  if (inDoubt === undefined) return;
  throw new XapiError('OPERATION_NOT_ALLOWED', [`${what}: domain ${uuid} is in doubt: ${inDoubt}`]);
}

function firstContext(seed: number, pages: number): Context {
  const random = seedRandom(foldSeed(seed));
  return { ticks: 0, pagesWritten: 0, random, generations: new Uint32Array(pages) };
}
