import { expect } from 'chai';
import { type Handovers, quickHandovers, startHandovers } from './handover.js';

describe('A VM that does not run and is handed over to another pool', function () {
  this.timeout(60_000);
  let handovers: Handovers | undefined;
  afterEach(async function () {
    if (this.currentTest?.state !== 'failed') return;
    await handovers?.stop();
    handovers = undefined;
  });
  after(() => handovers?.stop());

  for (const one of quickHandovers()) {
    it(`is there once, whole and free: ${one.id}`, async () => {
      handovers ??= await startHandovers();
      expect((await handovers.run(one)).problems).to.deep.equal([]);
    });
  }
});
