import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { readVgpus, type VgpuState, writeVgpus } from '../../src/emu-manager/vgpu.js';
import { choppedReader } from '../support/chopped.js';

async function write(devices: readonly VgpuState[]): Promise<Buffer> {
  const pieces: Buffer[] = [];
  await writeVgpus({ written: 0, write: async (...more) => void pieces.push(...more) }, devices);
  return Buffer.concat(pieces);
}

async function read(stream: Buffer) {
  const reader = choppedReader(stream);
  const source = { readInto: async (buffer: Buffer) => void (await reader(buffer.length)).copy(buffer) };
  const devices: VgpuState[] = [];
  for await (const device of readVgpus(source)) devices.push(device);
  return { devices, left: reader.left() };
}

describe('vGPU stream', () => {
  const devices = [
    { device: '0', state: randomBytes(100) },
    { device: 'eleven', state: Buffer.alloc(0) },
  ];

  it('gives the states back, and leaves what is behind them', async () => {
    const stream = await write(devices);
    expect(await read(Buffer.concat([stream, Buffer.from('behind')]))).to.deep.equal({ devices, left: 6 });
  });

  it('is refused wherever it is cut or changed', async () => {
    const stream = await write(devices);
    for (let at = 0; at < stream.length; at += 1) {
      const changed = Buffer.from(stream);
      changed[at] = (changed[at] as number) ^ 0xff;
      for (const damaged of [stream.subarray(0, at), changed]) {
        const outcome = await read(damaged).then(
          () => 'accepted',
          (error: Error) => error.message,
        );
        expect(outcome).to.match(/ended early|vGPU stream: /);
      }
    }
  });
});
