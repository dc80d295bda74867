/**
 * The state of virtual GPUs on a channel of its own: 8 bytes `XFVGPU\n\0`, u32 version, u32 number of devices; for each device
 * u32 length of its name, u32 length of its state, name, state, u32 CRC-32 of name and state. Little-endian.
 */
import { crc32 } from 'node:zlib';
import type { Sink, Source } from './descriptor.js';

/** The state of one virtual GPU. */
export interface VgpuState {
  readonly device: string;
  readonly state: Buffer;
}

const magic = Buffer.from('XFVGPU\n\0', 'latin1');
const version = 1;
const maxDevices = 64;
const maxNameBytes = 255;
const maxStateBytes = 64 << 20;

/** Write the states of some devices. */
export async function writeVgpus(sink: Sink, devices: readonly VgpuState[]): Promise<void> {
  await sink.write(magic, words(version, devices.length));
  for (const { device, state } of devices) {
    const name = Buffer.from(device, 'utf8');
    await sink.write(words(name.length, state.length), name, state, words(crc32(state, crc32(name))));
  }
}

/** Read what writeVgpus wrote, and not a byte more, one device after the other. @throws when it is not that, or damaged */
export async function* readVgpus(source: Source): AsyncGenerator<VgpuState> {
  const read = async (bytes: number) => {
    const buffer = Buffer.allocUnsafe(bytes);
    await source.readInto(buffer);
    return buffer;
  };
  if (!(await read(magic.length)).equals(magic)) throw new Error('vGPU stream: no marker at its beginning');
  const head = await read(8);
  if (head.readUInt32LE(0) !== version)
    throw new Error(`vGPU stream: version ${head.readUInt32LE(0)}; supported: ${version}`);
  for (let left = limited('devices', head.readUInt32LE(4), maxDevices); left > 0; left -= 1) {
    const lengths = await read(8);
    const name = await read(limited('bytes of name', lengths.readUInt32LE(0), maxNameBytes));
    const state = await read(limited('bytes of state', lengths.readUInt32LE(4), maxStateBytes));
    const device = name.toString('utf8');
    if ((await read(4)).readUInt32LE() !== crc32(state, crc32(name)))
      throw new Error(`vGPU stream: ${device} is damaged`);
    yield { device, state };
  }
}

function limited(what: string, value: number, atMost: number): number {
  if (value > atMost) throw new Error(`vGPU stream: ${value} ${what}; allowed: ${atMost}`);
  return value;
}

function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, index) => {
    bytes.writeUInt32LE(value, 4 * index);
  });
  return bytes;
}
