/**
 * Every key of xenopsd.conf: its type, its default and what it is for. This table is the one place that names them; the type
 * `Config`, the command line, the help and the checks come from it. To add a key, add its entry here and its lines in
 * etc/xenopsd.conf; those of the back ends are in back-end-keys.ts.
 */
import { join } from 'node:path';
import { nearestName } from '../nearest-name.js';
import { convergenceStrategies } from '../protocol/emu-protocol.js';
import { isEveryAddress } from '../server-address.js';
import { backEndKeys } from './back-end-keys.js';
import { type Environment, type KeySpec, key } from './key-spec.js';
import {
  bool,
  choice,
  choiceOr,
  compressionLevel,
  duration,
  hostAddress,
  httpUrl,
  integer,
  label,
  logDestination,
  pageOrigins,
  path,
  program,
  sizeOrNone,
} from './values.js';

export type { Environment, KeySpec } from './key-spec.js';

export const configKeys = {
  'migration-compressor': key({
    type: choiceOr(['stream', 'xenguest'], 'stream'),
    default: 'stream',
    doc: 'What compresses a migration that asks for it: stream, an external zstd process on each side, or xenguest, compression inside the memory stream.',
  }),
  'migration-max-downtime': key({
    type: integer(1, 2_000_000_000),
    default: '300',
    doc: 'Milliseconds, written without a unit, for which a VM may stand still while the rest of its memory is copied; the rounds of a live migration stop when the rest is expected to fit.',
  }),
  'migration-max-rounds': key({
    type: integer(1, 10),
    default: '4',
    doc: 'How many times the memory of a VM that runs is gone through before migration-convergence counts.',
  }),
  'migration-convergence': key({
    type: choice(convergenceStrategies),
    default: 'proceed',
    doc: 'What becomes of a VM that writes to its memory faster than that is copied: proceed, suspend it all the same; throttle, slow it down step by step until the rest fits; or fail, go on at the source.',
  }),
  'migration-compression-level': key({
    type: compressionLevel,
    default: 'auto',
    doc: 'How hard xenguest compresses: auto follows what limits the migration, the network or the CPU; or a level of zstd from -7, fast, to 9, dense; 0 sends what is not zero as it is.',
  }),
  'emu-manager': key({
    type: path,
    default: '',
    derived: 'the one that comes with xenferry',
    doc: 'The emu-manager program, which saves and restores domains.',
  }),
  zstd: key({
    type: program,
    default: 'zstd',
    doc: 'The zstd program. Where it cannot be found, one that comes with xenferry stands in.',
  }),
  'migration-digest': key({
    type: bool,
    default: 'false',
    doc: 'Whether to take digests of the memory on both sides of a migration and compare them.',
  }),
  'migration-accept-timeout': key({
    type: duration,
    default: '60',
    doc: 'Seconds that a destination waits for the channels of a migration that it agreed to.',
  }),
  'migration-step-timeout': key({
    type: duration,
    default: '120',
    doc: 'Seconds that either side of a migration waits for the other at a synchronisation point.',
  }),
  'migration-progress-timeout': key({
    type: duration,
    default: '60',
    doc: 'Seconds for which the copy of a VM may move nothing before its migration fails, and longer the nearer it comes to 16 KiB/s, at which it goes on; not counted while the guest suspends.',
  }),
  'migration-outgoing-limit': key({
    type: integer(1, 1024),
    default: '3',
    doc: 'How many VMs leave this host at once; others wait for their turn while they run. A migration that runs takes one of the worker-pool-size workers as well.',
  }),
  'migration-incoming-limit': key({
    type: integer(1, 1024),
    default: '3',
    doc: 'How many VMs arrive at this host at once; the sources of others wait for their turn.',
  }),
  'vm-suspend-timeout': key({
    type: duration,
    default: '1200',
    doc: 'Seconds that a VM has to suspend.',
  }),
  'vm-suspend-ack-timeout': key({
    type: duration,
    default: '30',
    doc: 'Seconds that a VM has to acknowledge that it was asked to suspend. Accepted as xenopsd has it; a simulated guest acknowledges at once.',
  }),
  'vm-shutdown-timeout': key({
    type: duration,
    default: '1200',
    doc: 'Seconds that a guest has to shut down when it is asked to. A simulated guest does so at once.',
  }),
  'backend-timeout': key({
    type: duration,
    default: '30',
    doc: 'Seconds that the back end has to answer a request whose work does not grow with the memory of a VM.',
  }),
  'peer-timeout': key({
    type: duration,
    default: '60',
    doc: 'Seconds that another host has to answer a call about a migration.',
  }),
  'helper-stop-timeout': key({
    type: duration,
    default: '1',
    doc: 'Seconds that a helper process has to end when it is asked to, and once more when it is sent SIGTERM; SIGKILL follows.',
  }),
  'keepalive-time': key({
    type: duration,
    default: '10',
    doc: 'Seconds of silence after which TCP asks whether the other end of a migration channel is still there.',
  }),
  'shutdown-timeout': key({
    type: duration,
    default: '30',
    doc: 'Seconds that the daemon takes at most to end after SIGTERM; what is not done by then the next start finds in the journal.',
  }),
  'fault-injection': key({
    type: bool,
    default: 'false',
    doc: 'Whether rules of the plugin fault may break migrations on this host on purpose. For tests alone.',
  }),
  'worker-pool-size': key({
    type: integer(1, 1024),
    default: '4',
    atStart: true,
    doc: 'How many operations on VMs run at once.',
  }),
  'evacuation-batch-size': key({
    type: integer(1, 1000),
    default: '10',
    doc: 'How many VMs leave a host at once when it is evacuated, where the call does not say; set on the coordinator.',
  }),
  log: key({
    type: logDestination,
    default: 'stderr',
    atStart: true,
    doc: 'Where the log goes: stderr; the path of a file, which SIGHUP opens anew; or syslog:NAME, the log of the system, to which the program logger brings it under that name.',
  }),
  loglevel: key({
    type: choice(['error', 'warn', 'info', 'debug'], { warning: 'warn' }),
    default: 'info',
    doc: 'The least grave level that is logged: error, warn, info or debug.',
  }),
  pidfile: key({
    type: path,
    default: '',
    derived: 'none',
    atStart: true,
    doc: "The file that holds the daemon's process id.",
  }),
  'state-dir': key({
    type: path,
    default: '',
    derived: '/var/lib/xenferry for root, else $XDG_STATE_HOME/xenferry or ~/.local/state/xenferry',
    derive: stateDirectory,
    atStart: true,
    doc: 'The directory for what must outlive the daemon.',
  }),
  'database-path': key({
    type: path,
    default: '',
    derived: 'db in the state directory',
    derive: (_environment, lookUp) => join(lookUp('state-dir'), 'db'),
    atStart: true,
    doc: 'The directory of the database.',
  }),
  'database-reserve': key({
    type: sizeOrNone,
    default: '2MiB',
    atStart: true,
    doc: 'How much longer than what is in it the file of the database is kept: so much can still be written when its disk is full.',
  }),
  'config-dir': key({
    type: path,
    default: '',
    derived: 'none',
    doc: 'A directory whose files *.conf, in the order of their names, override this file.',
  }),
  'listen-address': key({
    type: hostAddress,
    default: '127.0.0.1',
    atStart: true,
    doc: 'The address to listen on; 0.0.0.0 is every IPv4 address, :: every address.',
  }),
  port: key({
    type: integer(0, 65535),
    default: '8480',
    atStart: true,
    doc: 'The port of calls and migrations; 0 is any that is free.',
  }),
  address: key({
    type: hostAddress,
    default: '',
    derived: "the listen-address, or this host's name where that is every address",
    derive: (_environment, lookUp) =>
      isEveryAddress(lookUp('listen-address')) ? lookUp('host-name') : lookUp('listen-address'),
    atStart: true,
    doc: 'The address at which clients and other hosts reach this one.',
  }),
  'cors-origins': key({
    type: pageOrigins,
    default: '',
    derived: 'none',
    doc: "The origins, such as https://xo.example, of web pages that may log in here and read the answers in a browser, besides this host's own; a list, separated by spaces or commas.",
  }),
  'host-name': key({
    type: label,
    default: '',
    derived: 'the name of the machine',
    derive: (environment) => environment.hostName,
    atStart: true,
    doc: 'The name of this host in the pool.',
  }),
  coordinator: key({
    type: httpUrl,
    default: '',
    derived: 'this host is the coordinator',
    atStart: true,
    doc: "The URL of the pool's coordinator, for a host that is a member.",
  }),
  'pool-secret-file': key({
    type: path,
    default: '',
    derived: 'pool-secret in the state directory',
    derive: (_environment, lookUp) => join(lookUp('state-dir'), 'pool-secret'),
    atStart: true,
    doc: 'The file with the secret that the hosts of a pool share.',
  }),
  ...backEndKeys,
} as const;

function stateDirectory(environment: Environment): string {
  if (environment.isRoot) return '/var/lib/xenferry';
  return join(environment.variables.XDG_STATE_HOME || join(environment.home, '.local', 'state'), 'xenferry');
}

export type ConfigKey = keyof typeof configKeys;

type CamelCase<K extends string> = K extends `${infer Head}-${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : K;

/** The configuration in effect: one property a key, in camel case; times in seconds, sizes in bytes, paths absolute. */
export type Config = {
  readonly [K in ConfigKey as CamelCase<K>]: (typeof configKeys)[K] extends KeySpec<infer T> ? T : never;
};

/** The property of `Config` for a key: `database-path` is `databasePath`. */
export function propertyOf(name: ConfigKey): keyof Config {
  return name.replace(/-(.)/g, (_all, letter: string) => letter.toUpperCase()) as keyof Config;
}

/** The keys in the order of the table. */
export const configKeyNames = Object.keys(configKeys) as readonly ConfigKey[];

/** Tell whether a name is that of a key. */
export function isConfigKey(name: string): name is ConfigKey {
  return Object.hasOwn(configKeys, name);
}

/** The known key that is most like an unknown one, for a hint; undefined where none is near. */
export function nearestKey(name: string): ConfigKey | undefined {
  return nearestName(name, configKeyNames);
}
