/** A daemon whose standard output and error take nothing, from its start on. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { createRpcClient } from '../../src/wire/connection/rpc-client.js';
import { eventually } from '../hypervisor/hypervisor-process.js';
import { openSite, type Site } from './daemon.js';

const program = fileURLToPath(new URL('../../src/main.js', import.meta.url));

describe('a daemon whose output nobody takes', function () {
  this.timeout(60_000);
  // An address that nothing else uses, so that the port is known before anything is said.
  const address = `127.${randomInt(1, 255)}.${randomInt(1, 255)}.${randomInt(2, 255)}`;
  const url = `http://${address}:8480`;
  let site: Site;
  let open: number[];
  let child: ChildProcess | undefined;
  beforeEach(() => {
    site = openSite();
    open = [];
  });
  afterEach(async () => {
    if (child?.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    for (const fd of open) fs.closeSync(fd);
    await site.close();
  });

  const keep = (fd: number): number => {
    open.push(fd);
    return fd;
  };
  const fifo = (): { readonly file: string; readonly both: number } => {
    const file = path.join(site.directory, `fifo${open.length}`);
    execFileSync('mkfifo', [file]);
    return { file, both: fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_NONBLOCK) };
  };
  const fill = (fd: number): void => {
    for (const bytes of [4096, 1]) {
      try {
        for (;;) fs.writeSync(fd, Buffer.alloc(bytes, '\n'));
      } catch (error) {
        expect(error).to.have.property('code', 'EAGAIN');
      }
    }
  };
  /** What a stream leads to, as a descriptor or as a redirection of the shell. */
  const places: [what: string, open: () => number | string][] = [
    ['a full device', () => keep(fs.openSync('/dev/full', 'w'))],
    [
      'a full pipe that nobody reads',
      () => {
        const { both } = fifo();
        fill(keep(both));
        return both;
      },
    ],
    [
      'a pipe whose reader has gone',
      () => {
        const { file, both } = fifo();
        const end = keep(fs.openSync(file, 'w'));
        fs.closeSync(both);
        return end;
      },
    ],
    ['nothing, being closed', () => '>&-'],
  ];

  const run = (out: number | string, err: number | string, ...args: string[]): Promise<unknown[]> => {
    const redirections = [out === '>&-' ? '>&-' : '', err === '>&-' ? '2>&-' : ''].join(' ');
    const command = [process.execPath, program, '--config', site.configFile, ...args];
    const stdio = [out, err].map((place) => (typeof place === 'number' ? place : 'ignore'));
    // There is no log of the system.
    const logger = path.join(site.directory, 'logger');
    fs.writeFileSync(logger, '#!/bin/sh\nexec false\n', { mode: 0o755 });
    const env = { ...process.env, PATH: `${site.directory}:${process.env.PATH}` };
    const shell = ['-c', `exec "$@" ${redirections}`, 'sh', ...command];
    child = spawn('sh', shell, { env, stdio: ['ignore', ...stdio] as never });
    return once(child, 'exit');
  };
  const serves = async (): Promise<void> => {
    const client = createRpcClient(`${url}/jsonrpc`);
    try {
      // A host that serves knows no such session.
      await eventually(async () => {
        const error: unknown = await client.call('pool.get_all', ['OpaqueRef:none']).catch((thrown: unknown) => thrown);
        return (error as { code?: string }).code === 'SESSION_INVALID' || undefined;
      });
    } finally {
      client.close();
    }
  };

  for (const [what, place] of places) {
    for (const log of ['file', 'stderr', 'syslog:xenferryd']) {
      it(`serves and ends in order with its log at ${log}, where both are ${what}`, async () => {
        const options = ['--listen-address', address, '--port', '8480', '--loglevel', 'debug'];
        const ended = run(place(), place(), ...options, ...(log === 'file' ? [] : ['--log', log]));
        await serves();
        for (let times = 0; times < 20; times += 1) child?.kill('SIGHUP');
        await serves();
        child?.kill('SIGTERM');
        expect(await ended).to.deep.equal([0, null]);
      });
    }

    it(`ends with status 1 where it cannot start and both are ${what}`, async () => {
      expect(await run(place(), place(), '--port', 'http')).to.deep.equal([1, null]);
    });
  }
});
