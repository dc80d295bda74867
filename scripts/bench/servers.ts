/**
 * What the benchmark of the XenAPI measures and measures with: a daemon, a bare jayson server, and a client for both.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export interface Client {
  call<T>(method: string, params: readonly unknown[]): Promise<T>;
  /** The length of the answer, which is not looked into. */
  bytes(method: string, params: readonly unknown[]): Promise<number>;
  close(): void;
}

/** Client with one connection, kept open. */
export function openClient(url: string): Client {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  let id = 0;
  const post = (method: string, params: readonly unknown[]) =>
    new Promise<Buffer>((resolve, reject) => {
      const body = JSON.stringify({ jsonrpc: '2.0', id: id++, method, params });
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
      const request = http.request(url, { method: 'POST', agent, headers }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve(Buffer.concat(chunks)));
        response.on('error', reject);
      });
      request.on('error', reject);
      request.end(body);
    });
  return {
    async call<T>(method: string, params: readonly unknown[]) {
      const answer = JSON.parse((await post(method, params)).toString()) as { result: T; error?: { message: string } };
      if (answer.error) throw new Error(`${method}: ${answer.error.message}`);
      return answer.result;
    },
    async bytes(method, params) {
      return (await post(method, params)).length;
    },
    close: () => agent.destroy(),
  };
}

/** A daemon of its own on a state directory. */
export async function startDaemon(directory: string): Promise<{ url: string; pid: number; stop: () => Promise<void> }> {
  const program = fileURLToPath(new URL('../../src/main.js', import.meta.url));
  const options = { 'state-dir': directory, port: '0', log: join(directory, 'log'), 'simulator-memory': '64MiB' };
  const daemon = spawn(process.execPath, [program, ...Object.entries(options).map(([k, v]) => `--${k}=${v}`)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const url = await lineOf(daemon, /^xenferryd listening on (\S+)$/);
  return {
    url,
    pid: daemon.pid as number,
    async stop() {
      await end(daemon);
      const hypervisor = Number(await readFile(join(directory, 'hypervisor.pid'), 'utf8').catch(() => '0'));
      if (hypervisor > 0) await endProcess(hypervisor);
    },
  };
}

/** It outlives its daemon, and is no child of ours. */
async function endProcess(pid: number): Promise<void> {
  try {
    for (;;) {
      process.kill(pid, 'SIGTERM');
      await delay(20);
    }
  } catch {
    // There is no such process any more.
  }
}

/** jayson's own HTTP server with one method, in a process of its own. */
export async function startEcho(): Promise<{ url: string; stop: () => Promise<void> }> {
  const program = `
    import jayson from 'jayson';
    const server = new jayson.Server({ echo: (params, done) => done(null, params[0]) }).http();
    server.listen(0, '127.0.0.1', () => console.log('echo on ' + server.address().port));`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    cwd: fileURLToPath(new URL('../../..', import.meta.url)),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const port = await lineOf(child, /^echo on (\d+)$/);
  return { url: `http://127.0.0.1:${port}/`, stop: () => end(child) };
}

async function lineOf(child: ChildProcess, pattern: RegExp): Promise<string> {
  if (child.stdout === null) throw new Error('the process has no output');
  for await (const line of createInterface({ input: child.stdout })) {
    const found = pattern.exec(line)?.[1];
    if (found !== undefined) {
      child.stdout.resume();
      return found;
    }
  }
  throw new Error('the process ended before it served');
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  await gone;
}
