import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { emuProgram, emuSupports } from '../../src/backend/emu-manager.js';
import { XapiError } from '../../src/base/errors.js';
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
  const probing = (signal = new AbortController().signal) => ({ environment: {}, stopTimeoutMs: 200, signal });

  it('is the one that comes with xenferry unless a path is configured', () => {
    expect(emuProgram('')[0]).to.equal(process.execPath);
    expect(emuProgram('')[1]).to.match(/\/emu-manager\/main\.js$/);
    expect(emuProgram('/opt/emu-manager')).to.deep.equal(['/opt/emu-manager']);
  });

  const features: [what: string, body: string, supports: boolean][] = [
    ['prints true', 'test "$*" = "-supports compress" && echo true', true],
    ['prints false', 'echo false', false],
    ['prints nothing', 'exit 0', false],
    ['prints true and fails', 'echo true; exit 1', false],
    ['prints more than true', 'echo true enough', false],
    ['does not know the question', 'echo "unknown option" >&2; exit 2', false],
  ];
  for (const [what, body, supports] of features) {
    it(`${supports ? 'supports' : 'does not support'} a feature when it ${what}`, async () => {
      const { program } = await script(body);
      expect(await emuSupports(program, 'compress', probing())).to.equal(supports);
    });
  }

  it('gives up asking when it is told to, and leaves no process', async () => {
    const { program, pid } = await script("trap '' TERM; while :; do sleep 1; done");
    const stop = new AbortController();
    const failure = messageOfFailure(emuSupports(program, 'compress', probing(stop.signal)));
    const running = await pid();
    stop.abort(new XapiError('TASK_CANCELLED', ['OpaqueRef:7']));
    expect(await failure).to.equal('TASK_CANCELLED OpaqueRef:7');
    expect(processExists(running)).to.equal(false);
  });

  it('does not support a feature when it answers without end', async () => {
    const { program } = await script('yes true | head -c 10000000');
    expect(await emuSupports(program, 'compress', probing())).to.equal(false);
  });

  it('does not support a feature when it cannot be started', async () => {
    expect(await emuSupports(['/nowhere/emu-manager'], 'compress', probing())).to.equal(false);
  });

  it('supports compress, and nothing that nobody knows, when it is ours', async () => {
    expect(await emuSupports(emuProgram(''), 'compress', probing())).to.equal(true);
    expect(await emuSupports(emuProgram(''), 'teleport', probing())).to.equal(false);
  });
});
