import { expect } from 'chai';
import { openZstd } from '../../../src/base/zstd/zstd.js';
import { createQemuStreamWriter, readQemuStream, recordBytes } from '../../../src/wire/stream/qemu-stream.js';
import { choppedReader } from '../../support/chopped.js';
import { randomBytes } from '../../support/random.js';

const zstd = await openZstd();
const text = Buffer.alloc(recordBytes, 'bytes of a guest');
const most = 1 << 24;

/** A stream with a stored, a compressed and a short record. */
function streamOf(): { pieces: Buffer[]; content: Buffer } {
  const writer = createQemuStreamWriter();
  const random = randomBytes(5000);
  const short = Buffer.from('the rest');
  const pieces = [
    writer.head,
    ...writer.encode(random),
    ...writer.encode(text, zstd.compressSync(text, 1)),
    ...writer.encode(short, Buffer.alloc(20)),
    ...writer.end(),
  ];
  return { pieces, content: Buffer.concat([random, text, short]) };
}

async function contentOf(stream: Buffer, limit = most): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of readQemuStream(choppedReader(stream, 60_000), limit)) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function failureOf(stream: Buffer, limit = most): Promise<string> {
  return contentOf(stream, limit).then(
    () => 'it was read',
    (error: Error) => error.message,
  );
}

describe("the stream of a QEMU domain's memory", () => {
  it('is what was written, stored and compressed, to its end and no further', async () => {
    const { pieces, content } = streamOf();
    const read = choppedReader(Buffer.concat([...pieces, Buffer.from('header')]), 60_000);
    const found: Buffer[] = [];
    for await (const piece of readQemuStream(read, most)) found.push(piece);
    expect(Buffer.concat(found).equals(content)).to.equal(true);
    expect(String(await read(6))).to.equal('header');
  });

  it('is refused where any byte of it was changed', async () => {
    const stream = Buffer.concat(streamOf().pieces);
    for (let at = 0; at < stream.length; at += at < 200 ? 1 : 997) {
      const changed = Buffer.from(stream);
      changed[at] = (changed[at] as number) ^ 0x10;
      expect(await failureOf(changed), `byte ${at}`).to.match(/QEMU's memory stream|ended|zstd frame/);
    }
  });

  const rows: readonly (readonly [what: string, change: (pieces: Buffer[]) => Buffer[], why: RegExp])[] = [
    ['of another kind', ([, ...rest]) => [Buffer.alloc(16, 1), ...rest], /it is none/],
    ['without a record', ([head, , , ...rest]) => [head as Buffer, ...rest], /checksum/],
    [
      'with a record twice',
      ([head, a, b, ...rest]) => [head as Buffer, a as Buffer, b as Buffer, a as Buffer, b as Buffer, ...rest],
      /checksum/,
    ],
    [
      'with records in another order',
      ([head, a, b, c, d, ...rest]) => [head, c, d, a, b, ...rest] as Buffer[],
      /checksum/,
    ],
    ['that ends early', (pieces) => pieces.slice(0, -2), /end/],
  ];
  for (const [what, change, why] of rows) {
    it(`is refused ${what}`, async () => {
      expect(await failureOf(Buffer.concat(change(streamOf().pieces)))).to.match(why);
    });
  }

  it('is refused where it is longer than the memory of its domain allows', async () => {
    const { pieces, content } = streamOf();
    expect(await failureOf(Buffer.concat(pieces), content.length - 1)).to.contain('longer than');
    expect((await contentOf(Buffer.concat(pieces), content.length)).length).to.equal(content.length);
  });
});
