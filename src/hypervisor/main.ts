#!/usr/bin/env node
/**
 * The simulated hypervisor: a process that owns domains, so that they outlive a crash or restart of the daemon. SIGTERM and the
 * request `quit` end it, its domains with it; SIGINT and a hang-up do not (SIGHUP opens the log file anew).
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { messageOf } from '../base/errors.js';
import { compileInForeground } from '../base/process/exit-hang.js';
import { takeLock } from '../base/process/lock.js';
import { alreadyRunsStatus, socketPathLimit } from '../base/protocol/hypervisor-protocol.js';
import { createDomains } from './domains.js';
import { openMaterial } from './guest/material.js';
import { openLog } from './log.js';
import { freeBytesOf, openMemoryStore } from './memory.js';
import { createOperations } from './operations.js';
import { type Server, startServer } from './server.js';

const usage = `usage: hypervisor --socket PATH --state DIR --memory BYTES [--memory-dir DIR]... [--log FILE]
  --socket      Unix socket to listen on
  --state       directory of this hypervisor's own; one hypervisor a directory
  --memory      bytes that all domains together may have
  --memory-dir  where guest memory may go, best first (default /dev/shm, then the state directory)
  --log         log file (default hypervisor.log in the state directory)
`;

interface Settings {
  readonly socket: string;
  readonly state: string;
  readonly memory: number;
  readonly memoryDirectories: readonly string[];
  readonly log: string;
}

function readSettings(argv: readonly string[]): Settings {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      socket: { type: 'string' },
      state: { type: 'string' },
      memory: { type: 'string' },
      'memory-dir': { type: 'string', multiple: true },
      log: { type: 'string' },
    },
  });
  const { socket, state, memory } = values;
  if (socket === undefined || state === undefined || memory === undefined) {
    throw new Error('--socket, --state and --memory are needed');
  }
  if (Buffer.byteLength(socket) > socketPathLimit) {
    throw new Error(`--socket ${socket}: a socket's path has at most ${socketPathLimit} bytes`);
  }
  if (!/^[0-9]+$/.test(memory)) throw new Error(`--memory ${memory}: a whole number of bytes is needed`);
  return {
    socket: path.resolve(socket),
    state: path.resolve(state),
    memory: Number(memory),
    memoryDirectories: [...new Set((values['memory-dir'] ?? ['/dev/shm', state]).map((each) => path.resolve(each)))],
    log: path.resolve(values.log ?? path.join(state, 'hypervisor.log')),
  };
}

async function run(settings: Settings): Promise<void> {
  process.umask(0o077);
  fs.mkdirSync(settings.state, { recursive: true });
  const lock = takeLock('hypervisor', settings.state);
  if (lock === undefined) {
    process.stderr.write(`hypervisor: one runs on ${settings.state} already\n`);
    process.exit(alreadyRunsStatus);
  }
  const log = openLog(settings.log);
  const instance = randomBytes(8).toString('hex');
  const store = openMemoryStore({
    directories: settings.memoryDirectories,
    total: settings.memory,
    instance,
    stateDirectory: settings.state,
    freeBytes: freeBytesOf,
    log: log.write,
  });
  let server: Server | undefined;
  const domains = createDomains({
    ...{ instance, store, material: openMaterial(), log: log.write },
    notify: (notification) => server?.notify(notification),
  });
  const pidFile = path.join(settings.state, 'hypervisor.pid');
  const end = (why: string, status = 0): void => {
    try {
      log.write(`ends: ${why}`);
      domains.close();
      for (const file of [settings.socket, pidFile]) fs.rmSync(file, { force: true });
      lock.release();
    } catch (error) {
      log.write(`does not end in order: ${messageOf(error)}`);
    } finally {
      process.exit(status);
    }
  };
  process.on('SIGTERM', () => end('SIGTERM'));
  process.on('SIGINT', () => log.write('SIGINT is ignored; SIGTERM ends the domains'));
  process.on('SIGHUP', () => {
    try {
      log.reopen();
    } catch (error) {
      log.write(`the log goes on in its old file: ${messageOf(error)}`);
    }
  });
  // The hypervisor's state cannot be trusted after that. For the daemon its end is a loss of power.
  process.on('uncaughtException', (error) => end(`an error that nobody has caught: ${error.stack}`, 1));
  server = await startServer({
    ...{ socketPath: settings.socket, instance, log: log.write, operations: createOperations(domains) },
    quit: () => end('quit'),
  }).catch((error: unknown) => {
    domains.close();
    throw error;
  });
  fs.writeFileSync(pidFile, `${process.pid}\n`);
  log.write(`instance ${instance}, pid ${process.pid}, ${settings.memory} bytes for domains, at ${settings.socket}`);
}

compileInForeground();
try {
  await run(readSettings(process.argv.slice(2)));
} catch (error) {
  process.stderr.write(`hypervisor: ${messageOf(error)}\n${usage}`);
  process.exit(2);
}
