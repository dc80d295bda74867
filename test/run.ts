/**
 * Runs all tests, or all but those in the folders that `--without FOLDER` names: a mocha for each folder, as many at a time as
 * there are cores, the slowest folders first. Prints what each prints when it ends, then what failed once more, and as the last
 * line the counts of all: `12 passed, 0 failed, 0 skipped`. A folder's tests run one after the other in one process, so a handle
 * that a test leaks still hangs its folder.
 */
import { readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import pLimit from 'p-limit';

const here = fileURLToPath(new URL('.', import.meta.url));
const mocha = createRequire(import.meta.url).resolve('mocha/bin/mocha.js');
/** Those that take longest, so that none of them is left alone at the end. */
const slowFirst = ['faults', '.', 'cli', 'migrate', 'xenops', 'clients', 'zstd'];

/** The compiled test files of each folder. */
async function foldersOf(root: string): Promise<Map<string, string[]>> {
  const folders = new Map<string, string[]>(slowFirst.map((folder) => [folder, []]));
  const files = (await readdir(root, { recursive: true })).filter((file) => file.endsWith('.test.js')).sort();
  for (const file of files) {
    const folder = path.dirname(file);
    folders.set(folder, [...(folders.get(folder) ?? []), path.join(root, file)]);
  }
  return folders;
}

const total = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];

async function run(folder: string, files: readonly string[]): Promise<void> {
  const { all, exitCode } = await execa(process.execPath, [mocha, ...files], {
    all: true,
    reject: false,
    stdin: 'ignore',
  });
  const title = `== ${folder === '.' ? 'test' : `test/${folder}`}`;
  process.stdout.write(`${title}\n${all}\n`);
  const [, passed, failed, skipped] = /^(\d+) passed, (\d+) failed, (\d+) skipped$/m.exec(all) ?? [];
  total.passed += Number(passed ?? 0);
  total.failed += Number(failed ?? 0);
  total.skipped += Number(skipped ?? 0);
  // A run that ended without its counts, or badly with none failed, is a failure of its own.
  const broken = passed === undefined || (exitCode !== 0 && failed === '0');
  if (broken) total.failed += 1;
  if (broken || failed !== '0') failures.push(`${title}, what failed\n${tailOf(all)}`);
}

/** What mocha says of failures comes last; where it says nothing, the end of the output says most. */
function tailOf(output: string): string {
  const at = output.search(/^ +\d+ failing$/m);
  return at === -1 ? output.slice(-4000) : output.slice(at);
}

const { values } = parseArgs({ options: { without: { type: 'string', multiple: true, default: [] } } });
const limit = pLimit(availableParallelism());
const all = [...(await foldersOf(here))];
const folders = all.filter(([folder, files]) => files.length > 0 && !values.without.includes(folder));
await Promise.all(folders.map(([folder, files]) => limit(() => run(folder, files))));
for (const failure of failures) process.stdout.write(`${failure}\n`);
process.stdout.write(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
process.exitCode = total.failed === 0 ? 0 : 1;
