/** Streams of a guest that runs, read by a reader that knows the document alone, and by ours. */
import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import type { DomainHandle } from '../../../src/base/domain.js';
import { pageSize } from '../../../src/base/domain.js';
import { readCheckedRecords } from '../../../src/wire/stream/checked-stream.js';
import { decodeHvmParams, decodePageData, recordTypes } from '../../../src/wire/stream/libxc-stream.js';
import { compressedPagesType, decodePages, maxCompressedBody } from '../../../src/wire/stream/page-codec.js';
import { expandPagesHere } from '../../../src/wire/stream/page-frames.js';
import { type FoundRecord, type ReadStream, readCompressedStream } from '../../support/compressed-stream-reader.js';
import { saveStream } from '../../support/saved-stream.js';
import { type Lab, openLab } from '../harness.js';

/** Read a stream as a restore does. @returns the pages in order, and the context @throws whatever is wrong */
async function readOurs(stream: Buffer): Promise<{ memory: Buffer; context: Buffer | undefined }> {
  let at = 0;
  const read = async (bytes: number) => {
    if (at + bytes > stream.length) throw new Error('the stream ended early');
    at += bytes;
    return stream.subarray(at - bytes, at);
  };
  const memory = Buffer.alloc(memoryBytes);
  let context: Buffer | undefined;
  for await (const { type, body } of readCheckedRecords(read, new Map([[compressedPagesType, maxCompressedBody]]))) {
    if (type === recordTypes.hvmContext) context = body;
    if (type === recordTypes.hvmParams) decodeHvmParams(body);
    if (type !== recordTypes.pageData && type !== compressedPagesType) continue;
    const decoded = type === compressedPagesType ? decodePages(body) : undefined;
    const { pfns, data } =
      decoded === undefined ? decodePageData(body) : { pfns: decoded.pfns, data: expandPagesHere(decoded) };
    pfns.forEach((pfn, index) => {
      if (pfn >= memoryBytes / pageSize) throw new Error(`page ${pfn} is not of the domain`);
      data.copy(memory, pfn * pageSize, index * pageSize, (index + 1) * pageSize);
    });
  }
  if (context === undefined || at !== stream.length) throw new Error('no context, or bytes behind END');
  return { memory, context };
}

const memoryBytes = 1 << 18;
const readers: Record<string, (stream: Buffer) => Promise<unknown>> = {
  'a reader that knows the document alone': async (stream) => readCompressedStream(stream),
  ours: readOurs,
};

describe('a compressed stream of a guest that runs', function () {
  this.timeout(120_000);
  let lab: Lab;
  let guest: DomainHandle;
  let stream: Buffer;
  let found: ReadStream;
  const save = async (flags: readonly string[]): Promise<Buffer> => {
    await lab.simulator.unpause(guest, randomUUID());
    return saveStream(lab, guest, ['-live', 'true', '-compress', 'true', ...flags]);
  };
  before(async () => {
    lab = await openLab();
    guest = await lab.createDomain({ memoryBytes, workload: { dirtyPagesPerSecond: 4000, workingSet: 0.5 } });
    await lab.simulator.build(guest);
    stream = await save([]);
    found = readCompressedStream(stream);
  });
  after(() => lab.close());

  for (const [version, flags] of [
    [3, []],
    [3, ['-compress_format', '3']],
    [2, ['-compress_format', '2']],
  ] as const) {
    it(`is of version ${version} with "${flags.join(' ')}", and both readers find the guest in it`, async () => {
      const bytes = await save(flags);
      const memory = await lab.memoryOf(guest);
      const theirs = readCompressedStream(bytes);
      expect(theirs.version).to.equal(version);
      expect(theirs.pages.size).to.equal(memoryBytes / pageSize);
      for (const [pfn, page] of theirs.pages) {
        const same = page.equals(memory.subarray(pfn * pageSize, (pfn + 1) * pageSize));
        if (!same) expect.fail(`page ${pfn} differs`);
      }
      const ours = await readOurs(bytes);
      expect(ours.memory.equals(memory)).to.equal(true);
      expect(ours.context?.equals(theirs.hvmContext)).to.equal(true);
    });
  }

  /** The bits of a record to flip: all of most, of pages' numbers and payload some. */
  function* bitsOf({ name, at, length, next }: FoundRecord): Generator<number> {
    for (let byte = at; byte < next; byte += 1) {
      const inPages = byte - at - 8;
      const isMany = name === 'compressed pages' && inPages >= 24 && inPages < length;
      if (!isMany) for (let bit = 0; bit < 8; bit += 1) yield 8 * byte + bit;
      else if (byte % 61 === 0 || inPages < 32) yield 8 * byte + (byte % 8);
    }
  }

  const kinds = [
    ...['STATIC_DATA_END', 'format', 'compressed pages', 'TSC_INFO', 'HVM_PARAMS', 'HVM_CONTEXT', 'checksum', 'END'],
  ];
  for (const [reader, read] of Object.entries(readers)) {
    for (const kind of ['the head', ...kinds]) {
      it(`is refused by ${reader} wherever a bit of ${kind} is flipped`, async () => {
        const head: FoundRecord = { name: 'the head', at: 0, length: 32, next: 40 };
        const records = [head, ...found.records].filter(({ name }) => name === kind);
        expect(records).to.not.have.length(0);
        for (const record of records) {
          for (const bit of bitsOf(record)) {
            const mask = 1 << (bit % 8);
            const byte = Math.floor(bit / 8);
            stream[byte] = (stream[byte] as number) ^ mask;
            const isRefused = await read(stream).then(
              () => false,
              () => true,
            );
            stream[byte] = (stream[byte] as number) ^ mask;
            if (!isRefused) expect.fail(`bit ${bit} of ${kind} at ${record.at}`);
          }
        }
      });
    }

    it(`is refused by ${reader} where a record is missing, comes twice or at another place`, async () => {
      const pieces = found.records.map(({ at, next }) => stream.subarray(at, next));
      const head = stream.subarray(0, 40);
      for (let index = 0; index < pieces.length; index += 1) {
        const [before, own, behind] = [pieces.slice(0, index), pieces[index] as Buffer, pieces.slice(index + 1)];
        const changes = [
          ['missing', [...before, ...behind]],
          ['twice', [...before, own, own, ...behind]],
          ['first', [own, ...before, ...behind]],
          ['last', [...before, ...behind, own]],
        ] as const;
        for (const [what, records] of changes) {
          const changed = Buffer.concat([head, ...records]);
          if (changed.equals(stream)) continue;
          const isRefused = await read(changed).then(
            () => false,
            () => true,
          );
          if (!isRefused) expect.fail(`${found.records[index]?.name} ${what}`);
        }
      }
    });
  }
});
