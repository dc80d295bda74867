import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { compareFiles, runPipeline } from '../../../scripts/bench/pipeline.js';

const here = { address: '127.0.0.1', enter: [] };

describe('the bare pipeline', () => {
  let directory: string;
  const signal = new AbortController().signal;
  const at = (name: string) => join(directory, name);
  const content = Buffer.alloc(5 * 2 ** 20, 'what a guest holds, ');

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'xenferry-pipeline-'));
    await writeFile(at('image'), content);
  });
  afterEach(() => rm(directory, { recursive: true }));

  it('brings all bytes to the other side, and counts them', async () => {
    await writeFile(at('copy'), 'of an earlier round, and not of this one');
    const used = await runPipeline('cat', { image: at('image'), copy: at('copy'), places: [here, here], signal });
    expect(used.wireBytes).to.equal(content.length);
    expect(used.cpuSeconds).to.be.at.least(0);
    expect((await readFile(at('copy'))).equals(content)).to.equal(true);
    await compareFiles(at('image'), at('copy'));
  });

  it('says which side failed', async () => {
    const places = [here, { ...here, enter: ['env', '--unset=HOME', 'false'] }] as const;
    const init = { image: at('image'), copy: at('copy'), places, signal };
    const error = await runPipeline('cat', init).then(
      () => undefined,
      (failure: Error) => failure,
    );
    expect(error?.message).to.match(/^env --unset=HOME false bash .* exit status 1$/);
    expect(existsSync(at('copy'))).to.equal(false);
  });

  const damage: readonly [what: string, content: Buffer][] = [
    ['another byte', Buffer.concat([content.subarray(1), Buffer.from('!')])],
    ['a missing end', content.subarray(0, -1)],
    ['more than was sent', Buffer.concat([content, Buffer.from('!')])],
  ];
  for (const [what, copy] of damage) {
    it(`sees ${what} in what came`, async () => {
      await writeFile(at('copy'), copy);
      const error = await compareFiles(at('image'), at('copy')).catch((failure: Error) => failure);
      expect(error?.message).to.equal(`${at('copy')} is not what was sent`);
    });
  }
});
