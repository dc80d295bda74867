/**
 * A suspend image in a file, read and written as a channel is: the daemon's part through the same open file as the helper's,
 * so that each goes on where the other has stopped.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { XapiError } from '../base/errors.js';
import type { RawStream } from '../wire/connection/raw-socket.js';

/** Make a new file, for its owner alone. @throws where there is one already, or none can be made */
export async function createImageFile(path: string): Promise<RawStream> {
  return channelOf(await open(path, 'wx', 0o600), path);
}

/** Read a file that is there. */
export async function openImageFile(path: string): Promise<RawStream> {
  return channelOf(await open(path, 'r'), path);
}

function channelOf(file: FileHandle, path: string): RawStream {
  let fd = file.fd;
  let settle: () => void = () => undefined;
  const closed = new Promise<void>((resolve) => {
    settle = resolve;
  });
  return {
    closed,
    get fd() {
      return fd;
    },
    // A file is never in non-blocking mode.
    setBlocking: () => undefined,
    async read(bytes) {
      const buffer = Buffer.alloc(bytes);
      for (let filled = 0; filled < bytes; ) {
        const { bytesRead } = await file.read(buffer, filled, bytes - filled, null);
        if (bytesRead === 0) throw new XapiError('INTERNAL_ERROR', [`the suspend image ${path} ends early`]);
        filled += bytesRead;
      }
      return buffer;
    },
    async readEnd() {
      const { bytesRead } = await file.read(Buffer.alloc(1), 0, 1, null);
      if (bytesRead > 0) throw new XapiError('INTERNAL_ERROR', [`the suspend image ${path} goes on behind its end`]);
    },
    async write(bytes) {
      for (let done = 0; done < bytes.length; ) {
        done += (await file.write(bytes, done, bytes.length - done, null)).bytesWritten;
      }
    },
    destroy() {
      if (fd < 0) return;
      fd = -1;
      void file.close().then(settle, settle);
    },
  };
}
