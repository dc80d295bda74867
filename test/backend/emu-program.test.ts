import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { type EmuProgram, emuProgram } from '../../src/backend/emu-manager.js';
import type { AskInit } from '../../src/backend/save-helper.js';
import { XapiError } from '../../src/base/errors.js';
import { emuFeatures } from '../../src/base/protocol/emu-protocol.js';
import { helperBy } from '../support/save-helper.js';
import { scriptsIn } from '../support/scripts.js';
import { messageOfFailure, processExists } from '../wire/connection/connections.js';

describe('an emu-manager program', function () {
  this.timeout(30_000);
  let directory: string;
  before(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'xenferry-program-'));
  });
  after(() => rm(directory, { recursive: true }));
  const script = scriptsIn(() => directory);
  const supports = (program: EmuProgram, init: AskInit) => helperBy(program).supports('compress', init);
  const probing = (signal = new AbortController().signal) => ({ environment: {}, stopTimeoutMs: 200, signal });

  it('is the one that comes with xenferry unless a path is configured', () => {
    expect(emuProgram('')[0]).to.equal(process.execPath);
    expect(emuProgram('')[1]).to.match(/\/emu-manager\/main\.js$/);
    expect(emuProgram('/opt/emu-manager')).to.deep.equal(['/opt/emu-manager']);
  });

  const features: [what: string, body: string, expected: boolean][] = [
    ['prints true', 'test "$*" = "-supports compress" && echo true', true],
    ['prints false', 'echo false', false],
    ['prints nothing', 'exit 0', false],
    ['prints true and fails', 'echo true; exit 1', false],
    ['prints more than true', 'echo true enough', false],
    ['does not know the question', 'echo "unknown option" >&2; exit 2', false],
  ];
  for (const [what, body, expected] of features) {
    it(`${expected ? 'supports' : 'does not support'} a feature when it ${what}`, async () => {
      const { program } = await script(body);
      expect(await supports(program, probing())).to.equal(expected);
    });
  }

  it('gives up asking when it is told to, and leaves no process', async () => {
    const { program, pid } = await script("trap '' TERM; while :; do sleep 1; done");
    const stop = new AbortController();
    const failure = messageOfFailure(supports(program, probing(stop.signal)));
    const running = await pid();
    stop.abort(new XapiError('TASK_CANCELLED', ['OpaqueRef:7']));
    expect(await failure).to.equal('TASK_CANCELLED OpaqueRef:7');
    expect(processExists(running)).to.equal(false);
  });

  it('does not support a feature when it answers without end', async () => {
    const { program } = await script('yes true | head -c 10000000');
    expect(await supports(program, probing())).to.equal(false);
  });

  it('does not support a feature when it cannot be started', async () => {
    expect(await supports(['/nowhere/emu-manager'], probing())).to.equal(false);
  });

  it('supports compress when it is ours', async () => {
    expect(await supports(emuProgram(''), probing())).to.equal(true);
  });

  for (const [answers, formats] of [
    [[], []],
    [['compress'], ['inline-zstd/2']],
    [
      ['compress', 'compress_format'],
      ['inline-zstd/3', 'inline-zstd/2'],
    ],
    [
      ['compress', 'compress_vgpu'],
      ['inline-zstd/2', 'inline-zstd-vgpu/1'],
    ],
    [['compress_format', 'compress_vgpu'], []],
    [emuFeatures, ['inline-zstd/3', 'inline-zstd/2', 'inline-zstd-vgpu/1']],
  ] as const) {
    it(`restores [${formats}] where it supports [${answers}]`, async () => {
      const { program } = await script(
        `for each in ${answers.join(' ')}; do test "$2" = $each && echo true; done; exit 0`,
      );
      expect(await helperBy(program).readable(probing())).to.deep.equal(formats);
    });
  }
});
