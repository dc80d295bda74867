/**
 * zstd's own functions, called without bindings between, by the FFI library koffi: with contexts and buffers that are
 * used again, which is 5 to 40% faster in this thread and up to twice as fast in others. Their declarations are those
 * of zstd.h.
 */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { frameRoom, type Zstd } from './way.js';

/** Calls in other threads have a stack of this many bytes, which is more than zstd uses. */
const stackBytes = 512 * 1024;

/** A number of bytes, or an error, which is a number beyond all of these. */
type Result = number | bigint;
type Done = (error: Error | null, result: Result) => void;

interface Function<A extends readonly unknown[]> {
  (...args: A): Result;
  async(...args: [...A, Done]): void;
}
type Context = unknown;
type Compress = Function<[context: Context, to: Buffer, room: number, from: Buffer, length: number, level: number]>;
type Expand = Function<[context: Context, to: Buffer, room: number, from: Buffer, length: number]>;

/** @returns undefined where koffi, or a library with these functions, cannot be loaded */
export async function openFfi(): Promise<Zstd | undefined> {
  try {
    const { default: koffi } = await import('koffi');
    const config = koffi.config();
    if ((config.async_stack_size ?? 0) < stackBytes) koffi.config({ ...config, async_stack_size: stackBytes });
    const owner = process.versions.zstd === undefined ? '@cloudpss/zstd' : 'Node';
    const library = koffi.load(owner === 'Node' ? null : addonPath());
    const versionOf = library.func('const char *ZSTD_versionString()');
    const errorName = library.func('const char *ZSTD_getErrorName(size_t)');
    const ffi = callDirectly({
      way: `zstd ${versionOf()} of ${owner}, called by FFI`,
      newCompressor: library.func('void *ZSTD_createCCtx()'),
      newExpander: library.func('void *ZSTD_createDCtx()'),
      compress: library.func('size_t ZSTD_compressCCtx(void *, void *, size_t, const void *, size_t, int)') as Compress,
      expand: library.func('size_t ZSTD_decompressDCtx(void *, void *, size_t, const void *, size_t)') as Expand,
      errorName: (result) => String(errorName(result)),
    });
    return (await isSound(ffi)) ? ffi : undefined;
  } catch {
    return undefined;
  }
}

/** Give the path of @cloudpss/zstd's library for this machine. */
function addonPath(): string {
  const main = createRequire(import.meta.url).resolve('@cloudpss/zstd/package.json');
  const { path } = createRequire(main)('node-gyp-build') as { path(directory: string): string };
  return path(dirname(main));
}

interface Functions {
  readonly way: string;
  readonly newCompressor: () => Context;
  readonly newExpander: () => Context;
  readonly compress: Compress;
  readonly expand: Expand;
  readonly errorName: (result: Result) => string;
}

function callDirectly({ way, newCompressor, newExpander, compress, expand, errorName }: Functions): Zstd {
  const compressors = createPool(newCompressor);
  const expanders = createPool(newExpander);
  const { beside, close } = createThreads();
  const filled = (room: Buffer, result: Result): Buffer => {
    if (result > room.length) throw new Error(errorName(result));
    return room.subarray(0, Number(result));
  };
  return {
    way,
    compressSync(data, level, room = Buffer.allocUnsafe(frameRoom(data.length))) {
      const call = (context: Context) => compress(context, room, room.length, data, data.length, level);
      return filled(room, compressors.use(call));
    },
    async compress(data, level, room = Buffer.allocUnsafe(frameRoom(data.length))) {
      const call = (context: Context, done: Done) =>
        compress.async(context, room, room.length, data, data.length, level, done);
      return filled(room, await beside(compressors, call));
    },
    expandSync(frame, room) {
      const call = (context: Context) => expand(context, room, room.length, frame, frame.length);
      return filled(room, expanders.use(call));
    },
    async expand(frame, room) {
      const call = (context: Context, done: Done) =>
        expand.async(context, room, room.length, frame, frame.length, done);
      return filled(room, await beside(expanders, call));
    },
    close,
  };
}

/** Starts work in another thread with a context. */
type CallBeside = (context: Context, done: Done) => void;

/** Calls in other threads, whose end can be awaited. */
function createThreads() {
  /** Calls whose buffers other threads use. */
  const underWay = new Set<CallBeside>();
  let isClosed = false;
  let onIdle = () => {};
  const idle = new Promise<void>((resolve) => (onIdle = resolve));
  return {
    /**
     * What the call uses is kept until it has ended.
     * @returns never settles where the threads are closed
     */
    beside: (contexts: Pool, call: CallBeside): Promise<Result> =>
      new Promise((resolve, reject) => {
        if (isClosed) return;
        const context = contexts.take();
        const ended = () => {
          contexts.giveBack(context);
          underWay.delete(call);
          if (isClosed && underWay.size === 0) onIdle();
        };
        underWay.add(call);
        try {
          call(context, (error, result) => {
            ended();
            if (error === null) resolve(result);
            else reject(error);
          });
        } catch (error) {
          ended();
          throw error;
        }
      }),
    /**
     * No more calls.
     * @returns resolves when those under way have ended
     */
    close(): Promise<void> {
      isClosed = true;
      if (underWay.size === 0) onIdle();
      return idle;
    },
  };
}

/** Contexts that are not in use; there are as many as calls were under way at once. */
interface Pool {
  take(): Context;
  giveBack(context: Context): void;
  use(call: (context: Context) => Result): Result;
}

function createPool(create: () => Context): Pool {
  const free: Context[] = [];
  const take = (): Context => {
    const context = free.pop() ?? create();
    if (context === null) throw new Error('no memory for zstd');
    return context;
  };
  return {
    take,
    giveBack: (context) => void free.push(context),
    use(call) {
      const context = take();
      try {
        return call(context);
      } finally {
        free.push(context);
      }
    },
  };
}

/** Tell whether functions of these declarations do what they should on this machine. */
async function isSound(ffi: Zstd): Promise<boolean> {
  const data = Buffer.alloc(1000, 'pages ');
  const room = Buffer.alloc(data.length);
  const frame = ffi.compressSync(data, 1);
  const isFrame = frame.length < data.length && ffi.expandSync(frame, room).equals(data);
  return isFrame && (await ffi.expand(await ffi.compress(data, 1), room.fill(0))).equals(data);
}
