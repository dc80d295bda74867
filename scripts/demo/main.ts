/**
 * A demonstration: two hosts, one busy VM, migrated there and back with no compression, with `stream` and with
 * `xenguest`. The compressor is chosen as an operator does: a line in the source host's configuration, then SIGHUP.
 * `--json` prints one object a migration, one a line. The exit status is 0 only if every migration did what it should.
 */
import { parseArgs } from 'node:util';
import { untilAborted } from '../../src/base/deadline.js';
import { messageOf } from '../../src/base/errors.js';
import { compileInForeground } from '../../src/base/process/exit-hang.js';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import { type LocalPool, startLocalPool } from '../../src/cli/local-pool/local-pool.js';
import { parseSize } from '../../src/cli/xe/value.js';
import { compressors, type Measured, migrate } from './migration.js';

interface Settings {
  readonly json: boolean;
  /** Bytes of the VM's memory. */
  readonly memory: number;
  /** Pages that its guest writes a second. */
  readonly dirtyRate: number;
}

const help = `Usage: npm run demo -- [--memory SIZE] [--dirty-rate PAGES] [--json]
  --memory SIZE       memory of the VM; 256MiB
  --dirty-rate PAGES  pages that its guest writes a second; 2000
  --json              one JSON object a migration, one a line
`;

function settingsOf(args: readonly string[]): Settings | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: 'boolean', default: false },
      memory: { type: 'string', default: '256MiB' },
      'dirty-rate': { type: 'string', default: '2000' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const dirtyRate = Number(values['dirty-rate']);
  if (!/^\d+$/.test(values['dirty-rate']))
    throw new Error(`--dirty-rate is a whole number, not '${values['dirty-rate']}'`);
  return { json: values.json, memory: parseSize('memory', values.memory), dirtyRate };
}

/** What a migration has to show to be a success: it may compress only as it was told. */
function isGood(measured: Measured): boolean {
  const inStream = measured.emu_flags.includes('-compress');
  const piped = measured.cookies.compress === 'zstd';
  return (
    measured.status === 'success' &&
    measured.memory_intact &&
    measured.guest_running &&
    inStream === (measured.compressor === 'xenguest') &&
    piped === (measured.compressor === 'stream')
  );
}

async function demonstrate(pool: LocalPool, session: XapiSession, settings: Settings): Promise<boolean> {
  const [one, two] = pool.hosts;
  const [vm] = pool.vms;
  if (one === undefined || two === undefined || vm === undefined) throw new Error('the pool is not complete');
  let good = true;
  if (!settings.json) process.stdout.write(line(columns.map(([title]) => title)));
  for (const compressor of compressors) {
    for (const [source, destination] of [
      [one, two],
      [two, one],
    ] as const) {
      const measured = await migrate({ session, vm: vm.uuid, source, destination, compressor });
      good &&= isGood(measured);
      process.stdout.write(settings.json ? `${JSON.stringify(measured)}\n` : row(measured));
    }
  }
  return good;
}

const MiB = 2 ** 20;

const figure = (value: number, digits: number) => (Number.isNaN(value) ? '-' : value.toFixed(digits));

const columns: readonly (readonly [title: string, value: (measured: Measured) => string])[] = [
  ['compressor', ({ compressor }) => compressor],
  ['from', ({ from }) => from],
  ['to', ({ to }) => to],
  ['seconds', ({ seconds }) => figure(seconds, 2)],
  ['guest MiB/s', ({ guest_bytes, seconds }) => figure(guest_bytes / MiB / seconds, 0)],
  ['wire MiB', ({ wire_bytes }) => figure(wire_bytes / MiB, 1)],
  ['ratio', ({ ratio }) => figure(ratio, 2)],
  ['downtime ms', ({ downtime_ms }) => figure(downtime_ms, 0)],
  ['memory intact', ({ memory_intact }) => (memory_intact ? 'yes' : 'NO')],
  ['still running', ({ guest_running }) => (guest_running ? 'yes' : 'NO')],
];

const widths = columns.map(([title]) => Math.max(title.length, 'xenguest'.length));

function line(cells: readonly string[]): string {
  return `${cells.map((cell, i) => cell.padStart(widths[i] as number)).join('  ')}\n`;
}

function row(measured: Measured): string {
  const failure = measured.error === undefined ? '' : `${measured.status}: ${measured.error}\n`;
  return line(columns.map(([, value]) => value(measured))) + failure;
}

async function main(args: readonly string[]): Promise<number> {
  const settings = settingsOf(args);
  if (settings === undefined) {
    process.stdout.write(help);
    return 0;
  }
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => interrupted.abort(new Error(`ended by ${signal}`)));
  }
  process.stdout.on('error', (error) => interrupted.abort(error));
  const { memory, dirtyRate } = settings;
  const say = (text: string) => void (settings.json || process.stdout.write(`${text}\n`));
  say(`Starting two hosts and a VM of ${memory / MiB} MiB whose guest writes ${dirtyRate} pages a second`);
  const config = { 'migration-digest': 'true' };
  const { pools, stop } = await startLocalPool({
    hosts: 2,
    vms: 1,
    memory,
    dirtyRate,
    config,
    signal: interrupted.signal,
  });
  try {
    const pool = pools[0] as LocalPool;
    const session = await login(pool.credentials, 'xenferry-demo');
    const good = await untilAborted(demonstrate(pool, session, settings), interrupted.signal);
    await session.logout();
    return good ? 0 : 1;
  } finally {
    await stop();
  }
}

compileInForeground();
try {
  process.exit(await main(process.argv.slice(2)));
} catch (error) {
  process.stderr.write(`demo: ${messageOf(error)}\n`);
  process.exit(1);
}
