/**
 * The states of virtual GPUs on a channel of their own, plain or compressed; vgpu-codec.md beside this file specifies
 * it.
 */
import { crc32 } from 'node:zlib';
import { messageOf, XapiError } from '../../base/errors.js';
import { assertFrameBounded } from '../../base/zstd/frame.js';
import { openZstd } from '../../base/zstd/zstd.js';
import type { ReadExactly } from './libxc-stream.js';

/** The state of one virtual GPU. */
export interface VgpuState {
  readonly device: string;
  readonly state: Buffer;
}

/** Write pieces one after the other; they do not change until it resolves. */
export type WritePieces = (...pieces: readonly Buffer[]) => Promise<void>;

const magic = Buffer.from('XFVGPU\n\0', 'latin1');
const versions = { plain: 1, compressed: 2 } as const;
const maxDevices = 64;
const maxNameBytes = 255;
const maxStateBytes = 64 << 20;
/** Every piece of a compressed state is so long before compression, but for the last. */
const pieceBytes = 1 << 20;
const pieceHeadBytes = 12;
const codecs = { stored: 0, zstd: 1 } as const;
const level = 1;
/** Pieces being compressed while one is written. */
const inFlight = 4;

/**
 * Write the states of some devices; one state is held at a time.
 * @param stateOf gives the state of a device, when it is its turn
 */
export async function writeVgpus(
  write: WritePieces,
  devices: readonly string[],
  stateOf: (device: string) => Promise<Buffer>,
  { compress }: { readonly compress: boolean },
): Promise<void> {
  await write(magic, words(compress ? versions.compressed : versions.plain, devices.length));
  for (const device of devices) {
    const name = Buffer.from(device, 'utf8');
    const state = await stateOf(device);
    await write(words(name.length, state.length), name);
    await (compress ? writeCompressed(write, state) : write(state));
    await write(words(crc32(state, crc32(name))));
  }
}

/**
 * Read what writeVgpus wrote, in either form, and not a byte more, one device after the other.
 * @throws INTERNAL_ERROR when it is not that, or damaged
 */
export async function* readVgpus(read: ReadExactly): AsyncGenerator<VgpuState> {
  if (!(await read(magic.length)).equals(magic)) throw refused('no marker at its beginning');
  const head = await read(8);
  const version = head.readUInt32LE(0);
  const readState = readers.get(version);
  if (readState === undefined) throw refused(`version ${version}; supported: ${[...readers.keys()].join(', ')}`);
  for (let left = limited('devices', head.readUInt32LE(4), maxDevices); left > 0; left -= 1) {
    const lengths = await read(8);
    const nameLength = limited('bytes of name', lengths.readUInt32LE(0), maxNameBytes);
    const stateLength = limited('bytes of state', lengths.readUInt32LE(4), maxStateBytes);
    const name = await read(nameLength);
    const device = name.toString('utf8');
    const state = await readState(read, stateLength);
    if ((await read(4)).readUInt32LE() !== crc32(state, crc32(name))) throw refused(`${device} is damaged`);
    yield { device, state };
  }
}

type ReadState = (read: ReadExactly, bytes: number) => Promise<Buffer>;

const readers: ReadonlyMap<number, ReadState> = new Map<number, ReadState>([
  [versions.plain, (read, bytes) => read(bytes)],
  [versions.compressed, readCompressed],
]);

/** Pieces are compressed side by side and written in order. */
async function writeCompressed(write: WritePieces, state: Buffer): Promise<void> {
  const underWay: Promise<readonly Buffer[]>[] = [];
  for (let at = 0; at < state.length; at += pieceBytes) {
    underWay.push(encodePiece(state.subarray(at, at + pieceBytes)));
    if (underWay.length > inFlight) await write(...((await underWay.shift()) ?? []));
  }
  for (const piece of underWay) await write(...(await piece));
}

async function encodePiece(raw: Buffer): Promise<readonly Buffer[]> {
  const frame = await (await openZstd()).compress(raw, level);
  const [codec, payload] = frame.length < raw.length ? [codecs.zstd, frame] : [codecs.stored, raw];
  const head = words(codec, payload.length);
  return [head, words(crc32(payload, crc32(head))), payload];
}

async function readCompressed(read: ReadExactly, bytes: number): Promise<Buffer> {
  const state = Buffer.allocUnsafeSlow(bytes);
  for (let at = 0; at < bytes; at += pieceBytes) {
    const raw = await readPiece(read, Math.min(pieceBytes, bytes - at));
    raw.copy(state, at);
  }
  return state;
}

/** @param rawLength bytes of the piece before compression */
async function readPiece(read: ReadExactly, rawLength: number): Promise<Buffer> {
  const head = Buffer.from(await read(pieceHeadBytes));
  const codec = head.readUInt32LE(0);
  if (codec !== codecs.stored && codec !== codecs.zstd) throw refused(`codec ${codec}; known: 0 and 1`);
  const length = head.readUInt32LE(4);
  if (codec === codecs.stored ? length !== rawLength : length >= rawLength) {
    throw refused(`a piece of ${length} bytes for ${rawLength} bytes of state with codec ${codec}`);
  }
  const payload = await read(length);
  if (crc32(payload, crc32(head.subarray(0, 8))) !== head.readUInt32LE(8)) throw refused('a wrong checksum');
  if (codec === codecs.stored) return payload;
  assertFrameBounded(payload, rawLength);
  const zstd = await openZstd();
  const raw = await zstd.expand(payload, Buffer.allocUnsafe(rawLength)).catch((error: unknown) => {
    throw refused(`a frame that does not expand: ${messageOf(error)}`);
  });
  if (raw.length !== rawLength) throw refused(`a frame of ${raw.length} bytes instead of ${rawLength}`);
  return raw;
}

function limited(what: string, value: number, atMost: number): number {
  if (value > atMost) throw refused(`${value} ${what}; allowed: ${atMost}`);
  return value;
}

function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, index) => {
    bytes.writeUInt32LE(value, 4 * index);
  });
  return bytes;
}

function refused(why: string): XapiError {
  return new XapiError('INTERNAL_ERROR', [`vGPU stream: ${why}`]);
}
