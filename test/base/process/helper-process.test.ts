import { execFileSync } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { expect } from 'chai';
import { type Command, startHelper } from '../../../src/base/process/helper-process.js';

const settings = { environment: {}, stopTimeoutMs: 1_000 };

describe('A helper that cannot be started', () => {
  const rows: [what: string, command: Command, how: RegExp][] = [
    ['as there is no such program', ['/nowhere/program'], /^cannot be started: spawn \/nowhere\/program ENOENT$/],
    ['as it is no program', ['/dev/null'], /^cannot be started: spawn \/dev\/null EACCES$/],
    ['as no program can be so named', ['a\0b'], /^cannot be started: .*null bytes/],
  ];
  for (const [what, command, how] of rows) {
    it(`${what} says so, and its pipes are at their end`, async () => {
      const helper = startHelper(command, ['ignore', 'pipe', 'pipe', 3], settings);
      const chunks = await (helper.stdio[1] as Duplex).toArray();
      const { pid, ended, stop } = helper;
      await stop();
      expect({ pid, chunks, streams: helper.stdio.length }).to.deep.equal({ pid: undefined, chunks: [], streams: 4 });
      expect((await ended).how).to.match(how);
    });
  }

  it('as there are no descriptors says so, and ends nobody', () => {
    const module = new URL('../../../src/base/process/helper-process.js', import.meta.url).href;
    const script = `
      import fs from 'node:fs';
      import { startHelper } from '${module}';
      try { for (;;) fs.openSync('/dev/null'); } catch {}
      const helper = startHelper(['true'], ['ignore', 'pipe', 'pipe'], ${JSON.stringify(settings)});
      helper.stdio[1].on('data', () => {});
      const { how } = await helper.ended;
      fs.writeSync(1, how);`;
    const args = ['--nofile=64:64', process.execPath, '--input-type=module', '--eval', script];
    expect(execFileSync('prlimit', args, { encoding: 'utf8' })).to.equal('cannot be started: spawn true EMFILE');
  });
});
