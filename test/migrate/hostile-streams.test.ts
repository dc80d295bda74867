import fs from 'node:fs';
import * as zstd from '@mongodb-js/zstd';
import { expect } from 'chai';
import { pageSize } from '../../src/base/domain.js';
import { encodeSuccess, recvHandshake } from '../../src/wire/connection/handshake.js';
import type { RawSocket } from '../../src/wire/connection/raw-socket.js';
import {
  encodeRecord,
  encodeStreamHead,
  recordTypes,
  writePageHead,
  writeRecordHeader,
} from '../../src/wire/stream/libxc-stream.js';
import { compressedPagesType, encodePages } from '../../src/wire/stream/page-codec.js';
import { encodeHeader, encodeSignature } from '../../src/wire/stream/suspend-image.js';
import { expectNothingLeft, imageOf, imageStart, openFakeSource } from '../support/fake-source.js';
import { openTestHost, type TestHost, testDomain } from '../support/hosts.js';
import { type SavedStreams, savedSpec, savedStreams } from '../support/saved-stream.js';
import { childProcesses } from '../wire/connection/connections.js';

const mebibyte = 1 << 20;
const streamStart = Buffer.concat([encodeStreamHead(), encodeRecord(recordTypes.staticDataEnd)]);
const start = Buffer.concat([imageStart(), streamStart]);

const then = (...parts: Uint8Array[]) => Buffer.concat([start, ...parts]);
const claims = (type: number, length: number) => {
  const header = Buffer.alloc(8);
  writeRecordHeader(header, type, length);
  return header;
};
const header = (type: bigint, length: bigint) => {
  const bytes = Buffer.alloc(16);
  bytes.writeBigInt64LE(type, 0);
  bytes.writeBigInt64LE(length, 8);
  return bytes;
};
const pages = (pfns: readonly number[]) => {
  const body = Buffer.alloc(8 + pfns.length * (8 + pageSize));
  writePageHead(body, 0, pfns);
  return encodeRecord(recordTypes.pageData, body);
};
const withXenops = (body: string) =>
  Buffer.concat([encodeSignature(), encodeHeader('xenops', body.length), Buffer.from(body)]);
const compressed = (pfns: readonly number[], payload: Buffer) => Buffer.concat(encodePages('zstd', pfns, payload));
/** 1 GiB of zeros in a frame of 32 KB: run-length blocks of 128 KiB. */
const bomb = () => {
  const block = Buffer.from([0, 0, 0, 0]);
  const blocks = Array.from({ length: 8192 }, (_, index) => {
    const bytes = Buffer.from(block);
    bytes.writeUIntLE(((128 * 1024) << 3) | (1 << 1) | Number(index === 8191), 0, 3);
    return bytes;
  });
  return Buffer.concat([Buffer.from('28b52ffd0058', 'hex'), ...blocks]);
};
/** An optional record, which is skipped. */
const optional = encodeRecord(0x80000001, Buffer.alloc(mebibyte));

/** The largest that a helper process has been, in bytes. */
function helperPeak(children: ReadonlySet<number>): number {
  const sizes = [...childProcesses()]
    .filter((pid) => !children.has(pid))
    .map((pid) => {
      try {
        return Number(/VmHWM:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) * 1024;
      } catch {
        return 0;
      }
    });
  return Math.max(0, ...sizes);
}

describe('A destination that gets a hostile stream', function () {
  this.timeout(60_000);
  let host: TestHost;
  let saved: SavedStreams;
  let children: Set<number>;
  const domain = () => testDomain({ ...savedSpec, workload: { dirtyPagesPerSecond: 0, workingSet: 0.1 } });

  before(async () => {
    [host, saved] = await Promise.all([openTestHost(), savedStreams()]);
    host.configure({ 'migration-step-timeout': '10' });
    children = childProcesses();
  });
  after(() => host.close());

  /** Send it, and say what the destination says of it. */
  const refusalOf = async (send: (memory: RawSocket) => Promise<unknown>, cookies = {}): Promise<string> => {
    const source = await openFakeSource(host, domain());
    try {
      const { control, memory } = await source.connect(cookies);
      const sending = send(memory).catch(() => undefined);
      const error = await source.errorOn(control);
      expect(await source.ended()).to.equal(false);
      await sending;
      await expectNothingLeft(host, children);
      return error;
    } finally {
      source.close();
    }
  };
  const refusalOfBytes = (bytes: Buffer, cookies = {}) =>
    refusalOf(async (memory) => {
      await memory.write(bytes);
      memory.destroy();
    }, cookies);

  const rows: [what: string, image: () => Buffer | Promise<Buffer>, says: RegExp][] = [
    ['nothing', () => Buffer.alloc(0), /closed/],
    ['no image', () => Buffer.alloc(mebibyte, 0x58), /not a suspend image/],
    ['half a signature', () => encodeSignature().subarray(0, 9), /closed/],
    ['an unknown header', () => Buffer.concat([encodeSignature(), header(0x77n, 0n)]), /unknown type 0x77/],
    ['a negative length', () => Buffer.concat([encodeSignature(), header(0xfn, -1n)]), /length -1; allowed: 0 to/],
    ['an absurd length', () => Buffer.concat([encodeSignature(), header(0xfn, 2n ** 62n)]), /allowed: 0 to 1048576/],
    [
      'headers in another order',
      () => Buffer.concat([encodeSignature(), header(0xf0n, 0n)]),
      /libxc in place of xenops/,
    ],
    ['a deep record', () => withXenops('('.repeat(mebibyte)), /nested deeper than 16/],
    ['a record of a million atoms', () => withXenops(`(${'a '.repeat(500_000)})`), /more than 1000 atoms/],
    ['no memory stream', () => Buffer.concat([imageStart(), Buffer.alloc(64)]), /no marker/],
    [
      'a record of 4 GiB',
      () => then(claims(recordTypes.pageData, 0xffffffff)),
      /PAGE_DATA of 4294967295 bytes; allowed/,
    ],
    [
      'a long HVM_CONTEXT',
      () => then(claims(recordTypes.hvmContext, 100 * mebibyte)),
      /HVM_CONTEXT of 104857600 bytes/,
    ],
    ['long compressed pages', () => then(claims(compressedPagesType, 100 * mebibyte)), /of 104857600 bytes; allowed/],
    ['an unknown mandatory record', () => then(claims(0x7ffffff0, 0)), /unknown mandatory record/],
    ['a page outside the VM', () => then(pages([256])), /page 256 is outside the domain, which has 256/],
    ['a page far outside the VM', () => then(pages([2 ** 40])), /outside the domain/],
    [
      'a page of a reserved type',
      () => {
        const record = pages([1]);
        record.writeUInt8(0x50, 8 + 8 + 7);
        return then(record);
      },
      /reserved type 5/,
    ],
    [
      'counts that do not fit',
      () => {
        const record = pages([1, 2]);
        record.writeUInt32LE(1_000_000, 8);
        return then(record);
      },
      /for 1000000 pages/,
    ],
    [
      'fewer pages than announced',
      () => imageOf(Buffer.concat([saved.plain.subarray(0, 48), ...tail()])),
      /without 256 of/,
    ],
    ['a frame that claims 1 GiB', () => then(compressed([1, 2, 3, 4, 5, 6, 7, 8, 9], bomb())), /zstd frame refused/],
    [
      'a raw length of 0',
      () => {
        const record = compressed([1], Buffer.alloc(8));
        record.writeUInt32LE(0, 8 + 12);
        return then(record);
      },
      /a raw length of 0 for 1 pages/,
    ],
    ['a cut stream', () => imageOf(saved.plain).subarray(0, 500_000), /ended early/],
    ['no END', () => Buffer.concat([imageStart(), saved.plain.subarray(0, -8)]), /ended early/],
    ['a record behind END', () => Buffer.concat([imageStart(), saved.plain, pages([1])]), /header of unknown type/],
    ['no End of the image', () => Buffer.concat([imageStart(), saved.plain]), /closed/],
    ['two Ends of the image', () => Buffer.concat([imageOf(saved.plain), encodeHeader('end')]), /behind the end/],
    ['a byte behind the image', () => Buffer.concat([imageOf(saved.plain), Buffer.of(0)]), /behind the end/],
    ['a second image', () => Buffer.concat([imageOf(saved.plain), imageOf(saved.plain)]), /behind the end/],
  ];
  /** What follows the pages of the saved stream: TSC_INFO to END. */
  const tail = () => {
    const at = saved.plain.lastIndexOf(Buffer.from('0800000018000000', 'hex'));
    return [saved.plain.subarray(at)];
  };
  for (const [what, image, says] of rows) {
    it(`refuses ${what}`, async () => {
      expect(await refusalOfBytes(await image())).to.match(says);
    });
  }

  const squeezed: typeof rows = [
    ['what is no zstd', () => imageOf(saved.plain), /zstd|closed/],
    [
      'rubbish behind the frame',
      async () => Buffer.concat([await zstd.compress(imageOf(saved.plain)), Buffer.alloc(99, 7)]),
      /zstd/,
    ],
    [
      'a second frame behind the image',
      async () => Buffer.concat([await zstd.compress(imageOf(saved.plain)), await zstd.compress(Buffer.from('more'))]),
      /behind the end/,
    ],
    [
      'a cut frame',
      async () => {
        const frame = await zstd.compress(imageOf(saved.plain));
        return frame.subarray(0, frame.length / 2);
      },
      /zstd/,
    ],
    [
      'a frame that is damaged at its end alone',
      async () => {
        const frame = await zstd.compress(imageOf(saved.plain));
        // The library writes no checksum: the last block's bytes are what is left to damage.
        return frame.subarray(0, -1);
      },
      /zstd/,
    ],
  ];
  for (const [what, image, says] of squeezed) {
    it(`refuses ${what} under the zstd pipe`, async () => {
      expect(await refusalOfBytes(await image(), { compress: 'zstd' })).to.match(says);
    });
  }

  it('stops a stream that expands without end, in bounded memory', async () => {
    const frame = await zstd.compress(Buffer.concat(Array.from({ length: 64 }, () => optional)));
    let peak = 0;
    const own = process.memoryUsage().rss;
    const error = await refusalOf(
      async (memory) => {
        await memory.write(await zstd.compress(start));
        for (let count = 0; ; count += 1) {
          await memory.write(frame);
          if (count % 500 === 0) peak = Math.max(peak, helperPeak(children));
        }
      },
      { compress: 'zstd' },
    );
    expect(error, error).to.match(/longer than the 83886080 bytes/);
    expect(peak).to.be.lessThan(300 * mebibyte);
    expect(process.memoryUsage().rss - own).to.be.lessThan(256 * mebibyte);
  });

  it('stops a bomb between the headers', async () => {
    const frame = await zstd.compress(Buffer.alloc(64 * mebibyte));
    const image = async () => Buffer.concat([await zstd.compress(encodeSignature()), frame, frame]);
    expect(await refusalOfBytes(await image(), { compress: 'zstd' })).to.match(/unknown type 0x0/);
  });

  it('holds no more of a record than it may be long', async () => {
    let peak = 0;
    const rubbish = Buffer.alloc(mebibyte, 7);
    const error = await refusalOf(async (memory) => {
      await memory.write(Buffer.concat([start, claims(recordTypes.pageData, 60 * mebibyte)]));
      for (let sent = 0; sent < 60; sent += 1) {
        await memory.write(rubbish);
        if (sent % 10 === 9) peak = Math.max(peak, helperPeak(children));
      }
    });
    expect(error).to.match(/for \d+ pages/);
    expect(peak).to.be.lessThan(300 * mebibyte);
  });

  const more = (stream: Buffer) =>
    Buffer.concat([stream.subarray(0, 48), optional, pages([7, 7, 3]), stream.subarray(48)]);
  for (const [form, what, change] of [
    ['plain', ', with optional records and pages that come twice', more],
    ['unchecked', ', with optional records and pages that come twice', more],
    ['compressed', '', (stream: Buffer) => stream],
  ] as const) {
    it(`takes a good one afterwards, ${form}${what}`, async () => {
      const source = await openFakeSource(host, domain());
      const { control, memory } = await source.connect({ restored_ack: '1' });
      await memory.write(imageOf(change(saved[form])));
      memory.destroy();
      await recvHandshake(control, 10_000);
      await control.write(encodeSuccess());
      await recvHandshake(control, 10_000);
      expect(await source.ended()).to.equal(true);
      source.close();
      const [{ handle, state }] = (await host.simulator.list()) as [Awaited<ReturnType<typeof host.simulator.list>>[0]];
      expect(state).to.equal('running');
      await host.simulator.destroy(handle);
      await expectNothingLeft(host, children);
    });
  }
});
