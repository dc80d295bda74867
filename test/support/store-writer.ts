/**
 * A program that writes numbered rows to the store at its path for good, and prints each number once it is
 * acknowledged.
 */
import { openStore } from '../../src/base/store/store.js';

const store = openStore(process.argv[2] ?? '');
const [one, two] = [store.table<number>('one'), store.table<number>('two')];
for (let number = [...one.entries()].length; ; number++) {
  await store.putMany([one.change(String(number), number), two.change(String(number), number)]);
  process.stdout.write(`${number}\n`);
}
