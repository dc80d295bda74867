/**
 * A program whose clients write at once to the store at its path: batches of rows that grow, some of them removed
 * again. A line of its input says how often each has to be refused before they stop; then they write what has room
 * again. It prints, as a line of JSON, which rows it knows to be there, and the codes of the refusals.
 */
import { createInterface } from 'node:readline';
import { XapiError } from '../../src/base/errors.js';
import { openStore } from '../../src/base/store/store.js';
import { randomBytes } from './random.js';

const clients = 8;
const longestRow = 400_000;

const store = openStore(process.argv[2] ?? '');
const table = store.table<string>('rows');
/** Length of each row that was answered; undefined where the row was removed. */
const answered: Record<string, number | undefined> = {};
const codes: Record<string, number> = {};

function below(limit: number): number {
  return randomBytes(4).readUInt32LE() % limit;
}

async function writeUntilRefused(client: number, refusals: number): Promise<void> {
  let refused = 0;
  for (let turn = 0; refused < refusals; turn++) {
    const rows = Array.from({ length: 1 + below(turn % 5 === 0 ? 60 : 3) }, () => ({
      id: `${client}-${below(400)}`,
      length: below(8) === 0 ? undefined : below(1 + (Math.min(longestRow, 500 * turn) >> below(6))),
    }));
    const last = new Map(rows.map(({ id, length }) => [id, length]));
    try {
      await store.putMany(
        rows.map(({ id, length }) => table.change(id, length === undefined ? undefined : 'x'.repeat(length))),
      );
      for (const [id, length] of last) answered[id] = length;
    } catch (error) {
      refused += 1;
      const code = error instanceof XapiError ? `${error.code} ${error.params.join()}` : String(error);
      codes[code] = (codes[code] ?? 0) + 1;
    }
  }
}

const refusals = async (times: number): Promise<void> => {
  for (const code of Object.keys(codes)) delete codes[code];
  await Promise.all(Array.from({ length: clients }, (_, client) => writeUntilRefused(client, times)));
  await store.flushed();
};
for await (const line of createInterface({ input: process.stdin })) {
  await refusals(Number(line));
  process.stdout.write(`${JSON.stringify({ answered, codes })}\n`);
}
await store.close();
