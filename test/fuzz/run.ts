/** The fuzzer as a program: `npm run test:fuzz -- [--seconds N] [--seed S]`. The exit status is 0 only if nothing was wrong. */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { fuzz, inWords } from './fuzz.js';

const help = `Usage: npm run test:fuzz -- [--seconds N] [--seed S]
  --seconds N  how long; 600
  --seed S     what decides the requests, a whole number; chosen and printed unless given
`;

function wholeNumber(name: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new Error(`--${name} ${text}: allowed is a whole number of at most nine digits`);
  return Number(text);
}

async function main(): Promise<number> {
  const options = { seconds: { type: 'string' }, seed: { type: 'string' }, help: { type: 'boolean' } } as const;
  const { values } = parseArgs({ options });
  if (values.help === true) {
    process.stdout.write(help);
    return 0;
  }
  const seconds = wholeNumber('seconds', values.seconds ?? '600');
  const seed = wholeNumber('seed', values.seed ?? String(randomInt(1_000_000_000)));
  const say = (line: string) => void process.stdout.write(`${line}\n`);
  say(`seed ${seed}, ${seconds} s`);
  const { requests, answers, first, last, problems } = await fuzz({ seconds, seed, say });
  say(`${requests} requests, ${answers} answered`);
  say(`second fifth: ${inWords(first)}`);
  say(`last fifth: ${inWords(last)}`);
  for (const problem of problems) say(problem);
  say(problems.length === 0 ? 'nothing was wrong' : `FAILED with seed ${seed}`);
  return problems.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`fuzz: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 2;
}
