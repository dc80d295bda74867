import { expect } from 'chai';
import { qemuProgram } from '../backend/qemu/memtest.js';
import { allCases, type Case } from './cases.js';
import { type Bench, startBench } from './sweep.js';

/** Each process once where its loss is worst, a channel that breaks and one that lies, and each compressor. */
const names = [
  'none, source prepare: kill -9 source qemu',
  'stream, destination copy: kill -9 destination qemu',
  'xenguest, source last round: kill -9 source emu-manager',
  'none, source suspend: kill -9 destination emu-manager',
  'stream, source copy: kill -9 source zstd',
  'none, source 3: kill -9 destination daemon',
  'xenguest, source 3: kill -9 source daemon',
  'stream, destination taken: kill -9 source qemu',
  'none, source copy: memory channel reset',
  'xenguest, source copy: memory stream flip',
];

(qemuProgram === undefined ? describe.skip : describe)(
  'A migration of QEMU that is broken on purpose (needs QEMU 9 and memtest86+)',
  function () {
    this.timeout(90_000);
    let bench: Bench | undefined;
    afterEach(async function () {
      if (this.currentTest?.state !== 'failed') return;
      await bench?.stop();
      bench = undefined;
    });
    after(() => bench?.stop());

    for (const id of names) {
      it(`loses and doubles nothing: ${id}`, async () => {
        bench ??= await startBench(false, 'qemu');
        const one = allCases('qemu').find((each) => each.id === id) as Case;
        const { problems, logs, ended } = await bench.run(one);
        expect(problems, [ended, ...logs].join('\n')).to.deep.equal([]);
      });
    }
  },
);
