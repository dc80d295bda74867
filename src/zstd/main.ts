/** The stand-in for the zstd program, for machines that have none: a small program on a streaming library, in zstd's own format. */
import { _NapiBindings as library } from '@cloudpss/zstd/napi';
import { compileInForeground } from '../base/process/exit-hang.js';
import { readChunks, writeAll } from './descriptors.js';
import { announceChecksum, checksumField, framePieces } from './frames.js';
import { createContentChecksum } from './xxh64.js';

const FAST_LEVEL = -1;
const USAGE = 'usage: zstd --fast | zstd -d   (standard input to standard output)';

/**
 * Stands in for the zstd program where none is installed: `--fast` writes one frame with a content checksum and says
 * `compressed IN => OUT bytes` on standard error, `-d` expands one or more frames. Memory stays bounded.
 * It uses the library's synchronous calls: its streams take on up to 16 KiB of input ahead, which can expand to 500 MiB.
 */
function main(args: readonly string[]): void {
  const option = args.length === 1 ? args[0] : undefined;
  if (option === '--fast') compress();
  else if (option === '-d') decompress();
  else throw new Error(USAGE);
}

function compress(): void {
  const compressor = new library.Compressor(FAST_LEVEL);
  const checksum = createContentChecksum();
  let read = 0;
  let written = 0;
  function write(piece: Buffer): void {
    if (written === 0) announceChecksum(piece);
    writeAll(1, piece);
    written += piece.length;
  }
  for (const chunk of readChunks(0)) {
    read += chunk.length;
    checksum.update(chunk);
    compressor.data(chunk, write);
  }
  compressor.end(write);
  write(checksumField(checksum.digest()));
  writeAll(2, Buffer.from(`compressed ${read} => ${written} bytes\n`));
}

function decompress(): void {
  const decompressor = new library.Decompressor();
  const write = (piece: Buffer): void => writeAll(1, piece);
  for (const piece of framePieces(readChunks(0))) decompressor.data(piece, write);
  decompressor.end(write);
}

compileInForeground();
try {
  main(process.argv.slice(2));
} catch (error) {
  process.exitCode = 1;
  writeAll(2, Buffer.from(`zstd: ${error instanceof Error ? error.message : String(error)}\n`));
}
