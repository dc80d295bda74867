/**
 * A program that leaves no room in the file of the database at its path, which a daemon is using: it writes rows, and removes them,
 * so that what they had can be used again as soon as nobody reads an older state.
 */
import { statSync } from 'node:fs';
import { open } from 'lmdb';

const path = process.argv[2] ?? '';
const database = open<string, string[]>({ path, noSubdir: false });
const { size } = statSync(`${path}/data.mdb`);
const left = (): number => {
  const { lastPageNumber, pageSize } = database.getStats() as { lastPageNumber: number; pageSize: number };
  return size - (lastPageNumber + 1) * pageSize;
};
// What a write of the daemon's that is under way was promised is left to it.
const kept = 256 * 1024;
let rows = 0;
while (left() > kept)
  database.putSync(['filler', String(rows++)], 'x'.repeat(left() > 2 * kept ? kept / 2 : kept / 16));
database.transactionSync(() => {
  for (let row = 0; row < rows; row++) database.removeSync(['filler', String(row)]);
});
await database.close();
