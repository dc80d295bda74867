/**
 * A program that has a write of the store at its path fail, for which there is room: the limit of how long its files
 * can be falls into the middle of it. It prints, as JSON, what the writes then and afterwards said, and what whoever
 * opened the store was told.
 */
import { execFileSync } from 'node:child_process';
import { messageOf } from '../../src/base/errors.js';
import { openStore } from '../../src/base/store/store.js';

const path = process.argv[2] ?? '';
const told: string[] = [];
const store = openStore(path, { onFailed: (error) => told.push(error.message) });
const table = store.table<string>('rows');
const put = (id: string, length: number): Promise<string> =>
  table.put(id, 'x'.repeat(length)).then(() => 'ok', messageOf);

const said = [await put('first', 1_000_000)];
// Behind the first row, and in the middle of the second.
execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=1300000:unlimited']);
said.push(await put('second', 800_000));
execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=unlimited:unlimited']);
said.push(await put('third', 1));
process.stdout.write(JSON.stringify({ said, told }));
process.exit();
