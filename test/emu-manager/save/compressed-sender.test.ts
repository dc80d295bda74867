import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { pageSize } from '../../../src/base/domain.js';
import type { CompressionLevel } from '../../../src/base/protocol/emu-protocol.js';
import type { Sink } from '../../../src/emu-manager/process/descriptor.js';
import { createCompressedSender } from '../../../src/emu-manager/save/compressed-sender.js';
import { type CompressedPages, decodePages } from '../../../src/wire/stream/page-codec.js';
import { expandPagesHere } from '../../../src/wire/stream/page-frames.js';
import { randomBytes } from '../../support/random.js';

const prose = 'It was the best of times, it was the worst of times; ';
const pages = 3000;

/** A memory in which each kind of page is often enough for several records, in runs and alone. */
function makeMemory(): Buffer {
  const memory = Buffer.alloc(pages * pageSize);
  for (let pfn = 0; pfn < pages; pfn += 1) {
    const page = memory.subarray(pfn * pageSize, (pfn + 1) * pageSize);
    const kind = pfn < 2000 ? Math.floor(pfn / 20) % 5 : pfn % 5;
    if (kind === 1) page.fill(`word${String(pfn % 10000).padStart(4)}`);
    if (kind === 2) randomBytes(pageSize).copy(page);
    if (kind === 3) page.fill(prose.slice(pfn % 50) + pfn);
    if (kind === 4) for (let at = 0; at < pageSize; at += 8) page.writeUInt32LE(pfn * 977 + at * at, at);
  }
  return memory;
}

/** A stream that takes a record whenever it is told to, and counts those that wait. */
function createSlowSink() {
  const waiting: (() => void)[] = [];
  const records: Buffer[] = [];
  let most = 0;
  const sink: Sink = {
    written: 0,
    waiting: () => waiting.length,
    async write(...pieces) {
      records.push(Buffer.concat(pieces));
      await new Promise<void>((resolve) => {
        waiting.push(resolve);
        most = Math.max(most, waiting.length);
      });
    },
  };
  return { sink, records, most: () => most, take: () => waiting.shift()?.() };
}

const bodyOf = (record: Buffer) => decodePages(record.subarray(8, 8 + record.readUInt32LE(4)));

describe('compressed sender', function () {
  this.timeout(60_000);
  let directory: string;
  let memory: Buffer;
  let memoryFd: number;

  before(() => {
    directory = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-sender-'));
    memory = makeMemory();
    fs.writeFileSync(path.join(directory, 'memory'), memory);
    memoryFd = fs.openSync(path.join(directory, 'memory'), 'r');
  });
  after(() => {
    fs.closeSync(memoryFd);
    fs.rmSync(directory, { recursive: true });
  });

  /** Send all of the memory to a stream that takes one record a turn of the event loop. */
  async function sendAll(level: CompressionLevel, threads: number) {
    const { sink, records, most, take } = createSlowSink();
    const sender = createCompressedSender({ memoryFd, sink, queued: () => 0, level, threads });
    const taking = setInterval(take, 0);
    for (let first = 0; first < pages; first += sender.atMost) {
      await sender.send(Array.from({ length: Math.min(sender.atMost, pages - first) }, (_, index) => first + index));
    }
    await sender.flush();
    clearInterval(taking);
    return { decoded: records.map(bodyOf), most: most(), level: sender.level() };
  }

  /** What a reader makes of the records. */
  function memoryOf(decoded: readonly CompressedPages[]): Buffer {
    const made = Buffer.alloc(memory.length, 0xee);
    for (const record of decoded) {
      const data = expandPagesHere(record);
      for (const [index, pfn] of record.pfns.entries())
        data.copy(made, pfn * pageSize, index * pageSize, (index + 1) * pageSize);
    }
    return made;
  }

  for (const [level, threads, codecs] of [
    ['auto', 1, ['repeated', 'stored', 'zero', 'zstd']],
    ['auto', 3, ['repeated', 'stored', 'zero', 'zstd']],
    [-7, 2, ['repeated', 'stored', 'zero', 'zstd']],
    [9, 2, ['repeated', 'stored', 'zero', 'zstd']],
    [0, 2, ['repeated', 'stored', 'zero']],
  ] as const) {
    it(`sends each page once, by ${codecs.join(', ')}, at level ${level} with ${threads} threads`, async () => {
      const { decoded } = await sendAll(level, threads);
      expect([...new Set(decoded.map(({ codec }) => codec))].toSorted()).to.deep.equal(codecs);
      const pfns = decoded.flatMap((record) => record.pfns);
      expect(pfns.toSorted((a, b) => a - b)).to.deep.equal(Array.from({ length: pages }, (_, pfn) => pfn));
      expect(memoryOf(decoded).equals(memory)).to.equal(true);
    });
  }

  it('stores what is random, and only that, when it compresses', async () => {
    const { decoded } = await sendAll(1, 2);
    const taken = { random: 0, forText: 0 };
    for (const { codec, pfns } of decoded) {
      for (const pfn of pfns) {
        const kind = pfn < 2000 ? Math.floor(pfn / 20) % 5 : pfn % 5;
        if (kind !== 2) expect(codec).to.equal(['zero', 'repeated', '', 'zstd', 'zstd'][kind]);
        else taken[codec === 'stored' ? 'random' : 'forText'] += 1;
      }
    }
    // A sample of random bytes looks like text once in some hundred thousand pages, and costs the codec's time.
    expect(taken.forText).to.be.at.most(2);
    expect(taken.random).to.equal(pages / 5 - taken.forText);
  });

  for (const threads of [1, 2, 8]) {
    it(`lets few records wait for a slow stream, with ${threads} threads`, async () => {
      expect((await sendAll(0, threads)).most).to.be.at.most(threads + 6);
    });
  }

  it('lets the event loop turn with each record of pages as they are, however soon the stream takes it', async () => {
    let records = 0;
    const write = async () => {
      records += 1;
    };
    const sink: Sink = { written: 0, waiting: () => 0, write };
    const sender = createCompressedSender({ memoryFd, sink, queued: () => 0, level: 0, threads: 2 });
    const random = Array.from({ length: 2000 }, (_, pfn) => pfn).filter((pfn) => Math.floor(pfn / 20) % 5 === 2);
    let turns = 0;
    let next = setImmediate(function count() {
      turns += 1;
      next = setImmediate(count);
    });
    for (let round = 0; round < 20; round += 1) {
      for (let first = 0; first < random.length; first += 100) await sender.send(random.slice(first, first + 100));
    }
    const turnsWhileSending = turns;
    clearImmediate(next);
    await sender.flush();
    expect(records).to.be.greaterThan(20);
    expect(turnsWhileSending).to.be.at.least(records - 2);
  });

  it('tells the level', async () => {
    expect((await sendAll(-3, 1)).level).to.equal('1/-3');
    expect((await sendAll(0, 1)).level).to.equal('none');
  });

  it('fails like the stream', async () => {
    const sink: Sink = { written: 0, waiting: () => 0, write: () => Promise.reject(new Error('gone')) };
    const sender = createCompressedSender({ memoryFd, sink, queued: () => 0, level: 1, threads: 2 });
    const sending = sender.send([40, 41]).then(() => sender.flush());
    expect(await sending.catch((error: Error) => error.message)).to.equal('gone');
  });
});
