import { expect } from 'chai';
import { nullLog } from '../../src/base/log.js';
import { type Lab, openLab } from '../emu-manager/harness.js';
import { messageOfFailure, openConnections } from '../wire/connection/connections.js';

describe('running the emu-manager that comes with xenferry', function () {
  this.timeout(30_000);
  const connections = openConnections();
  const done = async () => undefined;
  let lab: Lab;
  beforeEach(async () => {
    lab = await openLab();
  });
  afterEach(async () => {
    connections.close();
    await lab.close();
  });
  const common = () => ({
    ...{ environment: {}, stopTimeoutMs: 200, exitTimeoutMs: 5_000, beforeMemory: done, beforeVgpus: done },
    ...{ signal: new AbortController().signal, log: nullLog, onProgress: () => undefined },
  });

  it('saves a running domain and restores it elsewhere, memory and vGPUs', async () => {
    const from = await lab.createDomain({ vgpus: ['0'] });
    const to = await lab.createDomain({ vgpus: ['0'] });
    await lab.simulator.build(from);
    await lab.simulator.unpause(from, 'once');
    const streams = [await connections.socketPair(), await connections.socketPair()] as const;
    for (const end of streams.flat()) end.setBlocking(true);
    const [memory, vgpu] = streams;
    const helper = lab.simulator.saveHelper();
    const save = helper.save(from, {
      ...{ ...common(), live: true, memory: memory[0], vgpus: [vgpu[0]] },
      onSuspend: () => lab.simulator.pause(from),
    });
    const restore = helper.restore(to, { ...common(), memory: memory[1], vgpus: [vgpu[1]] });
    const [{ statistics }] = await Promise.all([save, restore]);
    expect(statistics.rounds).to.be.above(0);
    expect((await lab.memoryOf(to)).equals(await lab.memoryOf(from))).to.equal(true);
    expect(await lab.info(to)).to.include({ state: 'paused', everRan: false });
  });

  it('fails with its reason where there is no such domain', async () => {
    const [stream] = await connections.socketPair();
    const init = { ...common(), live: true, memory: stream, vgpus: [], onSuspend: done };
    const failure = lab.simulator.saveHelper().save({ instance: 'any', domid: 12_345 }, init);
    expect(await messageOfFailure(failure)).to.match(/emu-manager: .*12345/);
  });
});
