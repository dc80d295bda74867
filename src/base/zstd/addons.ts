/** zstd by libraries with bindings of their own, each call with a context and an output of its own. */
import zlib from 'node:zlib';
import { assertFrameBounded } from './frame.js';
import type { Zstd } from './way.js';

/**
 * Two libraries: @cloudpss/zstd in this thread, @mongodb-js/zstd in others. Neither knows a limit, so frames are walked before.
 */
export async function openAddons(): Promise<Zstd> {
  const [here, pool] = await Promise.all([import('@cloudpss/zstd'), import('@mongodb-js/zstd/bindings.js')]);
  const expandSync = (frame: Buffer, room: Buffer): Buffer => {
    assertFrameBounded(frame, room.length);
    return fitting(asBuffer(here.decompress(frame)), room);
  };
  return {
    way: `zstd ${here.ZSTD_VERSION()} by @cloudpss/zstd, in other threads @mongodb-js/zstd`,
    compressSync: (data, level) => asBuffer(here.compress(data, level)),
    compress: (data, level) => pool.compress(data, level),
    expandSync,
    async expand(frame, room) {
      // The pool's library makes as much room as the blocks need, whatever the frame says.
      if (assertFrameBounded(frame, room.length)) return expandSync(frame, room);
      return fitting(await pool.decompress(frame), room);
    },
    close: async () => undefined,
  };
}

type Expand = (frame: Buffer, options: object, done: (error: Error | null, data: Buffer) => void) => void;

/**
 * The same, but for what Node's own zstd (node:zlib, from 22.15 on) is as fast at: expanding in other threads. It makes
 * its context and output anew for each call too, and copies more: compressing it is 2 to 40% slower, the more the
 * shorter the frame, and expanding in this thread up to 40%.
 * @returns undefined where Node has none
 */
export async function openNode(): Promise<Zstd | undefined> {
  const { zstdDecompress } = zlib as unknown as { zstdDecompress?: Expand };
  if (zstdDecompress === undefined) return undefined;
  const addons = await openAddons();
  return {
    ...addons,
    way: `${addons.way}, and node:zlib to expand there`,
    expand: (frame, room) =>
      new Promise((resolve, reject) => {
        // Node does not say what is behind the frame.
        assertFrameBounded(frame, room.length);
        const options = { chunkSize: Math.max(room.length, 64), maxOutputLength: Math.max(room.length, 1) };
        zstdDecompress(frame, options, (error, data) => (error === null ? resolve(data) : reject(error)));
      }),
  };
}

function fitting(content: Buffer, room: Buffer): Buffer {
  if (content.length > room.length) throw new Error(`its content is longer than ${room.length} bytes`);
  return content;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
