/** A program that journals one state after the other at the path of its argument, and prints each once it is acknowledged. */
import { openStore } from '../../src/base/store/store.js';
import { openJournal } from '../../src/xenops/journal.js';

const journal = openJournal(openStore(process.argv[2] ?? ''));
for (let state = 1; ; state += 1) {
  await journal.put({
    ...{ side: 'source', migrationId: 'm', task: 't', uuid: 'u', state: String(state) },
    ...{ handle: { instance: 'i', domid: 1 }, wasRunning: true, request: {} },
  });
  process.stdout.write(`${state}\n`);
}
