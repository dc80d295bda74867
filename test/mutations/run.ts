/**
 * `npm run test:mutations`: plants each mistake of mutations.ts in a copy of what was built, and runs the tests that have to find
 * it; they have to pass without it. Ends with 1 where a mistake is not found. `-- --only REGEX` runs those whose rule or file
 * matches, `-- --list` names all.
 */
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { type Mutation, mutations } from './mutations.js';
import { copyBuild, plant } from './plant.js';

const mocha = createRequire(import.meta.url).resolve('mocha/bin/mocha.js');

/** How the tests of a mutation end: those that pass, and those that fail. */
async function runTests(
  directory: string,
  { test, title }: Mutation,
): Promise<{ passed: number; failed: number; output: string }> {
  const args = [mocha, '--bail', '--fgrep', title, `build/test/${test}.test.js`];
  const { all } = await execa(process.execPath, args, { cwd: directory, all: true, reject: false, stdin: 'ignore' });
  const [, passed, failed] = /^(\d+) passed, (\d+) failed, 0 skipped$/m.exec(all) ?? [];
  if (passed === undefined) throw new Error(`the tests say nothing:\n${all}`);
  return { passed: Number(passed), failed: Number(failed), output: all };
}

const named = ({ rule, file, test, title }: Mutation): string => `${rule} (${file}; ${test}: ${title})`;

const { values } = parseArgs({
  options: { only: { type: 'string', default: '' }, list: { type: 'boolean', default: false } },
});
const only = new RegExp(values.only);
const chosen = mutations.filter(({ rule, file }) => only.test(rule) || only.test(file));
if (chosen.length === 0) throw new Error(`no mutation is called ${values.only}`);
if (values.list) for (const mutation of chosen) console.log(named(mutation));
else await runAll();

async function runAll(): Promise<void> {
  const problems: string[] = [];
  const sound = new Map<string, Promise<void>>();
  const left = [...chosen];
  /** Once for the tests of each: they pass as the source is. */
  const assertSound = (directory: string, mutation: Mutation): Promise<void> => {
    const key = `${mutation.test} ${mutation.title}`;
    const known =
      sound.get(key) ??
      runTests(directory, mutation).then(({ passed, failed, output }) => {
        if (passed === 0 || failed > 0) throw new Error(`the tests do not pass as the source is:\n${output}`);
      });
    sound.set(key, known);
    return known;
  };
  const check = async (directory: string, mutation: Mutation): Promise<void> => {
    await assertSound(directory, mutation);
    const takeOut = plant(directory, mutation);
    try {
      if ((await runTests(directory, mutation)).failed === 0) throw new Error('no test fails');
    } finally {
      takeOut();
    }
  };
  const work = async (): Promise<void> => {
    const directory = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-mutations-'));
    try {
      copyBuild(directory);
      for (let mutation = left.shift(); mutation !== undefined; mutation = left.shift()) {
        try {
          await check(directory, mutation);
          console.log(`found: ${named(mutation)}`);
        } catch (error) {
          const problem = `NOT FOUND: ${named(mutation)}: ${String(error)}`;
          problems.push(problem);
          console.log(problem);
        }
      }
    } finally {
      fs.rmSync(directory, { recursive: true, force: true });
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  console.log(`${chosen.length - problems.length} of ${chosen.length} mutations are found`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
