/** The stand-in for the zstd program, for machines that have none: a small program on a streaming library, in zstd's own format. */
import type { Transform } from 'node:stream';
import { finished } from 'node:stream/promises';
import { Compressor, Decompressor } from '@cloudpss/zstd';
import { compileInForeground } from '../base/process/exit-hang.js';
import { readChunks, writeAll } from './descriptors.js';
import { announceChecksum, checksumField, framePieces } from './frames.js';
import { createContentChecksum } from './xxh64.js';

/** What `zstd --fast` is. node:zlib would take it for no level at all, and use 3. */
const FAST_LEVEL = -1;
const USAGE = 'usage: zstd --fast | zstd -d   (standard input to standard output)';

/**
 * Stands in for the zstd program where none is installed: `--fast` writes one frame with a content checksum and says
 * `compressed IN => OUT bytes` on standard error, `-d` expands one or more frames. Memory stays bounded:
 * a piece goes into the library's stream when it is done with the one before, as what it takes on ahead can expand to 500 MiB.
 */
async function main(args: readonly string[]): Promise<void> {
  const option = args.length === 1 ? args[0] : undefined;
  if (option === '--fast') await compress();
  else if (option === '-d') await decompress();
  else throw new Error(USAGE);
}

async function compress(): Promise<void> {
  const compressor = withoutErrorEvents(new Compressor(FAST_LEVEL));
  const checksum = createContentChecksum();
  let read = 0;
  let written = 0;
  compressor.on('data', (piece: Buffer) => {
    if (written === 0) announceChecksum(piece);
    writeAll(1, piece);
    written += piece.length;
  });
  for (const chunk of readChunks(0)) {
    read += chunk.length;
    checksum.update(chunk);
    await put(compressor, chunk);
  }
  await end(compressor);
  writeAll(1, checksumField(checksum.digest()));
  written += 4;
  writeAll(2, Buffer.from(`compressed ${read} => ${written} bytes\n`));
}

async function decompress(): Promise<void> {
  const decompressor = withoutErrorEvents(new Decompressor());
  decompressor.on('data', (piece: Buffer) => writeAll(1, piece));
  for (const piece of framePieces(readChunks(0))) await put(decompressor, piece);
  await end(decompressor);
}

/** An error is heard of where something is put in, or at the end. */
function withoutErrorEvents(stream: Transform): Transform {
  return stream.on('error', () => undefined);
}

/** Write a piece, and wait until it is done with. */
function put(stream: Transform, piece: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(piece, (error) => (error ? reject(error) : resolve()));
  });
}

async function end(stream: Transform): Promise<void> {
  stream.end();
  await finished(stream);
}

compileInForeground();
try {
  await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = 1;
  writeAll(2, Buffer.from(`zstd: ${error instanceof Error ? error.message : String(error)}\n`));
}
