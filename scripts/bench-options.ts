/** The command line of the benchmark. */
import { parseArgs } from 'node:util';

export interface BenchOptions {
  readonly json: boolean;
  readonly rounds: number;
  /** Bytes of the VM's memory. */
  readonly memory: number;
  /** Those that were asked for; absent: the usual ones. */
  readonly cases?: readonly string[];
  readonly migrations: boolean;
  /** The benchmark of the XenAPI. */
  readonly api: boolean;
}

export const help = `Usage: npm run --silent bench -- [OPTION]...

Measures whole migrations between two daemons beside bare pipelines of the same bytes, in turns, and then the XenAPI.

  --rounds N       how often each case is run; 5
  --memory MIB     memory of the VM; 1024
  --cases A,B,...  these alone: pipe, cat, none, stream, xenguest-auto, xenguest:LEVEL
  --only WHAT      migrations or api
  --json           one JSON object a case, one a line, and nothing else; progress is on standard error

A case is compared with the bare pipeline of the same round. The exit status is not 0 where something could not be measured,
or where a goal of the XenAPI was not met; figures of migrations do not change it.
`;

const MiB = 2 ** 20;
/** A page table of a few pages shows nothing; the most is what a file on a tmpfs may well be. */
const memoryLimits = { least: 4, most: 1024 * 1024 };

/**
 * @returns undefined where help is wanted
 * @throws an Error that names the option and what is allowed
 */
export function parseOptions(args: readonly string[]): BenchOptions | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: 'boolean', default: false },
      rounds: { type: 'string', default: '5' },
      memory: { type: 'string', default: '1024' },
      cases: { type: 'string' },
      only: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const { json, cases } = values;
  const only = oneOf('only', ['migrations', 'api'] as const, values.only);
  if (only === 'api' && cases !== undefined) throw new Error('--only api has nothing to do with --cases');
  return {
    json,
    rounds: wholeNumber('rounds', values.rounds, 1, 1000),
    memory: wholeNumber('memory', values.memory, memoryLimits.least, memoryLimits.most) * MiB,
    migrations: only !== 'api',
    api: only !== 'migrations' && cases === undefined,
    ...(cases === undefined ? {} : { cases: cases.split(',').map((name) => name.trim()) }),
  };
}

function oneOf<T extends string>(name: string, allowed: readonly T[], value: string | undefined): T | undefined {
  const found = allowed.find((one) => one === value);
  if (value !== undefined && found === undefined) {
    throw new Error(`--${name} is ${allowed.join(' or ')}, not '${value}'`);
  }
  return found;
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new Error(`--${name} is a whole number from ${least} to ${most}, not '${text}'`);
}
