/**
 * Runs all tests, or all but those in the folders that `--without FOLDER` names: a mocha for a few files of a folder, several at
 * a time, as most of a test is waiting for processes; those first that took longest the last time, so that none of them is left
 * alone at the end. Prints what each prints when it ends, with how many have ended, then what
 * failed once more, and as the last line the counts of all: `12 passed, 0 failed, 0 skipped`. The tests of some files run one
 * after the other in one process, so a handle that a test leaks still hangs it.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import pLimit from 'p-limit';

const here = fileURLToPath(new URL('.', import.meta.url));
/** What `mocha` starts in a process of its own where Node has to have options: with them here that is one process less. */
const mocha = createRequire(import.meta.url).resolve('mocha/lib/cli/cli.js');
/** The folders that take longest, for groups that have not run here yet. */
const slowFirst = [
  'faults',
  'documents',
  'daemon',
  'cli',
  'pool',
  'migrate',
  'xenops',
  'host',
  'hypervisor',
  'clients',
];
/** So many files share a process. */
const filesTogether = 6;
/** So many processes run for each core. */
const runsOfCore = 2;

/** The compiled test files of each folder, those of the folders in it included. */
async function foldersOf(root: string): Promise<Map<string, string[]>> {
  const folders = new Map<string, string[]>(slowFirst.map((folder) => [folder, []]));
  const files = (await readdir(root, { recursive: true })).filter((file) => file.endsWith('.test.js')).sort();
  for (const file of files) {
    const folder = file.includes(path.sep) ? (file.split(path.sep)[0] as string) : '.';
    folders.set(folder, [...(folders.get(folder) ?? []), path.join(root, file)]);
  }
  return folders;
}

const total = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];

interface Group {
  readonly title: string;
  readonly files: readonly string[];
}

/** The files of a folder in groups of a few. */
function groupsOf(folder: string, files: readonly string[]): Group[] {
  const count = Math.ceil(files.length / filesTogether);
  const name = folder === '.' ? 'test' : `test/${folder}`;
  return Array.from({ length: count }, (_, index) => ({
    title: `${name}${count === 1 ? '' : `, ${index + 1} of ${count}`}`,
    // Neighbours are alike, and often alike in length.
    files: files.filter((_file, place) => place % count === index),
  }));
}

/** How long each group took when it ran last, in seconds by its title. It is kept with what was compiled. */
const durationsFile = path.join(here, '../test-durations.json');

async function readDurations(): Promise<Record<string, number>> {
  return readFile(durationsFile, 'utf8').then(JSON.parse, () => ({}));
}

/** The options of Node with which mocha runs, as its configuration has them. */
async function readNodeOptions(): Promise<string[]> {
  const configuration = await readFile(path.join(here, '../../.mocharc.json'), 'utf8');
  return (JSON.parse(configuration)['node-option'] as string[]).map((option) => `--${option}`);
}

/** The longest first; those of unknown length before them, as they come. */
function longestFirst(groups: readonly Group[], durations: Readonly<Record<string, number>>): Group[] {
  const lengthOf = ({ title }: Group) => durations[title] ?? Number.MAX_VALUE;
  return groups.toSorted((a, b) => lengthOf(b) - lengthOf(a));
}

async function run({ title, files }: Group): Promise<void> {
  const { all, exitCode, durationMs } = await execa(process.execPath, [...nodeOptions, mocha, ...files], {
    all: true,
    reject: false,
    stdin: 'ignore',
  });
  const seconds = Math.round(durationMs / 1000);
  ended += 1;
  durations[title] = seconds;
  const progress = `${ended} of ${groups.length} groups after ${Math.round(performance.now() / 1000)} s`;
  process.stdout.write(`== ${title} (${seconds} s; ${progress})\n${all}\n`);
  const [, passed, failed, skipped] = /^(\d+) passed, (\d+) failed, (\d+) skipped$/m.exec(all) ?? [];
  total.passed += Number(passed ?? 0);
  total.failed += Number(failed ?? 0);
  total.skipped += Number(skipped ?? 0);
  // A run that ended without its counts, or badly with none failed, is a failure of its own.
  const broken = passed === undefined || (exitCode !== 0 && failed === '0');
  if (broken) total.failed += 1;
  if (broken || failed !== '0') failures.push(`== ${title}, what failed\n${tailOf(all)}`);
}

/** What mocha says of failures comes last; where it says nothing, the end of the output says most. */
function tailOf(output: string): string {
  const at = output.search(/^ +\d+ failing$/m);
  return at === -1 ? output.slice(-4000) : output.slice(at);
}

const { values } = parseArgs({ options: { without: { type: 'string', multiple: true, default: [] } } });
const limit = pLimit(runsOfCore * availableParallelism());
const folders = [...(await foldersOf(here))].filter(([folder]) => !values.without.includes(folder));
const durations = await readDurations();
const nodeOptions = await readNodeOptions();
const groups = longestFirst(
  folders.flatMap(([folder, files]) => groupsOf(folder, files)),
  durations,
);
let ended = 0;
await Promise.all(groups.map((group) => limit(() => run(group))));
await writeFile(durationsFile, JSON.stringify(durations, undefined, 1));
for (const failure of failures) process.stdout.write(`${failure}\n`);
process.stdout.write(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
process.exitCode = total.failed === 0 ? 0 : 1;
