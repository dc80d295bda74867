/** The command line of the benchmark. */

import { parseArgs } from 'node:util';
import { defined } from '../../src/base/defined.js';
import { parseSize } from '../../src/cli/xe/value.js';

export const links = ['1gbit', '100mbit'] as const;
export type Link = (typeof links)[number];

export interface BenchOptions {
  readonly json: boolean;
  /** QEMU's own migration as well. */
  readonly qemu: boolean;
  /** Ten VMs at once as well. */
  readonly scale: boolean;
  /** Between two network namespaces instead of on loopback. */
  readonly link?: Link;
  /** Set where this process is in one of them: the name of the other. */
  readonly peer?: string;
  readonly rounds: number;
  /** Bytes of the VM's memory. */
  readonly memory: number;
  /** Cases that were asked for; absent: the usual ones. */
  readonly cases?: readonly string[];
  readonly migrations: boolean;
  /** The benchmark of the XenAPI. */
  readonly api: boolean;
}

export const help = `Usage: npm run --silent bench -- [OPTION]...

Measures whole migrations between two daemons beside bare pipelines of the same bytes, in turns, and then the XenAPI.

  --rounds N       how often each case is run; 5
  --memory SIZE    memory of the VM; 2GiB
  --cases A,B,...  these alone: pipe, cat, none, stream, xenguest-auto, xenguest:LEVEL,
                   qemu-none, qemu-zstd, scale
  --only WHAT      migrations or api
  --qemu           QEMU's own migration of the same bytes as well
  --scale          ten VMs of 256 MiB at once as well, with several limits
  --link RATE      1gbit or 100mbit: the hosts are in network namespaces with a link of that rate between them
  --json           one JSON object a case, one a line, and nothing else; progress is on standard error

A case is compared with the bare pipeline of the same round. The exit status is not 0 where something could not be measured,
or where a goal of the XenAPI was not met; figures of migrations do not change it.
`;

const MiB = 2 ** 20;
/** A page table of a few pages shows nothing; the most is what a file on a tmpfs may well be. */
const memoryLimits = { least: 4 * MiB, most: 2 ** 40 };

/**
 * @returns undefined where help is wanted
 * @throws an Error that names the option and what is allowed
 */
export function parseOptions(args: readonly string[]): BenchOptions | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: 'boolean', default: false },
      qemu: { type: 'boolean', default: false },
      scale: { type: 'boolean', default: false },
      link: { type: 'string' },
      peer: { type: 'string' },
      rounds: { type: 'string', default: '5' },
      memory: { type: 'string', default: '2GiB' },
      cases: { type: 'string' },
      only: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const { json, qemu, scale, cases, peer } = values;
  const only = oneOf('only', ['migrations', 'api'] as const, values.only);
  const link = oneOf('link', links, values.link);
  if (only === 'api' && (qemu || scale || cases !== undefined || link !== undefined)) {
    throw new Error('--only api has nothing to do with --cases, --qemu, --scale and --link');
  }
  return {
    json,
    qemu,
    scale,
    rounds: wholeNumber('rounds', values.rounds, 1, 1000),
    memory: memoryOf(values.memory),
    migrations: only !== 'api',
    api: only !== 'migrations' && cases === undefined && link === undefined,
    ...defined({ link, peer, cases: cases?.split(',').map((name) => name.trim()) }),
  };
}

function oneOf<T extends string>(name: string, allowed: readonly T[], value: string | undefined): T | undefined {
  const found = allowed.find((one) => one === value);
  if (value !== undefined && found === undefined) {
    throw new Error(`--${name} is ${allowed.join(' or ')}, not '${value}'`);
  }
  return found;
}

function memoryOf(text: string): number {
  const bytes = parseSize('memory', text);
  if (bytes >= memoryLimits.least && bytes <= memoryLimits.most && bytes % MiB === 0) return bytes;
  throw new Error(`--memory is a size of whole MiB from 4MiB to 1TiB, not '${text}'`);
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new Error(`--${name} is a whole number from ${least} to ${most}, not '${text}'`);
}
