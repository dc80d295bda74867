/**
 * What the simulated hypervisor and the programs that talk to it say to each other over its Unix socket.
 *
 * A frame: big-endian u32 length of the JSON part, u32 length of the binary part, the JSON (UTF-8), the binary. A request is
 * `{id, op, args}`; its answer `{id, result}` or `{id, error: {code, params}}` with a XenAPI error code, its binary part beside
 * it. A notification has no id: `{event: 'domain', domain}` or `{event: 'destroyed', uuid, handle}`, to attached daemons.
 *
 * The instance of a handle (base/domain) is a hypervisor from its start to its end.
 */
import type { DomainHandle, DomainInfo, DomainSpec, GuestEnd } from '../domain.js';
import { XapiError } from '../errors.js';

/** What memory is filled with, as shares that add up to 1, laid out in extents of 64 KiB. */
export interface MemoryProfile {
  readonly zero: number;
  readonly program: number;
  readonly text: number;
  readonly random: number;
}

/** What a domain's virtual CPU does while it runs. */
export interface Workload {
  /** Pages written a second; 0 is an idle guest, which only counts. */
  readonly dirtyPagesPerSecond: number;
  /** The share of memory, 0 to 1, that the writes fall into. */
  readonly workingSet: number;
}

/** What a simulated guest has in its memory, and does. */
export interface GuestContent {
  readonly profile: MemoryProfile;
  readonly workload: Workload;
  /** Decides the memory's content together with the profile; 32 bits. */
  readonly seed: number;
}

/** What a simulated domain is made from. */
export interface SimulatedSpec extends DomainSpec, GuestContent {}

/** A simulated domain that is there. */
export interface SimulatedDomain extends DomainInfo {
  /** The share of a CPU that it gets, 0 to 1; absent where nothing slows it down. */
  readonly cpuShare?: number;
  /** Ticks of its virtual CPU since it booted, wherever that was. */
  readonly ticks: number;
  /** Pages that it wrote since it booted. */
  readonly pagesWritten: number;
}

/** What a helper needs to reach a domain's memory. */
export interface DomainMemory {
  readonly path: string;
  readonly pages: number;
  readonly spec: SimulatedSpec;
}

export interface Verification {
  /** Pages whose content is not what the seed and the guest's own counts say it must be. */
  readonly badPages: number;
  readonly pages: number;
}

interface Op<Args, Result> {
  readonly args: Args;
  readonly result: Result;
}
type OnDomain = { readonly handle: DomainHandle };

/** Every request by name, with its arguments and its result. `(binary)`: the bytes travel as the frame's binary part. */
export interface HypervisorOps {
  /** First on a connection. A daemon that attaches fences the daemons before it: their requests are refused from then on. */
  attach: Op<{ role: 'daemon' | 'helper' }, { instance: string; pid: number }>;
  /** Bytes: all that domains may have, what domains have, what was promised to no domain yet. */
  memory: Op<Record<string, never>, { total: number; used: number; reserved: number }>;
  /** Promise memory under a key; the same key again replaces. It is not taken from the system before `create`. HOST_NOT_ENOUGH_FREE_MEMORY when it is not there. */
  reserve: Op<{ key: string; bytes: number }, void>;
  release: Op<{ key: string }, void>;
  /**
   * Make a domain, `building`, its memory zero and all there. With a reservation its promised bytes become the domain's.
   * HOST_NOT_ENOUGH_FREE_MEMORY where they cannot be had after all; then nothing is promised any more.
   */
  create: Op<{ spec: SimulatedSpec; reservation?: string }, DomainHandle>;
  /** Fill a building domain as its profile says, as a boot does; it is paused then. */
  build: Op<OnDomain, void>;
  /** A restore has put memory and CPU in place; the domain is paused then. */
  built: Op<OnDomain, void>;
  list: Op<Record<string, never>, SimulatedDomain[]>;
  /** Returns when no write is in flight. */
  pause: Op<OnDomain, void>;
  /** Idempotent by token. Refused for a domain in doubt. */
  unpause: Op<OnDomain & { token: string }, void>;
  /** What the guest of a running domain does by itself: it powers off, wants a reboot, or crashes. */
  end_guest: Op<OnDomain & { how: GuestEnd }, void>;
  destroy: Op<OnDomain, void>;
  /** Atomic: a domain that ever ran stays. */
  destroy_unless_ran: Op<OnDomain, { destroyed: boolean }>;
  rename: Op<OnDomain & { uuid: string }, void>;
  /** No reason: no longer in doubt. */
  mark_in_doubt: Op<OnDomain & { reason?: string }, void>;
  memory_of: Op<OnDomain, DomainMemory>;
  /** Opens a session, which ends the one before it. All pages are clean in it. It ends with its connection, too. */
  log_dirty_open: Op<OnDomain, { session: number }>;
  /** (binary) what log_dirty_read_clear would give now; clears nothing. */
  log_dirty_peek: Op<OnDomain & { session: number }, { dirty: number }>;
  /** (binary) one bit a page, least significant first, set where written since the last call. */
  log_dirty_read_clear: Op<OnDomain & { session: number }, { dirty: number }>;
  log_dirty_close: Op<OnDomain & { session: number }, void>;
  /** Let the virtual CPU run for a share of the time, more than 0 and at most 1, until the session of log-dirty ends. */
  throttle: Op<OnDomain & { session: number; share: number }, void>;
  /** (binary) the virtual CPU's state, of a paused domain: its counters and what it needs to check its pages. */
  get_context: Op<OnDomain, void>;
  /** (binary) */
  set_context: Op<OnDomain, void>;
  /** (binary) the state of one virtual GPU. */
  get_vgpu: Op<OnDomain & { device: string }, void>;
  /** (binary) */
  set_vgpu: Op<OnDomain & { device: string }, void>;
  /** Take the digest of this paused instant, page by page and later: a page is hashed before the guest first writes to it. */
  arm_digest: Op<OnDomain, void>;
  /** Waits until the armed digest is complete; hexadecimal. Covers memory, context and virtual GPUs. */
  digest: Op<OnDomain, { digest: string }>;
  /** Check every page of a paused or running domain against its seed and the guest's own counts. */
  verify: Op<OnDomain, Verification>;
  /** End of this hypervisor, its domains with it. */
  quit: Op<Record<string, never>, void>;
}

export type HypervisorOp = keyof HypervisorOps;

/** What an attached daemon is told without asking. */
export type HypervisorNotification =
  | { readonly event: 'domain'; readonly domain: SimulatedDomain }
  | { readonly event: 'destroyed'; readonly uuid: string; readonly handle: DomainHandle };

/** The most that a frame may hold, in bytes, of JSON and of binary. */
export const frameLimits = { json: 1024 * 1024, binary: 64 * 1024 * 1024 };

export interface Frame {
  /** The JSON part, not parsed yet. */
  readonly text: string;
  readonly binary: Buffer;
}

/** The bytes of one frame, in parts to be written one after the other. @throws INTERNAL_ERROR when it is over-long */
export function encodeFrame(message: unknown, binary: Uint8Array = new Uint8Array()): Uint8Array[] {
  const json = Buffer.from(JSON.stringify(message));
  assertWithinLimits(json.length, binary.length);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(json.length, 0);
  head.writeUInt32BE(binary.length, 4);
  return binary.length === 0 ? [Buffer.concat([head, json])] : [Buffer.concat([head, json]), binary];
}

/**
 * A decoder of one connection's bytes: give it each chunk, in any cut; it gives the frames that are complete.
 * It throws INTERNAL_ERROR at an over-long frame, after which the connection is of no use.
 */
export function createFrameDecoder(): (chunk: Buffer) => Frame[] {
  let chunks: Buffer[] = [];
  let held = 0;
  let wanted = 8;
  return (chunk) => {
    chunks.push(chunk);
    held += chunk.length;
    const frames: Frame[] = [];
    while (held >= wanted) {
      const bytes = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
      chunks = [bytes];
      const json = bytes.readUInt32BE(0);
      const binary = bytes.readUInt32BE(4);
      assertWithinLimits(json, binary);
      wanted = 8 + json + binary;
      if (held < wanted) break;
      frames.push({ text: bytes.toString('utf8', 8, 8 + json), binary: bytes.subarray(8 + json, wanted) });
      chunks = [bytes.subarray(wanted)];
      held -= wanted;
      wanted = 8;
    }
    return frames;
  };
}

function assertWithinLimits(json: number, binary: number): void {
  if (json <= frameLimits.json && binary <= frameLimits.binary) return;
  const most = `at most ${frameLimits.json} and ${frameLimits.binary} are allowed`;
  throw new XapiError('INTERNAL_ERROR', [`a frame of ${json} bytes of JSON and ${binary} of binary; ${most}`]);
}

/** The most bytes that the path of a Unix socket may have on Linux (unix(7): 108 with the closing zero). */
export const socketPathLimit = 107;

/** The exit status of a hypervisor program that found another one on its state directory. */
export const alreadyRunsStatus = 3;
