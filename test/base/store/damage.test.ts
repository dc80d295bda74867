import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { XapiError } from '../../../src/base/errors.js';
import { assertPages } from '../../../src/base/store/pages.js';
import { dataFile } from '../../../src/base/store/row.js';
import { openStore } from '../../../src/base/store/store.js';
import { randomBytes } from '../../support/random.js';

describe('a damaged database', () => {
  let directory: string;
  let path: string;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'store-damage-'));
    path = join(directory, 'db');
    const store = openStore(path);
    const filled = store.table<string>('filled');
    await store.putMany(Array.from({ length: 3000 }, (_, index) => filled.change(String(index), 'x'.repeat(500))));
    await store.table('flipped').put('one', 'value of one');
    await store.table('flipped').put('two', 'value of two');
    await store.close();
    cpSync(join(path, dataFile), join(directory, 'whole'));
  });
  beforeEach(() => cpSync(join(directory, 'whole'), join(path, dataFile)));
  after(() => rmSync(directory, { recursive: true, force: true }));

  function refusal(): XapiError {
    try {
      openStore(path);
    } catch (error) {
      expect(error).to.be.instanceOf(XapiError);
      return error as XapiError;
    }
    throw new Error('the store was opened');
  }

  /** Changes the first byte of a text, wherever it is in the file: pages that are no longer used have it as well. */
  const flip =
    (text: string) =>
    (file: string): void => {
      const bytes = readFileSync(file);
      for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at)) bytes[at] = (bytes[at] as number) ^ 1;
      writeFileSync(file, bytes);
    };
  const damages: Record<string, [apply: (file: string) => void, why: RegExp]> = {
    'cut short': [(file) => truncateSync(file, 500_000), /.*/],
    'cut to its first page': [(file) => truncateSync(file, 5_000), /.*/],
    emptied: [(file) => truncateSync(file, 0), /^data\.mdb is empty$/],
    overwritten: [(file) => writeFileSync(file, Buffer.alloc(100_000, 'no database')), /.*/],
    'overwritten in the middle': [(file) => writeFileSync(file, Buffer.alloc(800_000, 0xa5), { flag: 'r+' }), /.*/],
    'changed by a bit of a value': [
      flip('value of one'),
      /^in data\.mdb row "one" of table "flipped" has a wrong checksum$/,
    ],
    'changed by a bit of a key': [
      flip('flipped\0two'),
      /^in data\.mdb row "two" of table "glipped" has a wrong checksum$/,
    ],
  };
  for (const [damage, [apply, why]] of Object.entries(damages)) {
    it(`is refused that was ${damage}, and left as it is`, () => {
      const file = join(path, dataFile);
      apply(file);
      cpSync(file, join(directory, 'before'));
      const [, named, said] = /The database (.*) is damaged: (.*)\. Put a copy/.exec(refusal().message) ?? [];
      expect(named).to.equal(path);
      expect(said).to.match(why);
      expect(readFileSync(file).equals(readFileSync(join(directory, 'before')))).to.equal(true);
    });
  }

  describe('by one bit', () => {
    /**
     * Rows that were written and removed in many writes, so that there are older states of each, lists of free pages,
     * and long rows.
     */
    const small = () => join(directory, 'small');
    let whole: Buffer;
    before(async () => {
      const store = openStore(small(), { reserve: 4096 });
      const table = store.table<unknown>('rows');
      for (let row = 0; row < 200; row++) {
        await table.put(String(row % 20), { row, text: 'x'.repeat(row % 20 === 3 ? 6000 : 900) });
      }
      await table.remove('7');
      await store.flushed();
      await store.close();
      whole = readFileSync(join(small(), dataFile));
    });
    const flipped = (bit: number): Buffer => {
      const bytes = Buffer.from(whole);
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
      return bytes;
    };
    const isFound = (bit: number): boolean => {
      try {
        assertPages(flipped(bit), bootId());
        return false;
      } catch {
        return true;
      }
    };
    /** The bits of parts of a page, from and to a byte of it. */
    const bitsOf = (page: number, ...parts: [from: number, to: number][]): number[] =>
      parts.flatMap(([from, to]) =>
        Array.from({ length: 8 * (to - from) }, (_, bit) => 8 * (4096 * page + from) + bit),
      );
    const number = (page: number, at: number): number => Number(whole.readBigUInt64LE(4096 * page + at));
    const bootId = (): number => number(newest(), 160);
    const newest = (): number => (number(0, 152) > number(1, 152) ? 0 : 1);
    const usedPages = (): number[] => {
      const pages = Array.from({ length: number(newest(), 144) - 1 }, (_, index) => index + 2);
      return pages.filter((page) => bitsOf(page, [0, 1]).some(isFound));
    };

    it('is whole as it is', () => {
      assertPages(whole, bootId());
      expect(usedPages()).to.have.length.above(8);
    });

    it('is refused where that changes which state is the newest, or where its pages are', () => {
      // Pages, rows and the root of both trees, the last page, and the number.
      const bits = bitsOf(newest(), [54, 96], [102, 160]);
      expect(bits.filter((bit) => !isFound(bit))).to.deep.equal([]);
    });

    it('is refused where that changes what a page is', () => {
      const isLong = (page: number) => whole.readUInt16LE(4096 * page + 18) === 4;
      // Its number, the transaction that wrote it as far as it is later, its kind, its length.
      const bits = usedPages().flatMap((page) => bitsOf(page, [0, 8], [10, 16], isLong(page) ? [18, 24] : [18, 22]));
      expect(bits.filter((bit) => !isFound(bit))).to.deep.equal([]);
    });

    it('is refused where that changes which pages are free', () => {
      const root = number(newest(), 88);
      const upper = whole.readUInt16LE(4096 * root + 22);
      const node = 24 + upper;
      const list = node + 16;
      const length = number(root, list);
      expect(length).to.be.above(0);
      const bits = bitsOf(root, [list + 8, list + 8 * (length + 1)]);
      // An entry of 0 is an empty one: a page less is free, and nothing is lost.
      const isEmpty = (bit: number) => flipped(bit).readBigUInt64LE((bit >> 6) * 8) === 0n;
      expect(bits.filter((bit) => !isFound(bit) && !isEmpty(bit))).to.deep.equal([]);
    });

    it('is refused, or has all of its rows, wherever that bit is', async () => {
      const read = async (): Promise<unknown> => {
        const store = openStore(small(), { reserve: 4096 });
        try {
          return [...store.table('rows').entries()];
        } finally {
          await store.close();
        }
      };
      const rows = await read();
      const bits = [0, 1, ...usedPages()].flatMap((page) => bitsOf(page, [0, 4096]));
      let refused = 0;
      for (let time = 0; time < 6; time++) {
        const bit = bits[randomBytes(4).readUInt32LE() % bits.length] as number;
        writeFileSync(join(small(), dataFile), flipped(bit));
        try {
          expect(await read(), `bit ${bit}`).to.deep.equal(rows);
        } catch (error) {
          expect(error, `bit ${bit}`).to.be.instanceOf(XapiError).with.property('code', 'INTERNAL_ERROR');
          refused += 1;
        }
      }
      expect(refused).to.be.above(0);
    });
  });
});
