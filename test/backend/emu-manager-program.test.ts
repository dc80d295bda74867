import { expect } from 'chai';
import { emuProgram, runEmuRestore, runEmuSave } from '../../src/backend/emu-manager.js';
import { nullLog } from '../../src/base/log.js';
import { type Lab, openLab } from '../emu-manager/harness.js';
import { messageOfFailure, openConnections } from '../wire/connection/connections.js';

describe('running the emu-manager that comes with xenferry', function () {
  this.timeout(30_000);
  const connections = openConnections();
  const handlers = { live: true, flags: [], onPrepare: async () => undefined, onSuspend: async () => undefined };
  let lab: Lab;
  beforeEach(async () => {
    lab = await openLab();
  });
  afterEach(async () => {
    connections.close();
    await lab.close();
  });
  const common = () => ({
    ...{
      program: emuProgram(''),
      environment: lab.simulator.emuEnvironment(),
      stopTimeoutMs: 200,
      exitTimeoutMs: 5_000,
    },
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
    const save = runEmuSave({
      ...{ ...common(), ...handlers, domid: from.domid, fd: memory[0].fd, vgpus: [{ device: '0', fd: vgpu[0].fd }] },
      onSuspend: () => lab.simulator.pause(from),
    });
    const restore = runEmuRestore({
      ...{ ...common(), domid: to.domid, fd: memory[1].fd, vgpus: [{ device: '0', fd: vgpu[1].fd }] },
      beforeVgpu: async () => undefined,
    });
    const [{ statistics }] = await Promise.all([save, restore]);
    expect(statistics.rounds).to.be.above(0);
    expect((await lab.memoryOf(to)).equals(await lab.memoryOf(from))).to.equal(true);
    expect(await lab.info(to)).to.include({ state: 'paused', everRan: false });
  });

  it('fails with its reason where there is no such domain', async () => {
    const [stream] = await connections.socketPair();
    const failure = runEmuSave({ ...common(), ...handlers, domid: 12_345, fd: stream.fd, vgpus: [] });
    expect(await messageOfFailure(failure)).to.match(/emu-manager: .*12345/);
  });
});
