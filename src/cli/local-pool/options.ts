/** The command line of xenferry-pool. */

import { parseArgs } from 'node:util';
import { defined } from '../../base/defined.js';
import { parseSize } from '../xe/value.js';
import type { LocalPoolOptions } from './local-pool.js';
import { type GuestName, guestNames, leastMemory } from './qemu-guest.js';

/** Request of a command line. */
export type PoolCommand =
  | { readonly kind: 'help' | 'version' }
  | {
      readonly kind: 'up';
      readonly options: LocalPoolOptions;
      /** The guest of hosts that run QEMU; the simulator's unless given. */
      readonly guest?: GuestName;
      readonly json: boolean;
      readonly untilEof: boolean;
    }
  | { readonly kind: 'list'; readonly json: boolean }
  /** Names of the runs that are meant; all where none is named. */
  | { readonly kind: 'down'; readonly names: readonly string[] };

export const poolHelp = `Usage:
  xenferry-pool up --hosts N --vms M [options]
  xenferry-pool list [--json]
  xenferry-pool down [NAME]...

Starts pools on this machine: a daemon a host, each on its own port, and running VMs. They end, with all that they made,
at Ctrl-C, at SIGTERM, with --until-eof, or by \`down\`, which ends all of this user's or those named, and removes what a run that
was killed has left. \`list\` shows their names, and where they are.

  --hosts N           hosts of each pool; 2
  --vms M             VMs of each pool, spread over its hosts; 1
  --memory SIZE       memory of each VM, in bytes or with KiB, MiB, GiB or TiB; 64MiB, 128MiB for linux
  --backend NAME      what runs the VMs: simulator, the default, or qemu
  --guest NAME        with qemu, the guest of each VM: linux, the default, built once from Debian's packages in the cache of
                      the user (XDG_CACHE_HOME), or memtest86+
  --pools P           pools; 1
  --port PORT         port of the first host, the others have the next ones; 0, the default, takes free ports
  --loopback-per-host each host on an address of its own from 127.0.0.2 on, and all on one port, for clients that
                      go by the address of a host alone
  --dirty-rate PAGES  pages that each guest writes a second
  --fault-injection   let fault rules break migrations on purpose
  --state DIR         an empty directory for the hosts' state, which is left in place; a temporary one without it
  --json              print one line of JSON and nothing else
  --until-eof         end when standard input is closed
`;

const upOptions = {
  hosts: { type: 'string' },
  vms: { type: 'string' },
  memory: { type: 'string' },
  backend: { type: 'string' },
  guest: { type: 'string' },
  pools: { type: 'string' },
  port: { type: 'string' },
  'loopback-per-host': { type: 'boolean' },
  'dirty-rate': { type: 'string' },
  'fault-injection': { type: 'boolean' },
  state: { type: 'string' },
  'until-eof': { type: 'boolean' },
} as const;

/** @throws an Error that names the option and what is allowed */
export function parsePoolCommand(args: readonly string[]): PoolCommand {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...upOptions,
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean' },
    },
  });
  const [command, ...names] = positionals;
  if (values.help || command === 'help') return { kind: 'help' };
  if (values.version) return { kind: 'version' };
  if (command === 'up' && names.length === 0) return parseUp(values);
  const [foreign] = Object.keys(upOptions).filter((name) => Object.hasOwn(values, name));
  if (foreign !== undefined) throw new Error(`--${foreign} belongs to up; see xenferry-pool --help`);
  if (command === 'list' && names.length === 0) return { kind: 'list', json: values.json };
  if (command === 'down' && !values.json) return { kind: 'down', names };
  throw new Error('the commands are up, list and down; see xenferry-pool --help');
}

type Values<T> = { readonly [K in keyof T]?: T[K] extends { type: 'boolean' } ? boolean : string };

function parseUp(values: Values<typeof upOptions> & { readonly json: boolean }): PoolCommand {
  const rate = values['dirty-rate'];
  const [hosts, pools, port] = [
    whole('hosts', values.hosts ?? '2', 1, 64),
    whole('pools', values.pools ?? '1', 1, 16),
    whole('port', values.port ?? '0', 0, 65535),
  ];
  const loopbackPerHost = values['loopback-per-host'] ?? false;
  if (!loopbackPerHost && port + hosts * pools - 1 > 65535)
    throw new Error(`--port ${port} leaves no port for every host`);
  const guest = guestOf(values.backend ?? 'simulator', values.guest);
  const options = {
    hosts,
    vms: whole('vms', values.vms ?? '1', 0, 1000),
    memory: memoryOf(values.memory ?? (guest === 'linux' ? '128MiB' : '64MiB'), guest),
    pools,
    port,
    loopbackPerHost,
    ...defined({
      dirtyRate: rate === undefined ? undefined : whole('dirty-rate', rate, 0, 10_000_000),
      config: values['fault-injection'] ? { 'fault-injection': 'true' } : undefined,
      state: values.state,
    }),
  };
  return { kind: 'up', options, ...defined({ guest }), json: values.json, untilEof: values['until-eof'] ?? false };
}

function whole(name: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) {
    throw new Error(`--${name} is a whole number from ${least} to ${most}, not '${text}'`);
  }
  return value;
}

/** @returns undefined for the simulator */
function guestOf(backend: string, name: string | undefined): GuestName | undefined {
  if (backend === 'simulator') {
    if (name !== undefined) throw new Error('--guest needs --backend qemu');
    return undefined;
  }
  if (backend !== 'qemu') throw new Error(`--backend is simulator or qemu, not '${backend}'`);
  const guest = guestNames.find((each) => each === (name ?? 'linux'));
  if (guest === undefined) throw new Error(`--guest is ${guestNames.join(' or ')}, not '${name}'`);
  return guest;
}

function memoryOf(text: string, guest: GuestName | undefined): number {
  const bytes = parseSize('memory', text);
  if (bytes === 0) throw new Error(`--memory is more than nothing, not '${text}'`);
  const least = guest === undefined ? 0 : leastMemory[guest];
  if (bytes < least) throw new Error(`--memory is at least ${least / 2 ** 20}MiB for ${guest}, not '${text}'`);
  return bytes;
}
