/**
 * A program of its own: reads every row of a database once, as reading a damaged one can end the process that does. Its
 * argument is the path; it prints the format, as JSON, and ends with 0 if everything could be read.
 */
import { open } from 'lmdb';

const path = process.argv[2] ?? '';
const database = open<unknown, string[]>({ path, noSubdir: false, readOnly: true });
for (const { key, value } of database.getRange({})) {
  if (!Array.isArray(key) || value === undefined) throw new Error('a row cannot be read');
}
console.log(JSON.stringify(database.get(['', 'format']) ?? null));
await database.close();
