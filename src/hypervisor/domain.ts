/**
 * One domain: its states, and what may be done in which.
 *
 *   building --build | built--> paused --unpause--> running --pause--> paused;  running --the guest ends--> shutdown
 *   running --no room for what it writes--> paused
 *
 * A domain in doubt never runs. `everRan` never goes back to false.
 */

import type { DomainHandle, DomainState, GuestEnd } from '../base/domain.js';
import { pageSize } from '../base/domain.js';
import { messageOf, XapiError } from '../base/errors.js';
import type { SimulatedDomain, SimulatedSpec, Verification } from '../base/protocol/hypervisor-protocol.js';
import { createContent } from './guest/content.js';
import { type Context, decodeContext, encodeContext } from './guest/context.js';
import { createDigest, type Digest } from './guest/digest.js';
import { openGuestMemory } from './guest/guest-memory.js';
import { createLogDirty, type LogDirty } from './guest/log-dirty.js';
import type { Material } from './guest/material.js';
import { foldSeed, seedRandom } from './guest/random.js';
import { fillMemory, verifyMemory } from './guest/sweep.js';
import { createVcpu } from './guest/vcpu.js';
import { createVgpus, type Vgpus } from './guest/vgpus.js';
import type { MemoryFile } from './memory.js';

export interface Domain {
  readonly handle: DomainHandle;
  readonly file: MemoryFile;
  readonly vgpus: Pick<Vgpus, 'get' | 'set'>;
  readonly logDirty: LogDirty;
  /** The specification under its present uuid. */
  spec(): SimulatedSpec;
  info(): SimulatedDomain;
  build(): Promise<void>;
  built(): Promise<void>;
  pause(): void;
  unpause(token: string): void;
  /** The guest ends by itself. */
  endGuest(how: GuestEnd): void;
  /** Give it a share of the CPU, more than 0 and at most 1, until the open session of log-dirty ends. */
  throttle(session: number, share: number): void;
  rename(uuid: string): void;
  markInDoubt(reason: string | undefined): void;
  getContext(): Buffer;
  setContext(bytes: Buffer): void;
  armDigest(): void;
  digest(): Promise<string>;
  verify(): Promise<Verification>;
  /** Stop it, at once, and let go of its memory file. */
  end(): Promise<void>;
}

export interface DomainInit {
  readonly handle: DomainHandle;
  readonly spec: SimulatedSpec;
  readonly file: MemoryFile;
  readonly material: Material;
  /** Called after each change of what `info` tells, save the counters. */
  changed(): void;
  log(line: string): void;
}

/** A domain in the state `building`, its memory zero. */
export function createDomain({ handle, spec, file, material, changed, log }: DomainInit): Domain {
  const pages = spec.memoryBytes / pageSize;
  const memory = openGuestMemory(file.path);
  const content = createContent(spec, material);
  const logDirty = createLogDirty(pages, () => setShare(1));
  const vgpus = createVgpus(spec, material);
  const context = firstContext(spec.seed, pages);
  const tokens = new Set<string>();
  const page = Buffer.alloc(pageSize);
  let uuid = spec.uuid;
  let state: DomainState = 'building';
  let cpuShare = 1;
  let everRan = false;
  let ended: GuestEnd | undefined;
  let inDoubt: string | undefined;
  let stalled: string | undefined;
  let digest: Digest | undefined;
  /** The context's bytes while the domain stands still: to make them takes some of a migration's downtime. */
  let encoded: Buffer | undefined;

  const vcpu = createVcpu({
    workload: spec.workload,
    pages,
    context,
    write: (pfn) => {
      digest?.beforeWrite(pfn);
      const generation = ((context.generations[pfn] as number) + 1) >>> 0;
      content.fillPage(page, pfn, generation);
      memory.write(page, pfn);
      context.generations[pfn] = generation;
      logDirty.mark(pfn);
    },
    ticked: vgpus.ticked,
    failed: (error) => {
      if (error instanceof XapiError && error.code === 'HOST_NOT_ENOUGH_FREE_MEMORY') {
        stalled = `the guest's memory cannot be written: ${messageOf(error.cause)}`;
        return enter('paused');
      }
      log(`domain ${handle.domid} (${uuid}) crashed: ${error}`);
      ended = 'crash';
      enter('shutdown');
    },
  });

  const setShare = (share: number): void => {
    if (share !== cpuShare) log(`domain ${handle.domid} (${uuid}) gets ${Math.round(share * 100)}% of its CPU`);
    cpuShare = share;
    vcpu.setShare(share);
  };
  const enter = (next: DomainState): void => {
    state = next;
    changed();
  };
  const contextBytes = (): Buffer => {
    encoded ??= encodeContext(context);
    return encoded;
  };
  const assertIn = (wanted: readonly DomainState[], what: string): void => {
    if (wanted.includes(state)) return;
    const text = `${what}: domain ${uuid} is ${state}, it has to be ${wanted.join(' or ')}`;
    throw new XapiError('OPERATION_NOT_ALLOWED', [text]);
  };
  const assertNoDoubt = (what: string): void => {
    if (inDoubt === undefined) return;
    throw new XapiError('OPERATION_NOT_ALLOWED', [`${what}: domain ${uuid} is in doubt: ${inDoubt}`]);
  };

  return {
    handle,
    file,
    vgpus,
    logDirty,
    spec: () => ({ ...spec, uuid }),
    info: () => ({
      ...{ handle, uuid, name: spec.name, state, everRan, memoryBytes: spec.memoryBytes, vcpus: spec.vcpus },
      ...{ vgpus: spec.vgpus, ticks: context.ticks, pagesWritten: context.pagesWritten },
      ...(ended === undefined ? {} : { ended }),
      ...(inDoubt === undefined ? {} : { inDoubt }),
      ...(stalled === undefined ? {} : { stalled }),
      ...(cpuShare === 1 ? {} : { cpuShare }),
    }),
    build: async () => {
      assertIn(['building'], 'build');
      assertNoDoubt('build');
      await material.ready();
      await fillMemory(memory, content, pages);
      assertIn(['building'], 'build');
      vgpus.build();
      enter('paused');
    },
    built: async () => {
      assertIn(['building'], 'built');
      await material.ready();
      assertIn(['building'], 'built');
      enter('paused');
    },
    pause: () => {
      assertIn(['paused', 'running'], 'pause');
      if (state === 'paused') return;
      vcpu.stop();
      enter('paused');
    },
    unpause: (token) => {
      assertIn(['paused', 'running'], 'unpause');
      assertNoDoubt('unpause');
      if (tokens.has(token)) return;
      tokens.add(token);
      if (state === 'running') return;
      everRan = true;
      stalled = undefined;
      encoded = undefined;
      vcpu.start();
      enter('running');
    },
    endGuest: (how) => {
      assertIn(['running'], 'end_guest');
      vcpu.stop();
      ended = how;
      enter('shutdown');
    },
    throttle: (session, share) => {
      logDirty.assertOpen(session);
      setShare(share);
    },
    rename: (next) => {
      uuid = next;
      changed();
    },
    markInDoubt: (reason) => {
      if (state === 'running' && reason !== undefined) {
        vcpu.stop();
        state = 'paused';
      }
      inDoubt = reason;
      changed();
    },
    getContext: () => {
      assertIn(['building', 'paused'], 'get_context');
      return contextBytes();
    },
    setContext: (bytes) => {
      assertIn(['building', 'paused'], 'set_context');
      Object.assign(context, decodeContext(bytes, pages));
      encoded = undefined;
    },
    armDigest: () => {
      assertIn(['paused'], 'arm_digest');
      digest = createDigest({ pages, read: memory.read, parts: [contextBytes(), ...vgpus.all()] });
    },
    digest: async () => {
      if (digest === undefined) {
        throw new XapiError('OPERATION_NOT_ALLOWED', [`digest: none was armed for domain ${uuid}`]);
      }
      return digest.complete();
    },
    verify: () => {
      assertIn(['paused', 'running'], 'verify');
      return verifyMemory(memory, content, () => context.generations);
    },
    end: () => {
      vcpu.stop();
      return memory.close();
    },
  };
}

function firstContext(seed: number, pages: number): Context {
  const random = seedRandom(foldSeed(seed));
  return { ticks: 0, pagesWritten: 0, random, generations: new Uint32Array(pages) };
}
