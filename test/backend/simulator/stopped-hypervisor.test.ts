import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { createSimulator, type Simulator } from '../../../src/backend/simulator/simulator.js';
import type { DomainHandle } from '../../../src/base/domain.js';
import { eventually, failureOf, makeDirectory, mebibyte, specOf } from '../../hypervisor/hypervisor-process.js';

describe('a hypervisor that is stopped', function () {
  this.timeout(30_000);
  let stateDir: string;
  let simulator: Simulator;
  let handle: DomainHandle;
  let timeoutMs: number;
  let pid: number;
  const open = () =>
    createSimulator({ stateDir, memoryBytes: 64 * mebibyte, memoryDirs: [stateDir], timeoutMs: () => timeoutMs });
  beforeEach(async () => {
    stateDir = makeDirectory();
    timeoutMs = 10_000;
    simulator = await open();
    handle = await simulator.create(specOf());
    await simulator.build(handle);
    pid = Number(fs.readFileSync(path.join(stateDir, 'hypervisor.pid'), 'utf8'));
    process.kill(pid, 'SIGSTOP');
    timeoutMs = 50;
  });
  const goOn = () => {
    timeoutMs = 10_000;
    process.kill(pid, 'SIGCONT');
  };
  afterEach(async () => {
    goOn();
    await simulator.quit();
    fs.rmSync(stateDir, { recursive: true });
  });
  const uuids = async () => (await simulator.list()).map(({ uuid }) => uuid);

  const requests: [name: string, ask: () => Promise<unknown>, op: string][] = [
    ['list', () => simulator.list(), 'list'],
    ['memory', () => simulator.memory(), 'memory'],
    ['reserve', () => simulator.reserve('key', 4096), 'reserve'],
    ['create', () => simulator.create(specOf({ uuid: 'late' })), 'create'],
    ['pause', () => simulator.pause(handle), 'pause'],
    ['pause with a time of its own', () => simulator.pause(handle, 20), 'pause'],
    ['unpause', () => simulator.unpause(handle, 'once'), 'unpause'],
    ['destroyUnlessRan', () => simulator.destroyUnlessRan(handle), 'destroy_unless_ran'],
    ['markInDoubt', () => simulator.markInDoubt(handle, 'why'), 'mark_in_doubt'],
  ];
  for (const [name, ask, op] of requests) {
    it(`fails ${name} in time, naming the request, and the connection goes on when it does`, async () => {
      const { code, params } = await failureOf(ask());
      expect(code).to.equal('INTERNAL_ERROR');
      expect(params.join()).to.match(new RegExp(`^no answer of the hypervisor to ${op} within 0\\.0[25] s$`));
      goOn();
      expect(await uuids()).to.be.an('array');
    });
  }

  it('has done what it was asked when it goes on, in order, and a late unpause is the same as its repetition', async () => {
    await failureOf(simulator.unpause(handle, 'once'));
    await failureOf(simulator.pause(handle));
    await failureOf(simulator.unpause(handle, 'once'));
    goOn();
    const [domain] = await simulator.list();
    expect(domain).to.include({ state: 'paused', everRan: true });
  });

  it('leaves no domain of which nobody was told', async () => {
    const gone: string[] = [];
    simulator.onDomainChange((change) => {
      if ('gone' in change) gone.push(change.gone);
    });
    await failureOf(simulator.create(specOf({ uuid: 'late' })));
    goOn();
    await eventually(() => gone.includes('late') || undefined);
    expect(await uuids()).to.deep.equal([specOf().uuid]);
  });

  it('promises no memory of which nobody was told', async () => {
    await failureOf(simulator.reserve('late', mebibyte));
    goOn();
    const { total } = await simulator.memory();
    const left = total - specOf().memoryBytes;
    await eventually(async () => ((await simulator.memory()).free === left ? true : undefined));
    expect(await simulator.memory()).to.include({ total, free: left });
  });

  it('cannot be attached to, and says so', async () => {
    const { params } = await failureOf(open());
    expect(params.join()).to.contain('no answer of the hypervisor to attach within 0.05 s');
    goOn();
    // The late attachment counts: the newest daemon is the one that is served.
    await simulator.close();
    simulator = await open();
    expect(await uuids()).to.have.length(1);
  });
});
