import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { XapiError } from '../../../src/base/errors.js';
import { dataFile } from '../../../src/base/store/format.js';
import { openStore } from '../../../src/base/store/store.js';

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
});
