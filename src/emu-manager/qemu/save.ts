/**
 * Saving a domain of QEMU:
 *
 *   prepare:xenguest -> done
 *   QEMU's migration into a socket of ours; its bytes go on in records, compressed with `-compress true`
 *   at pre-switchover, where QEMU has stopped the guest: suspend: -> done
 *   migrate-continue, the rest of the bytes, the record of the end
 *   result:0 0
 *
 * A domain that is not live is suspended before the migration begins. Whatever goes wrong closes QEMU's socket, which ends its
 * migration even where it answers nothing, and the guest goes on.
 */
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { connectQmp, type Qmp } from '../../backend/qemu/qmp.js';
import { pageSize } from '../../base/domain.js';
import { type ConvergenceRule, formatFigures, formatStatistics } from '../../base/protocol/emu-protocol.js';
import { openZstd } from '../../base/zstd/zstd.js';
import { openSendQueue } from '../../wire/connection/send-queue.js';
import { createQemuStreamWriter, type QemuStreamWriter } from '../../wire/stream/qemu-stream.js';
import { defaultRule, type RunArguments } from '../process/argv.js';
import type { Control } from '../process/control.js';
import type { Sink } from '../process/descriptor.js';
import { createLevelChooser, type LevelChooser } from '../save/compression-level.js';
import { noConvergence } from '../save/convergence.js';
import { cancelMigration, type MigrationInfo, nextStatus, prepareMigration } from './migration.js';
import { listenForQemu, type OutgoingSocket } from './relay.js';

export interface QemuSaveDeps {
  readonly control: Control;
  /** The directory of the domain. */
  readonly directory: string;
  readonly sink: Sink;
  /** Called with what ends QEMU's migration, as soon as there is one. */
  onCancellable(cancel: () => Promise<void>): void;
}

const connectMs = 10_000;
const figuresMs = 500;
/** More than any guest can have: the rest is sent in the last round whatever it is. */
const anyDowntimeMs = 2_000_000;
/** Records whose compression is under way, beyond the threads that compress. */
const waiting = 2;
const mostThreads = 16;

/** @throws whatever goes wrong; the guest goes on then */
export async function saveQemu(args: RunArguments, deps: QemuSaveDeps): Promise<void> {
  const { control, directory, sink } = deps;
  const qmp = await connectQmp(path.join(directory, 'helper.qmp'), connectMs);
  await control.prepare('xenguest');
  const rule = args.convergence ?? defaultRule;
  const throttles = rule.strategy === 'throttle' ? ['auto-converge'] : [];
  await prepareMigration(
    qmp,
    ['events', 'pause-before-switchover', ...throttles],
    Math.min(rule.maxDowntimeMs, anyDowntimeMs),
  );
  if (!args.live) await control.suspend();
  const socket = await listenForQemu(path.join(directory, 'migration.sock'));
  deps.onCancellable(async () => {
    socket.destroy();
    await cancelMigration(qmp);
  });
  const before = sink.written;
  const writer = createQemuStreamWriter();
  const chooser = createLevelChooser(args.compress ? args.compressionLevel : 0, {
    ...{ waiting: sink.waiting, written: () => sink.written, queued: openSendQueue(args.link) },
  });
  try {
    await sink.write(writer.head);
    const passes = watchPasses(qmp, rule);
    await qmp.execute('migrate', { uri: socket.uri });
    const pumped = pump(socket, sink, writer, chooser);
    const figures = tellFigures(qmp, args, control, chooser);
    try {
      await firstOf(nextStatus(qmp, 'pre-switchover'), pumped, passes);
      if (args.live) await firstOf(control.suspend(), pumped);
      await qmp.execute('migrate-continue', { state: 'pre-switchover' });
      await firstOf(nextStatus(qmp, 'completed'), pumped);
    } finally {
      figures();
    }
    await pumped;
    await sink.write(...writer.end());
  } catch (error) {
    socket.destroy();
    await cancelMigration(qmp);
    throw error;
  }
  const { ram } = await qmp.execute<MigrationInfo>('query-migrate');
  control.progress(1);
  control.log(
    formatStatistics({
      rounds: ram?.['dirty-sync-count'] ?? 1,
      guestBytes: ((ram?.normal ?? 0) + (ram?.duplicate ?? 0)) * pageSize,
      streamBytes: sink.written - before,
    }),
  );
  await control.result({ of: 'save' });
}

/** The first, unless one of the others fails before. */
async function firstOf(wanted: Promise<void>, ...others: readonly Promise<unknown>[]): Promise<void> {
  const failures = others.map((other) => other.then(() => new Promise<never>(() => undefined)));
  await Promise.race([wanted, ...failures]);
}

/** QEMU's bytes into records, in their order; what is compressed at once is bounded. */
async function pump(
  socket: OutgoingSocket,
  sink: Sink,
  writer: QemuStreamWriter,
  chooser: LevelChooser,
): Promise<void> {
  const most = Math.min(availableParallelism(), mostThreads) + waiting;
  const underWay: Promise<void>[] = [];
  let last = Promise.resolve();
  const compress = async (piece: Buffer, level: number) => (await openZstd()).compress(piece, level);
  await socket.pump(async (piece) => {
    const level = chooser.levels()?.binary;
    const frame = level === undefined ? undefined : compress(piece, level);
    const before = last;
    last = (async () => {
      const ready = await frame;
      await before;
      chooser.sent(piece.length);
      await sink.write(...writer.encode(piece, ready));
    })();
    last.catch(() => undefined);
    underWay.push(last);
    if (underWay.length >= most) await underWay.shift();
  });
  await Promise.all(underWay);
}

/**
 * The end of the rounds by the rule: QEMU itself would never end with a guest that writes faster than the link.
 * @returns settles only where the rule says to fail, with that
 */
function watchPasses(qmp: Qmp, rule: ConvergenceRule): Promise<void> {
  return new Promise((_, reject) => {
    qmp.onEvent(({ event, data }) => {
      if (event !== 'MIGRATION_PASS' || Number(data.pass) <= rule.maxRounds) return;
      if (rule.strategy === 'fail') reject(noConvergence(`more than ${rule.maxRounds} rounds`));
      // By throttling QEMU makes the guest slower with each round, and the rest fits in the end.
      else if (rule.strategy === 'proceed')
        qmp.execute('migrate-set-parameters', { 'downtime-limit': anyDowntimeMs }).catch(reject);
    });
  });
}

/** Tell how the copy goes, now and then. @returns ends that */
function tellFigures(qmp: Qmp, args: RunArguments, control: Control, chooser: LevelChooser): () => void {
  const look = async (): Promise<void> => {
    const info = await qmp.execute<MigrationInfo>('query-migrate').catch((): MigrationInfo => ({}));
    if (info.ram === undefined) return;
    control.progress(Math.min(0.99, 1 - info.ram.remaining / info.ram.total));
    if (args.convergence === undefined && !args.debugLog) return;
    control.log(
      formatFigures({
        round: info.ram['dirty-sync-count'],
        pagesLeft: Math.ceil(info.ram.remaining / pageSize),
        pagesPerSecond: info.ram['pages-per-second'],
        dirtyPagesPerSecond: info.ram['dirty-pages-rate'],
        expectedDowntimeMs: info['expected-downtime'] ?? info.downtime ?? 0,
        throttlePercent: info['cpu-throttle-percentage'] ?? 0,
        level: chooser.word(),
      }),
    );
  };
  const timer = setInterval(() => void look(), figuresMs);
  return () => clearInterval(timer);
}
