/** Shells as the reader of a document has them: one in which its commands are run, and terminals in which some of them stay. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, outputPattern, root } from './document.js';

/** How long a terminal may take to show that its command serves, in milliseconds. */
const startMs = 120_000;
/** How long what was told to end may take, in milliseconds. */
const endMs = 30_000;

/** A reader at work: a home directory that is empty at first, and a repository that is built. */
export interface Reader {
  /**
   * Run a block to its end, or until it has printed what the document shows where it stays in the foreground.
   * @throws Error with what was printed, where its status is not 0 or the output is another
   */
  run(command: Command): Promise<void>;
  /** Press Ctrl-C in every terminal that is open; give back what runs on nevertheless, as command lines, and end that. */
  leave(): Promise<string[]>;
}

interface Terminal {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
}

export async function startReader(): Promise<Reader> {
  const home = mkdtempSync(join(tmpdir(), 'reader-'));
  const env = environment(home, await freePorts());
  const shell = startShell(home, env);
  const terminals: Terminal[] = [];
  return {
    run: async (command) => {
      if (command.kind !== 'foreground') return shell.run(command);
      const { terminal, output } = await openTerminal(command, env);
      terminals.push(terminal);
      // The documents say to paste this line.
      const [line] = /^ +export .*$/m.exec(output) ?? [];
      if (line !== undefined) await shell.run({ kind: 'run', text: line });
    },
    leave: async () => {
      shell.end();
      await Promise.all(terminals.map(interrupt));
      const left = await remaining(home);
      for (const { pid } of left) process.kill(pid, 'SIGTERM');
      if (left.length > 0) await remaining(home);
      rmSync(home, { recursive: true, force: true });
      return left.map(({ commandLine }) => commandLine);
    },
  };
}

function environment(home: string, port: number): NodeJS.ProcessEnv {
  const foreign = /^(npm_|XE_|XDG_|XENFERRY_)/i;
  const own = Object.entries(process.env).filter(([name]) => !foreign.test(name));
  const path = [dirname(process.execPath), process.env.PATH].join(delimiter);
  return {
    ...Object.fromEntries(own),
    HOME: home,
    PATH: path,
    PORT: String(port),
    npm_config_update_notifier: 'false',
  };
}

/** The first of three ports for daemons, outside of those that the system gives to tests that ask for any. */
async function freePorts(): Promise<number> {
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 10_000);
    const free = await Promise.all([first, first + 1, first + 2].map(isFree));
    if (free.every(Boolean)) return first;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false;
  }
  server.close();
  return true;
}

function startShell(home: string, env: NodeJS.ProcessEnv) {
  // Blocks are sourced, so that a later one has the variables and functions of those before it.
  const loop = 'set -eo pipefail; while IFS= read -r f <&3; do source "$f" >"$f.out" 2>&1 3<&- 4>&-; echo >&4; done';
  const child = spawn('bash', ['-c', loop], { cwd: root, env, stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
  const blocks = child.stdio[3] as Writable;
  blocks.on('error', () => undefined);
  const done = createInterface({ input: child.stdio[4] as Readable });
  const exited = once(child, 'exit');
  let count = 0;
  return {
    run: async (command: Command) => {
      if (child.exitCode !== null) throw new Error('an earlier command failed');
      count += 1;
      const file = join(home, `.block-${count}`);
      writeFileSync(file, `${command.text}\n`);
      const next = Promise.race([once(done, 'line'), exited]);
      blocks.write(`${file}\n`);
      const [line] = await next;
      const output = readFileSync(`${file}.out`, 'utf8');
      if (line !== '') throw new Error(`it failed, having printed:\n${output}`);
      if (command.output !== undefined) assertPrinted(command.output, output);
    },
    end: () => blocks.end(),
  };
}

function assertPrinted(shown: string, printed: string): void {
  if (!outputPattern(shown).test(printed)) {
    throw new Error(`the document shows:\n${shown}\n\nit printed:\n${printed}`);
  }
}

/** Start a command in a terminal of its own, and wait until it has printed all that the document shows. */
async function openTerminal({ text, output: shown }: Command, env: NodeJS.ProcessEnv) {
  if (shown === undefined) throw new Error('the document does not show by what a reader sees that it serves');
  const pattern = outputPattern(shown);
  const child = spawn('bash', ['-c', `set -eo pipefail\n${text}`], {
    cwd: root,
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'exit');
  let output = '';
  const served = new Promise<void>((resolve, reject) => {
    const fail = (why: string) =>
      reject(new Error(`${why}, having printed:\n${output}\nthe document shows:\n${shown}`));
    const timer = setTimeout(() => fail('it did not serve in time'), startMs);
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (data) => {
        output += data;
        if (pattern.test(output)) resolve();
      });
    }
    ended.then(() => fail('it ended'));
    child.once('close', () => clearTimeout(timer));
  });
  const terminal = { child, ended };
  try {
    await served;
  } catch (error) {
    await interrupt(terminal);
    throw error;
  }
  return { terminal, output };
}

/** What Ctrl-C does: the signal goes to all that runs in the terminal. */
async function interrupt({ child, ended }: Terminal): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  process.kill(-(child.pid as number), 'SIGINT');
  await ended;
}

/** What still runs of a reader's when all has had its time to end. */
async function remaining(home: string) {
  const limit = performance.now() + endMs;
  while (processesAt(home).length > 0 && performance.now() < limit) await sleep(100);
  return processesAt(home);
}

/** The processes of a reader, by its home directory. */
function processesAt(home: string): { readonly pid: number; readonly commandLine: string }[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.flatMap((name) => {
    try {
      const variables = readFileSync(`/proc/${name}/environ`, 'utf8').split('\0');
      const commandLine = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      return variables.includes(`HOME=${home}`) && commandLine !== '' ? [{ pid: Number(name), commandLine }] : [];
    } catch {
      return [];
    }
  });
}
