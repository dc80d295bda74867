import { expect } from 'chai';
import { type BusyHosts, quickBusy, startBusyHosts } from './busy.js';

describe('A VM with which a host is busy when daemons are killed', function () {
  this.timeout(60_000);
  let hosts: BusyHosts | undefined;
  afterEach(async function () {
    if (this.currentTest?.state !== 'failed') return;
    await hosts?.stop();
    hosts = undefined;
  });
  after(() => hosts?.stop());

  for (const one of quickBusy()) {
    it(`is held, and then is what its host has made of it: ${one.id}`, async () => {
      hosts ??= await startBusyHosts();
      const { problems, logs } = await hosts.run(one);
      expect(problems, logs.join('\n')).to.deep.equal([]);
    });
  }
});
