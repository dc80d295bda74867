/** A daemon as an operator runs it: the program, a configuration file and a state directory of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from '../hypervisor/hypervisor-process.js';

const program = fileURLToPath(new URL('../../src/main.js', import.meta.url));

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Daemon {
  readonly url: string;
  readonly pid: number;
  /** Send a signal and wait for the end. */
  end(signal: NodeJS.Signals): Promise<Ended>;
  reload(): void;
}

export interface Site {
  readonly directory: string;
  readonly configFile: string;
  readonly stateDir: string;
  /** Write the configuration: lines behind those that every daemon of the site has. */
  configure(...lines: string[]): void;
  /** Run the program to its end. */
  run(...args: string[]): Promise<Ended>;
  /**
   * Start the daemon and wait until it serves.
   * @throws with what it said when it ends
   */
  start(...args: string[]): Promise<Daemon>;
  /** What the log says so far. */
  log(): string;
  /**
   * Wait until the log says this.
   * @returns the line
   */
  logged(what: RegExp): Promise<string>;
  /** The hypervisor's process id; undefined where none was started. */
  hypervisor(): number | undefined;
  close(): Promise<void>;
}

export interface SiteInit {
  /** What Node is given before the program. */
  readonly nodeArgs?: readonly string[];
  /** Variables for the daemon beyond our own. */
  readonly environment?: Readonly<Record<string, string>>;
  /** What the daemon is started with. */
  readonly prefix?: () => readonly string[];
  /** Where its state directory is made; beside the configuration where absent. */
  readonly stateParent?: string;
}

/** A place for one daemon; `close` ends whatever of it still runs. */
export function openSite({ nodeArgs = [], environment = {}, prefix = () => [], stateParent }: SiteInit = {}): Site {
  const directory = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-daemon-'));
  const stateDir = path.join(stateParent ?? directory, 'state');
  const configFile = path.join(directory, 'xenopsd.conf');
  const logFile = path.join(directory, 'log');
  const children: ChildProcess[] = [];
  const hypervisor = () => {
    const text = read(path.join(stateDir, 'hypervisor.pid'));
    return text === '' ? undefined : Number.parseInt(text, 10);
  };
  const launch = (args: readonly string[]): ChildProcess => {
    const env = { ...process.env, ...environment };
    const [command = '', ...rest] = [...prefix(), process.execPath, ...nodeArgs, program, ...args];
    const child = spawn(command, rest, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    children.push(child);
    return child;
  };
  const site: Site = {
    directory,
    configFile,
    stateDir,
    hypervisor,
    configure(...lines) {
      const base = {
        'state-dir': stateDir,
        port: 0,
        log: logFile,
        'memory-dir': directory,
        'simulator-memory': '256MiB',
      };
      const text = [...Object.entries(base).map(([key, value]) => `${key} = ${value}`), ...lines].join('\n');
      fs.writeFileSync(configFile, `${text}\n`);
    },
    run: async (...args) => collect(launch(args)),
    async start(...args) {
      const child = launch(['--config', configFile, ...args]);
      const ended = collect(child);
      const said = once(child.stdout as NodeJS.EventEmitter, 'data').then(([chunk]) => String(chunk));
      const first = await Promise.race([said, ended]);
      const url = typeof first === 'string' ? /^xenferryd listening on (\S+)\n$/.exec(first)?.[1] : undefined;
      if (url === undefined) throw new Error(`the daemon does not serve: ${JSON.stringify(first)}`);
      return {
        url,
        pid: child.pid as number,
        async end(signal) {
          child.kill(signal);
          return ended;
        },
        reload: () => void child.kill('SIGHUP'),
      };
    },
    log: () => read(logFile),
    logged: (what) => eventually(() => what.exec(read(logFile))?.[0]),
    async close() {
      for (const child of children) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        const exit = once(child, 'exit');
        child.kill('SIGKILL');
        await exit;
      }
      const pid = hypervisor();
      if (pid !== undefined) await endProcess(pid);
      fs.rmSync(directory, { recursive: true, force: true });
    },
  };
  site.configure();
  return site;
}

async function collect(child: ChildProcess): Promise<Ended> {
  let [stdout, stderr] = ['', ''];
  child.stdout?.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, stdout, stderr };
}

function read(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** The hypervisor is no child of ours once its daemon is gone: a signal tells whether it is there. */
async function endProcess(pid: number): Promise<void> {
  await eventually(() => {
    try {
      process.kill(pid, 'SIGTERM');
      return /\) Z /.test(read(`/proc/${pid}/stat`)) || undefined;
    } catch {
      return true;
    }
  });
}
