/**
 * Restoring a domain of QEMU whose process waits for its memory (`-incoming defer`):
 *
 *   restore:xenguest -> the stream, exactly to its end -> QEMU says that its migration is complete -> result:xenguest 0 0
 *
 * QEMU stands still then. That it has read the whole stream says nothing before its own `completed` does.
 */
import path from 'node:path';
import { connectQmp } from '../../backend/qemu/qmp.js';
import { XapiError } from '../../base/errors.js';
import { readQemuStream } from '../../wire/stream/qemu-stream.js';
import type { Control } from '../process/control.js';
import type { Source } from '../process/descriptor.js';
import { nextStatus, prepareMigration } from './migration.js';
import { connectToQemu } from './relay.js';

export interface QemuRestoreDeps {
  readonly control: Control;
  /** The directory of the domain. */
  readonly directory: string;
  readonly source: Source;
}

const connectMs = 10_000;
/** How often a stream may carry the whole memory; the guest that writes fastest ends by its source's rule before. */
const mostCopies = 16;
/** What a stream may carry besides, in bytes. */
const besidesMemory = 64 << 20;

/** @throws whatever goes wrong; the domain is not to be used then */
export async function restoreQemu({ control, directory, source }: QemuRestoreDeps): Promise<void> {
  const emu = await control.nextRestore();
  if (emu !== 'xenguest') throw new Error(`unexpected restore:${emu}; awaited: xenguest`);
  const qmp = await connectQmp(path.join(directory, 'helper.qmp'), connectMs);
  const { 'base-memory': memoryBytes } = await qmp.execute<{ 'base-memory': number }>('query-memory-size-summary');
  await prepareMigration(qmp, ['events', 'late-block-activate'], 0);
  const socketPath = path.join(directory, 'migration.sock');
  await qmp.execute('migrate-incoming', { uri: `unix:${socketPath}` });
  const socket = await connectToQemu(socketPath);
  const completed = nextStatus(qmp, 'completed');
  completed.catch(() => undefined);
  const most = mostCopies * memoryBytes + besidesMemory;
  const read = async (bytes: number) => {
    const buffer = Buffer.allocUnsafe(bytes);
    await source.readInto(buffer);
    return buffer;
  };
  let received = 0;
  const broken = new Promise<never>((_, reject) => {
    socket.on('error', (error) =>
      reject(new XapiError('INTERNAL_ERROR', [`QEMU takes no more of its memory: ${error.message}`])),
    );
  });
  broken.catch(() => undefined);
  for await (const bytes of readQemuStream(read, most)) {
    await Promise.race([
      new Promise<void>((resolve) => socket.write(bytes, () => resolve())),
      broken,
      failureOf(completed),
    ]);
    received += bytes.length;
    control.progress(Math.min(0.99, received / memoryBytes));
  }
  socket.end();
  await completed;
  const { running } = await qmp.execute<{ running: boolean }>('query-status');
  if (running) throw new Error('QEMU has let its guest run before it was told to');
  control.progress(1);
  await control.result({ of: 'xenguest', storeMfn: 0, consoleMfn: 0 });
}

/** Settles only when the work fails, like it. */
async function failureOf(work: Promise<void>): Promise<never> {
  await work;
  return new Promise(() => undefined);
}
