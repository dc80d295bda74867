/**
 * Mistakes that are planted in the source one at a time, each against one rule, with the test that has to find it. The rules are
 * those of docs/safety.md.
 */
export interface Mutation {
  /** What the mistake breaks. */
  readonly rule: string;
  /** In the source; `text` is there once. */
  readonly file: string;
  readonly text: string;
  readonly replacement: string;
  /** A test file without its ending, and a part of the titles of those that have to find it. */
  readonly test: string;
  readonly title: string;
}

/** Rules of one file that the tests of one file look after. */
function inFile(
  file: string,
  test: string,
  rows: readonly (readonly [rule: string, text: string, replacement: string, title: string])[],
): Mutation[] {
  return rows.map(([rule, text, replacement, title]) => ({ rule, file, text, replacement, test, title }));
}

const taken = 'of a VM that is taken';
const refused = 'of a VM that is refused';
const atRestart = 'what counts of a row';

export const mutations: readonly Mutation[] = [
  ...inFile('src/migrate/source/phases.ts', 'migrate/source/route', [
    [
      'who was found to be the destination gets the channels, whatever becomes of its name',
      'destination: { ...request.destination, xenops: route } };',
      'destination: { ...request.destination, xenops } };',
      'though the name leads elsewhere',
    ],
  ]),
  ...inFile('src/migrate/destination/phases.ts', 'migrate/slow-sender', [
    [
      'slow copies do not keep a migration from arriving',
      '    place: attempt.place,\n',
      '',
      'gives its place to a migration that waits',
    ],
  ]),
  ...inFile('src/pool/hosts/jobs.ts', 'pool/vm-life/full-disk', [
    [
      'a host is asked for a domain only when that is written',
      'const needsNone = ends.has(row.operation) && isOutOfSpace(error);',
      'const needsNone = isOutOfSpace(error);',
      ', and asks no host',
    ],
    [
      'a VM of whose end nothing is written stays held',
      '      open.set(row.id, job);\n      throw error;',
      '      throw error;',
      'holds a VM of whose end it has not heard',
    ],
  ]),
  ...inFile('src/base/store/store.ts', 'base/store/power-loss', [
    [
      'what was written before a flush outlives a loss of power',
      'await within(database.flushed, flushTimeoutMs,',
      'await within(Promise.resolve(), flushTimeoutMs,',
      'before it was flushed',
    ],
  ]),
  ...inFile('src/base/store/examiner.ts', 'base/store/power-loss', [
    [
      'after a loss of power a database is what was flushed',
      'noSubdir: false }',
      'noSubdir: false, readOnly: true }',
      'a part of what was written later',
    ],
  ]),
  ...inFile('src/base/store/format.ts', 'base/store/power-loss', [
    [
      'what a killed daemon has written outlives a loss of power from the next start on',
      'if (found !== undefined) flushNewest(path);',
      '',
      'what a killed daemon had not flushed',
    ],
    ['a new database has its name', 'if (found === undefined) flushPathSync(path);', '', 'before it was flushed'],
    [
      'the directory of a new database has its name',
      '    makeDirectorySync(path);\n',
      "    process.getBuiltinModule('node:fs').mkdirSync(path, { recursive: true, mode: 0o700 });\n",
      'before it was flushed',
    ],
    ['a backup is flushed', '    await flushCopy(to);\n', '', 'in a backup'],
    ['the directory of a backup has its name', '    await flushPath(to);\n', '', 'in a backup'],
  ]),
  ...inFile('src/base/store/durable-file.ts', 'base/store/power-loss', [
    ['a file is whole before it has its name', '  await flushPath(written);\n', '', 'is the old one or the new one'],
    ['a new name is flushed', '  await flushPath(dirname(path));\n', '', 'is the old one or the new one'],
    ['a file is replaced by one that is whole', '.new`;', '`;', 'is the old one or the new one'],
    [
      'a new directory has its name',
      'for (const parent of parentsOf(path, first)) await flushPath(parent);',
      '',
      'is the old one or the new one',
    ],
  ]),
  ...inFile('src/base/store/flushed-state.ts', 'base/store/power-loss', [
    [
      'the newest state is marked as flushed',
      'writeSync(fd, mark.bytes, 0, mark.bytes.length, mark.at);',
      '',
      'what a killed daemon had not flushed',
    ],
  ]),
  ...inFile('src/base/store/store.ts', 'base/store/store', [
    ['the end of a store waits for its writes', '      await use.end();\n', '', 'what it was given just before'],
  ]),
  ...inFile('src/pool/migration/arrivals.ts', 'pool/migration/arrival-power-loss', [
    [
      'the record of a VM that comes is flushed before VM.receive is answered',
      '  await flushed();\n',
      '',
      'has its record',
    ],
  ]),
  ...inFile('src/xenops/journal.ts', 'migrate/power-loss', [
    ['a row against a loss of power is flushed', "if (against === 'powerLoss') await store.flushed();", '', taken],
    [
      'a row is written before what it speaks of',
      'await table.put(id, toStored(dated));',
      'void table.put(id, toStored(dated));',
      taken,
    ],
  ]),
  ...inFile('src/migrate/destination/receive.ts', 'migrate/power-loss', [
    [
      '`reserved` is flushed before VM.receive is answered',
      "await deps.journal.put(row, 'powerLoss');",
      'await deps.journal.put(row);',
      taken,
    ],
  ]),
  ...inFile('src/migrate/destination/attempt.ts', 'migrate/power-loss', [
    ['`taken` is flushed before the VM runs', "row.state === 'taken' ? 'powerLoss' : undefined", 'undefined', taken],
  ]),
  ...inFile('src/migrate/destination/phases.ts', 'migrate/power-loss', [
    [
      '`taken` is durable before the VM runs',
      "await write(attempt, { ...attempt.row, state: 'taken' });",
      "void write(attempt, { ...attempt.row, state: 'taken' });",
      taken,
    ],
  ]),
  ...inFile('src/migrate/source/attempt.ts', 'migrate/power-loss', [
    ['`going` is flushed before 3 is sent', "['going', 'done', 'failed']", "['done', 'failed']", taken],
    ['`done` is flushed before the old copy goes', "['going', 'done', 'failed']", "['going', 'failed']", taken],
    ['`failed` is flushed before the VM goes on', "['going', 'done', 'failed']", "['going', 'done']", refused],
  ]),
  ...inFile('src/migrate/source/phases.ts', 'migrate/power-loss', [
    [
      '`going` is durable before 3 is sent',
      "await write(attempt, { ...rowOf(attempt), state: 'going', report });",
      "void write(attempt, { ...rowOf(attempt), state: 'going', report });",
      taken,
    ],
  ]),
  ...inFile('src/migrate/source/outcome.ts', 'migrate/power-loss', [
    [
      '`done` is durable before the old copy goes',
      "await write(attempt, { ...rowOf(attempt), state: 'done', outcome });",
      "void write(attempt, { ...rowOf(attempt), state: 'done', outcome });",
      taken,
    ],
    [
      '`failed` is durable before the VM goes on',
      "await write(attempt, { ...row, state: 'failed', resumePending: true, outcome });",
      "void write(attempt, { ...row, state: 'failed', resumePending: true, outcome });",
      refused,
    ],
  ]),
  ...inFile('src/migrate/source/recovery.ts', 'migrate/power-loss', [
    [
      'the end of what was cut short is flushed before it is told',
      "resumePending: undefined, outcome }, 'powerLoss');",
      'resumePending: undefined, outcome });',
      atRestart,
    ],
    [
      'what the destination has settled is flushed before anything comes of it',
      "await deps.journal.put({ ...row, ...end, outcome }, 'powerLoss');",
      'await deps.journal.put({ ...row, ...end, outcome });',
      atRestart,
    ],
    [
      'an end that was written and not flushed is flushed before anything comes of it',
      "await deps.journal.put(row, 'powerLoss');",
      '',
      atRestart,
    ],
  ]),
  ...inFile('src/migrate/destination/recovery.ts', 'migrate/power-loss', [
    [
      'what was taken is refused durably before its copy goes',
      "await journal.put(refused, 'powerLoss');",
      'await journal.put(refused);',
      'the refusal of what was taken',
    ],
  ]),
  ...inFile('src/xenops/suspended.ts', 'xenops/power-loss', [
    [
      'an image that was saved is flushed before its domain goes',
      "    await rows.put(uuid, { ...row, state: 'whole' });\n    await deps.store.flushed();\n  } catch",
      "    await rows.put(uuid, { ...row, state: 'whole' });\n  } catch",
      'is whole once it was saved',
    ],
    [
      'an image that has arrived is kept against a loss of power',
      "      await rows.put(uuid, { ...row, state: 'whole' });\n      await deps.store.flushed();\n    },",
      "      await rows.put(uuid, { ...row, state: 'whole' });\n    },",
      'that has arrived',
    ],
  ]),
  ...inFile('src/xenops/suspended-files.ts', 'xenops/power-loss', [
    [
      'the files of an image are flushed, and named, before its row says that it is whole',
      'await nameFile(pathOf(owner.uuid, ',
      "await (await import('node:fs/promises')).rename(pathOf(owner.uuid, ",
      'is whole once it was saved',
    ],
  ]),
  ...inFile('src/host/service/identity.ts', 'host/power-loss', [
    [
      "a host's uuid outlives a loss of power",
      "  await table.put('uuid', uuid);\n  await store.flushed();\n",
      "  await table.put('uuid', uuid);\n",
      'has the uuid',
    ],
    [
      'what pool a host is in, and by which secret, outlives a loss of power',
      "await table.put('own', changed);\n    await store.flushed();\n",
      "await table.put('own', changed);\n",
      'is who it was',
    ],
  ]),
  ...inFile('src/pool/access/first-password.ts', 'host/power-loss', [
    [
      'the file of the first password stays until the new one is flushed',
      '      await flushed();\n      await rm(aside',
      '      await rm(aside',
      'has the first password',
    ],
  ]),
  ...inFile('src/host/storage/volume-file.ts', 'host/power-loss', [
    ['a volume is whole before it has its name', '      await file.sync();\n', '', 'has each volume'],
    ['a volume that is there keeps its name', '    await flushPath(dirname(path));\n', '', 'has each volume'],
  ]),
  ...inFile('src/host/storage/storage.ts', 'host/power-loss', [
    [
      'a volume that has grown stays so',
      '    await file.truncate(bytes);\n    await file.sync();\n    return',
      '    await file.truncate(bytes);\n    return',
      'has each volume',
    ],
  ]),
  ...inFile('src/migrate/source/recovery.ts', 'migrate/source/recovery', [
    ['without an answer the VM stays paused', "if (settlement === 'unknown') return false;", '', 'has the VM in doubt'],
    [
      'a copy that was given up is not resumed',
      'if (!isDoubtOf(row.migrationId, domain.inDoubt)) return;',
      '',
      'does not resume a VM',
    ],
  ]),
  ...inFile('src/migrate/destination/recovery.ts', 'migrate/destination/recovery', [
    [
      'what was taken and interrupted asks its source',
      "over ? 'yes' : await askSource(recovery, row, domain)",
      "'yes'",
      'never ran',
    ],
    [
      'a copy that was given up is not run',
      'if (never && domain?.inDoubt !== undefined && !isDoubtOf(migrationId, domain.inDoubt)) {',
      'if (false) {',
      'does not run what was',
    ],
  ]),
  ...inFile('src/migrate/destination/migrations.ts', 'migrate/destination/recovery', [
    [
      'what was taken and does not run is not forgotten',
      'else if (row !== undefined && hasTaken(row.state)) {',
      'else if (false) {',
      'is not told to forget it',
    ],
  ]),
  ...inFile('src/pool/access/password.ts', 'pool/access/password-and-session', [
    [
      'a user that is not known is told so no sooner',
      'Promise<boolean> {\n  const salt',
      'Promise<boolean> {\n  if (known === undefined) return false;\n  const salt',
      'hashes as much',
    ],
  ]),
  ...inFile('src/hypervisor/memory.ts', 'hypervisor/memory', [
    ["memory is its owner's alone", 'fs.constants.O_EXCL, 0o600', 'fs.constants.O_EXCL, 0o666', 'whatever the umask'],
  ]),
  ...inFile('src/hypervisor/memory-directory.ts', 'hypervisor/memory', [
    [
      "the directory of a hypervisor's memory is its owner's alone",
      'fs.mkdirSync(path.join(home, ownName), { mode: 0o700 });',
      'fs.mkdirSync(path.join(home, ownName));',
      'whatever the umask',
    ],
  ]),
  ...inFile('src/main.ts', 'daemon/modes', [
    [
      "the daemon's files are its owner's alone",
      '  process.umask(0o077);\n',
      '',
      'leaves all that it makes to its owner alone',
    ],
  ]),
  ...inFile('src/hypervisor/main.ts', 'hypervisor/program', [
    ["the hypervisor's files are its owner's alone", '  process.umask(0o077);\n', '', 'to its owner alone'],
  ]),
];
