/**
 * What a disk has when the power is lost. While a disk is watched, what this process flushes reaches it, and is said to have
 * reached it, some milliseconds later; what is not flushed does not. So whoever goes on before a flush has ended is found out.
 *
 * Flushes are seen where they are made: Node's, of a file or a directory, and those of LMDB, which says of each commit when it
 * was flushed. What was written is read then from the files themselves, whoever wrote it.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export interface SlowDisk {
  /** The power is lost now: what is left of a directory. The directory itself is there. */
  lose(directory: string): Loss;
  /**
   * No flush ends any more.
   * @returns lets them
   */
  hold(): () => void;
  /** Flushes are no longer watched. */
  close(): void;
}

/** A name may reach the disk with its directory's flush, or at once. */
export type NamesLeft = 'flushed' | 'all';

export interface Loss {
  /** Make a directory of what is left, as after the next start of the machine. */
  restore(to: string, names?: NamesLeft): void;
}

interface File {
  readonly ino: string;
  readonly isDirectory: boolean;
}

/** The library's own door to its native part: its `Env` is a class, of which each database has an object. */
interface LmdbNative {
  readonly nativeAddon: { readonly Env: typeof Env };
  setNativeFunctions(functions: object): void;
}
declare class Env {
  open(options: { readonly path: string }, ...more: unknown[]): unknown;
  /** @param told 1 when the commits are to be seen, 0 when they have been flushed, another number where that failed */
  startWriting(address: number, told: (status: number) => unknown): unknown;
}

/**
 * Watch the flushes of this process. Databases that were opened before are not seen.
 * @param flushMs how long a flush takes, in milliseconds
 */
export async function watchFlushes(flushMs = 40): Promise<SlowDisk> {
  const contents = new Map<string, Buffer>();
  const names = new Map<string, ReadonlyMap<string, File>>();
  /** @returns has it reach the disk */
  const capture = (at: string): (() => void) => {
    const stat = fs.statSync(at);
    const ino = inoOf(stat);
    if (stat.isDirectory()) {
      const found = listDirectory(at);
      return () => void names.set(ino, found);
    }
    const content = fs.readFileSync(at);
    return () => void contents.set(ino, content);
  };
  let held: Promise<void> | undefined;
  const takeTime = async (): Promise<void> => {
    await delay(flushMs);
    await held;
  };
  const stops = [await watchFiles(capture, takeTime), await watchDatabases(capture, takeTime)];
  return {
    lose(directory) {
      const [content, flushed] = [new Map(contents), new Map(names)];
      const all = listAll(directory);
      const restore = (from: string, to: string, known: ReadonlyMap<string, ReadonlyMap<string, File>>): void => {
        fs.mkdirSync(to, { recursive: true, mode: 0o700 });
        for (const [name, { ino, isDirectory }] of known.get(from) ?? []) {
          const at = path.join(to, name);
          if (isDirectory) restore(ino, at, known);
          else fs.writeFileSync(at, afterReboot(content.get(ino) ?? Buffer.alloc(0)), { mode: 0o600 });
        }
      };
      const root = inoOf(fs.statSync(directory));
      return {
        restore: (to, left = 'flushed') => restore(root, to, left === 'all' ? all : flushed),
      };
    },
    hold() {
      let goOn: () => void = () => undefined;
      held = new Promise((resolve) => {
        goOn = resolve;
      });
      return goOn;
    },
    close() {
      for (const stop of stops) stop();
    },
  };
}

type Capture = (at: string) => () => void;

async function watchFiles(capture: Capture, takeTime: () => Promise<void>): Promise<() => void> {
  const probe = await fs.promises.open('/dev/null');
  const handle = Object.getPrototypeOf(probe) as Pick<fs.promises.FileHandle, 'sync' | 'datasync'>;
  await probe.close();
  const original = { sync: handle.sync, datasync: handle.datasync, fsyncSync: fs.fsyncSync };
  const slowly = (flush: (this: fs.promises.FileHandle) => Promise<void>) =>
    async function (this: fs.promises.FileHandle): Promise<void> {
      const reach = capture(`/proc/self/fd/${this.fd}`);
      await flush.call(this);
      await takeTime();
      reach();
    };
  Object.assign(handle, { sync: slowly(original.sync), datasync: slowly(original.datasync) });
  fs.fsyncSync = (fd) => {
    original.fsyncSync(fd);
    capture(`/proc/self/fd/${fd}`)();
  };
  syncBuiltinESMExports();
  return () => {
    Object.assign(handle, { sync: original.sync, datasync: original.datasync });
    fs.fsyncSync = original.fsyncSync;
    syncBuiltinESMExports();
  };
}

async function watchDatabases(capture: Capture, takeTime: () => Promise<void>): Promise<() => void> {
  const library = fileURLToPath(import.meta.resolve('lmdb'));
  const native = (await import(path.join(path.dirname(library), 'native.js'))) as LmdbNative;
  class SlowEnv extends native.nativeAddon.Env {
    file = '';
    override open(options: { readonly path: string }, ...more: unknown[]): unknown {
      this.file = path.join(options.path, 'data.mdb');
      return super.open(options, ...more);
    }
    override startWriting(address: number, told: (status: number) => unknown): unknown {
      return super.startWriting(address, (status) => {
        if (status !== 0) return told(status);
        const reach = capture(this.file);
        // By itself the library (3.5.6) acknowledges only what it has flushed; here what is written is acknowledged at once.
        told(1);
        void takeTime().then(() => {
          reach();
          told(status);
        });
        return undefined;
      });
    }
  }
  native.setNativeFunctions(Object.create(native.nativeAddon, { Env: { value: SlowEnv } }) as object);
  return () => native.setNativeFunctions(native.nativeAddon);
}

/** A number of an inode is used again. */
function inoOf({ ino, birthtimeMs }: fs.Stats): string {
  return `${ino} ${birthtimeMs}`;
}

function listDirectory(directory: string): ReadonlyMap<string, File> {
  const names = fs.readdirSync(directory).map((name): [string, File] | undefined => {
    const stat = fs.statSync(path.join(directory, name), { throwIfNoEntry: false });
    if (stat === undefined || !(stat.isDirectory() || stat.isFile())) return undefined;
    return [name, { ino: inoOf(stat), isDirectory: stat.isDirectory() }];
  });
  return new Map(names.filter((each) => each !== undefined));
}

function listAll(directory: string): Map<string, ReadonlyMap<string, File>> {
  const found = listDirectory(directory);
  const all = new Map([[inoOf(fs.statSync(directory)), found]]);
  for (const [name, { isDirectory }] of found) {
    if (isDirectory) for (const [ino, names] of listAll(path.join(directory, name))) all.set(ino, names);
  }
  return all;
}

/**
 * LMDB tells by the machine's start, which it writes into its first two pages, whether what was not flushed may be
 * missing.
 */
export function afterReboot(content: Buffer): Buffer {
  const boot = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').split('-')[0];
  const written = Buffer.alloc(8);
  written.writeBigInt64LE(BigInt(`0x${boot}`));
  const changed = Buffer.from(content);
  for (let at = 0; at < 8192; at += 8) {
    if (changed.subarray(at, at + 8).equals(written)) changed.writeBigInt64LE(1n, at);
  }
  return changed;
}
