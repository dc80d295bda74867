/**
 * A program of its own: reads every row of a database once, as reading a damaged one can end the process that does. Its
 * arguments are the path, and `quiet` where nobody writes to the database; it prints what it found, as JSON. Where it
 * prints nothing the file is damaged as well.
 *
 * The database is opened to be written, as the daemon opens it: after a loss of power the library then goes back to
 * what was flushed last. Opened to be read alone it would show the newest commit, of which the disk may have a part.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { open } from 'lmdb';
import { messageOf } from '../errors.js';
import { bootId } from './flushed-state.js';
import { assertPages } from './pages.js';
import {
  checksumOf,
  DamagedRow,
  dataFile,
  formatKey,
  nameOf,
  noRows,
  openRow,
  sealedFormat,
  type Total,
  totalAfter,
  totalKey,
} from './row.js';

export interface Examined {
  /** Null where there is none. */
  readonly format?: unknown;
  /** Damage, where there is some. */
  readonly damage?: string;
}

/** @throws Error that says what is wrong */
async function examine(path: string, isQuiet: boolean): Promise<Examined> {
  if (isQuiet) assertPages(readFileSync(join(path, dataFile)), bootId());
  const database = open<unknown, string[]>({ path, noSubdir: false });
  let last: readonly string[] = [];
  let format: unknown = null;
  let counted = noRows;
  let total: Total | undefined;
  try {
    for (const { key, value } of database.getRange({})) {
      if (!Array.isArray(key) || value === undefined) throw new Error('it has no key or no value');
      // It is the first, as its table is.
      if (isSame(key, formatKey)) format = value;
      else if (format !== sealedFormat) continue;
      else if (isSame(key, totalKey)) total = openRow(key, value) as Total;
      else counted = totalAfter(counted, undefined, checksumOf(key, value));
      last = key;
    }
  } catch (error) {
    if (error instanceof DamagedRow) throw error;
    throw new Error(`the row behind ${nameOf(last)} cannot be read: ${messageOf(error)}`);
  }
  await database.close();
  if (format === sealedFormat) assertTotal(counted, total);
  return { format };
}

function isSame(a: readonly unknown[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((part, index) => part === b[index]);
}

function assertTotal(counted: Total, total: Total | undefined): void {
  if (total === undefined) throw new Error('the row with the total of all rows is missing');
  if (counted.rows !== total.rows) throw new Error(`there are ${counted.rows} rows of ${total.rows}`);
  if (counted.sum !== total.sum) throw new Error('rows are not as they were last');
}

const [, , path = '', use] = process.argv;
const examined = await examine(path, use === 'quiet').catch(
  (error: unknown): Examined => ({ damage: messageOf(error) }),
);
console.log(JSON.stringify(examined));
