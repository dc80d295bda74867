#!/usr/bin/env node
/** The program xenferry-pool: whole pools on this machine, for tests and demonstrations. */
import { parseArgs } from 'node:util';
import { messageOf } from '../base/errors.js';
import { compileInForeground } from '../base/exit-hang.js';
import { writeOutput } from '../base/output.js';
import { ownVersion } from '../base/version.js';
import { type LocalPool, type LocalPoolOptions, startLocalPool } from './local-pool.js';
import { parseSize } from './xe-value.js';

const help = `Usage:
  xenferry-pool up --hosts N --vms M [options]

Starts pools on this machine: a daemon a host, each on its own port, and running VMs. They end, with all that they made,
at Ctrl-C, at SIGTERM, or with --until-eof.

  --hosts N           hosts of each pool; 2
  --vms M             VMs of each pool, spread over its hosts; 1
  --memory SIZE       memory of each VM; 64MiB
  --pools P           pools; 1
  --port PORT         port of the first host, the others have the next ones; 0, the default, takes free ports
  --dirty-rate PAGES  pages that each guest writes a second
  --fault-injection   let fault rules break migrations on purpose
  --state DIR         an empty directory for the hosts' state, which is left in place; a temporary one without it
  --json              print one line of JSON and nothing else
  --until-eof         end when standard input is closed
`;

interface Request {
  readonly options: LocalPoolOptions;
  readonly json: boolean;
  readonly untilEof: boolean;
}

/** @throws an Error that names the option and what is allowed */
function parse(args: readonly string[]): Request | 'help' | 'version' {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      hosts: { type: 'string', default: '2' },
      vms: { type: 'string', default: '1' },
      memory: { type: 'string', default: '64MiB' },
      pools: { type: 'string', default: '1' },
      port: { type: 'string', default: '0' },
      'dirty-rate': { type: 'string' },
      'fault-injection': { type: 'boolean', default: false },
      state: { type: 'string' },
      json: { type: 'boolean', default: false },
      'until-eof': { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
      version: { type: 'boolean', default: false },
    },
  });
  if (values.help || positionals[0] === 'help') return 'help';
  if (values.version) return 'version';
  if (positionals.length !== 1 || positionals[0] !== 'up')
    throw new Error('the command is up; see xenferry-pool --help');
  const rate = values['dirty-rate'];
  const [hosts, pools, port] = [
    whole('hosts', values.hosts, 1, 64),
    whole('pools', values.pools, 1, 16),
    whole('port', values.port, 0, 65535),
  ];
  if (port + hosts * pools - 1 > 65535) throw new Error(`--port ${port} leaves no port for every host`);
  const options = {
    hosts,
    vms: whole('vms', values.vms, 0, 1000),
    memory: memoryOf(values.memory),
    pools,
    port,
    ...(rate === undefined ? {} : { dirtyRate: whole('dirty-rate', rate, 0, 10_000_000) }),
    ...(values['fault-injection'] ? { config: { 'fault-injection': 'true' } } : {}),
    ...(values.state === undefined ? {} : { state: values.state }),
  };
  return { options, json: values.json, untilEof: values['until-eof'] };
}

function whole(name: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) {
    throw new Error(`--${name} is a whole number from ${least} to ${most}, not '${text}'`);
  }
  return value;
}

function memoryOf(text: string): number {
  const bytes = parseSize('memory', text);
  if (bytes === 0 || bytes % 4096 !== 0) throw new Error(`--memory is a multiple of 4 KiB, not '${text}'`);
  return bytes;
}

function asJson(pools: readonly LocalPool[]): string {
  const shown = pools.map(({ credentials: { url, username, password }, hosts, vms }) => ({
    coordinator: url,
    username,
    password,
    hosts: hosts.map((host) => ({ name: host.name, uuid: host.uuid, url: host.url, config: host.config })),
    vms,
  }));
  return JSON.stringify({ pools: shown });
}

function asText(pools: readonly LocalPool[], untilEof: boolean): string {
  const blocks = pools.map(({ credentials: { url, username, password }, hosts, vms }) =>
    [
      ...hosts.map((host) => `${host.name}  ${host.url}  ${host.config}`),
      vms.length === 0 ? 'no VMs' : `VMs: ${vms.map(({ name }) => name).join(', ')}`,
      '',
      'To use it with xe, paste:',
      `  export XE_SERVER=${url} XE_USER=${username} XE_PASSWORD=${password}`,
      '  npm run --silent xe -- vm-list',
      '',
    ].join('\n'),
  );
  return `${blocks.join('\n')}\n${untilEof ? 'Close standard input' : 'Press Ctrl-C'} to end it all.\n`;
}

/** Calls back once, at the first sign that all is to end. */
function onEnd(untilEof: boolean, end: () => void): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end);
  if (untilEof) process.stdin.on('end', end).on('error', end).resume();
}

async function main(args: readonly string[]): Promise<number> {
  const request = parse(args);
  if (request === 'help') return writeOutput('xenferry-pool', help);
  if (request === 'version') return writeOutput('xenferry-pool', `xenferry-pool ${ownVersion()}\n`);
  const { options, json, untilEof } = request;
  const ending = new AbortController();
  const ended = new Promise<void>((resolve) => {
    onEnd(untilEof, () => {
      ending.abort(new Error('ended before all had started'));
      resolve();
    });
  });
  const warn = (text: string) => void process.stderr.write(`xenferry-pool: ${text}\n`);
  const { pools, stop } = await startLocalPool({ ...options, warn, signal: ending.signal });
  process.stdout.write(json ? `${asJson(pools)}\n` : asText(pools, untilEof));
  // Even with every daemon gone, we stay until we are told to end.
  const idle = setInterval(() => undefined, 2 ** 30);
  await ended;
  clearInterval(idle);
  if (!json) process.stdout.write('Ending...\n');
  await stop();
  return 0;
}

compileInForeground();
// Whoever read the output may have seen enough; what was started still has to be ended in order.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
try {
  process.exit(await main(process.argv.slice(2)));
} catch (error) {
  process.stderr.write(`xenferry-pool: ${messageOf(error)}\n`);
  process.exit(1);
}
