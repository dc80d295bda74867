import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { recordTypes, streamHeadBytes } from '../../src/wire/stream/libxc-stream.js';
import { type SavedStreams, savedSpec, saveStreams } from '../support/saved-stream.js';
import { type Lab, openLab } from './harness.js';

interface Mutation {
  readonly how: 'flip' | 'cut' | 'insert' | 'repeat';
  /** Where, as a share of the stream. */
  readonly at: number;
  readonly bytes: number;
}

const mutation = fc.record<Mutation>({
  how: fc.constantFrom('flip', 'cut', 'insert', 'repeat'),
  at: fc.double({ min: 0, max: 0.999999, noNaN: true }),
  bytes: fc.integer({ min: 1, max: 5000 }),
});

function mutate(stream: Buffer, { how, at, bytes }: Mutation): { stream: Buffer; place: number } {
  const place = Math.floor(at * stream.length);
  const [before, behind] = [stream.subarray(0, place), stream.subarray(place)];
  if (how === 'cut') return { stream: Buffer.concat([before, behind.subarray(bytes)]), place };
  if (how === 'insert') return { stream: Buffer.concat([before, Buffer.alloc(bytes, bytes), behind]), place };
  if (how === 'repeat') return { stream: Buffer.concat([before, behind.subarray(0, bytes), behind]), place };
  const copy = Buffer.from(stream);
  copy[place] = (copy[place] as number) ^ (1 << (bytes % 8));
  return { stream: copy, place };
}

/** Whether a flipped byte there cannot be seen: inside the pages of a plain record. */
function isPlainPage(stream: Buffer, place: number): boolean {
  for (let at = streamHeadBytes; at < stream.length; ) {
    const [type, length] = [stream.readUInt32LE(at), stream.readUInt32LE(at + 4)];
    const next = at + 8 + Math.ceil(length / 8) * 8;
    if (place < next) {
      return type === recordTypes.pageData && place >= at + 16 + 8 * stream.readUInt32LE(at + 8);
    }
    at = next;
  }
  return false;
}

describe('A memory stream that was changed on its way', function () {
  this.timeout(120_000);
  let lab: Lab;
  let saved: SavedStreams;

  before(async () => {
    lab = await openLab();
    saved = await saveStreams(lab);
  });
  after(() => lab.close());

  for (const form of ['plain', 'compressed'] as const) {
    it(`is refused, or gives the same memory (${form})`, async () => {
      await fc.assert(
        fc.asyncProperty(mutation, async (change) => {
          const { stream, place } = mutate(saved[form], change);
          const handle = await lab.createDomain(savedSpec);
          const file = path.join(lab.directory, 'mutated');
          fs.writeFileSync(file, stream);
          const fd = fs.openSync(file, 'r');
          const emu = lab.emu(['-mode', 'hvm_restore', '-domid', String(handle.domid)], [fd]);
          emu.tell('restore:xenguest');
          const { status, messages } = await emu.exit();
          fs.closeSync(fd);
          const kinds = messages.map(({ kind }) => kind);
          expect([status, kinds]).to.be.deep.oneOf([
            [0, ['result']],
            [1, ['error']],
          ]);
          const undetected = change.how === 'flip' && isPlainPage(saved[form], place);
          if (status === 0 && !undetected) {
            expect((await lab.memoryOf(handle)).equals(saved.memory)).to.equal(true);
          }
          await lab.simulator.destroy(handle);
        }),
        { numRuns: 15, seed: 20, endOnFailure: true },
      );
    });
  }
});
