/**
 * Which local pools a user has: a note for each `xenferry-pool up`, so that another run can end it, and find what one that was
 * killed has left.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { readTextFile } from '../../base/named-file.js';
import { isAlive, ownIdentity } from '../../base/process/process-identity.js';
import { configOf, countProcesses, endHost } from './local-processes.js';

const noteSchema = z.object({
  /** Directory of the state of all hosts, absolute. */
  directory: z.string().startsWith('/'),
  /** Whether the directory was made for this run, and goes with the run. */
  temporary: z.boolean(),
  /** The process that ends it all. */
  owner: z.object({ pid: z.number(), started: z.string(), namespace: z.string() }),
  /** The URL of the coordinator of each pool; none until they are whole. */
  coordinators: z.array(z.string()),
});

type Note = z.infer<typeof noteSchema>;

export interface LocalRegistry {
  /** Note a run of this process, or what has become of it. */
  note(run: Omit<Note, 'owner'>): Promise<void>;
  forget(directory: string): Promise<void>;
  /** All runs that have not ended in order, by name. Those of which nothing is left are forgotten. */
  list(): Promise<ListedRun[]>;
}

export interface ListedRun extends Note {
  readonly name: string;
  /** The directories of its hosts. */
  readonly hosts: readonly string[];
  /** Daemons and hypervisors that run. */
  readonly processes: number;
  /** `runs`; `left` where its owner was killed; `elsewhere` where that is in another pid namespace. */
  readonly state: 'runs' | 'left' | 'elsewhere';
}

/** Time in which a run ends in order, in seconds. */
const endSeconds = 60;

/** Directory of the user's notes. */
export function registryDirectory(environment: NodeJS.ProcessEnv): string {
  return join(environment.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'xenferry-pool');
}

/** The registry in a directory, which is made when something is noted. */
export function openRegistry(registry: string): LocalRegistry {
  const fileOf = (directory: string) =>
    join(registry, `${createHash('sha256').update(directory).digest('hex').slice(0, 16)}.json`);
  const forget = (directory: string) => rm(fileOf(directory), { force: true });
  return {
    async note(run) {
      await mkdir(registry, { recursive: true, mode: 0o700 });
      const file = fileOf(run.directory);
      await writeFile(`${file}.new`, `${JSON.stringify({ ...run, owner: ownIdentity() })}\n`, { mode: 0o600 });
      await rename(`${file}.new`, file);
    },
    forget,
    async list() {
      const names = await readdir(registry).catch(() => []);
      const notes = names.filter((name) => name.endsWith('.json')).map((name) => readNote(join(registry, name)));
      const runs = await Promise.all(notes.filter((note) => note !== undefined).map(look));
      const gone = runs.filter(isOver);
      await Promise.all(gone.map(({ directory }) => forget(directory)));
      return runs.filter((run) => !gone.includes(run)).sort((a, b) => (a.name < b.name ? -1 : 1));
    },
  };
}

/**
 * End a run with all its processes, and remove its directory where that was made for it.
 * @throws an Error where that cannot be done from here, or it does not end
 */
export async function endRun(registry: LocalRegistry, run: ListedRun): Promise<void> {
  if (run.state === 'elsewhere')
    throw new Error(`${run.name} runs in another pid namespace, and can be ended there alone`);
  if (run.state === 'runs') {
    process.kill(run.owner.pid, 'SIGTERM');
    const limit = performance.now() + endSeconds * 1000;
    while (isAlive(run.owner) === true) {
      if (performance.now() > limit) throw new Error(`${run.name}: process ${run.owner.pid} does not end`);
      await delay(20);
    }
  }
  await Promise.all(run.hosts.map(endHost));
  if (run.temporary) await rm(run.directory, { recursive: true, force: true });
  await registry.forget(run.directory);
}

/** @returns undefined for what is no note */
function readNote(file: string): Note | undefined {
  try {
    return noteSchema.parse(JSON.parse(readTextFile(file)));
  } catch {
    return undefined;
  }
}

async function look(note: Note): Promise<ListedRun> {
  const names = await readdir(note.directory).catch(() => []);
  const hosts = names.map((name) => join(note.directory, name)).filter((host) => existsSync(configOf(host)));
  const alive = isAlive(note.owner);
  return {
    ...note,
    name: basename(note.directory),
    hosts,
    processes: hosts.reduce((sum, host) => sum + countProcesses(host), 0),
    state: alive === 'unknown' ? 'elsewhere' : alive ? 'runs' : 'left',
  };
}

/** A directory that somebody named stays when its run ends. */
function isOver({ state, processes, temporary, directory }: ListedRun): boolean {
  return state === 'left' && processes === 0 && !(temporary && existsSync(directory));
}
