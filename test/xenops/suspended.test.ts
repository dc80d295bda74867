import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { Backend } from '../../src/backend/backend.js';
import type { EmuProgram } from '../../src/backend/emu-manager.js';
import type { Simulator } from '../../src/backend/simulator/simulator.js';
import { nullLog } from '../../src/base/log.js';
import type { SimulatedDomain } from '../../src/base/protocol/hypervisor-protocol.js';
import { openStore, type Store } from '../../src/base/store/store.js';
import { type Operation, vmOf } from '../../src/xenops/operations.js';
import { findDomain, perform } from '../../src/xenops/perform.js';
import { createSuspended, type Suspended } from '../../src/xenops/suspended.js';
import { type Lab, openLab } from '../emu-manager/harness.js';
import { fullWhile } from '../support/full-store.js';
import { testDomain } from '../support/hosts.js';
import { testLimits } from '../support/limits.js';
import { helperBy } from '../support/save-helper.js';
import { messageOfFailure } from '../wire/connection/connections.js';

const uuid = 'ca11ab1e-0000-4000-8000-000000000001';

describe('a suspended VM', function () {
  this.timeout(60_000);
  let lab: Lab;
  let simulator: Simulator;
  let store: Store;
  let suspended: Suspended;
  let folder: string;
  before(async () => {
    lab = await openLab();
    simulator = lab.simulator;
    store = openStore(path.join(lab.directory, 'db'));
    folder = path.join(lab.directory, 'suspend');
  });
  beforeEach(() => {
    suspended = open();
  });
  afterEach(async () => {
    await suspended.close();
    await run({ kind: 'shutdown', uuid, clean: false }, open());
    rmSync(folder, { recursive: true, force: true });
  });
  after(async () => {
    await store.close();
    await lab.close();
  });

  /** As a daemon that has just begun has it. */
  const open = (backend: Backend = simulator, by = store): Suspended =>
    createSuspended({ backend, store: by, directory: folder, log: nullLog, limits: () => testLimits });
  /** The back end with another program to save and restore. */
  const savingBy = (program: EmuProgram): Backend => ({
    ...simulator,
    saveHelper: () => helperBy(program),
  });
  const run = (operation: Operation, by = suspended) =>
    perform({ backend: simulator, suspended: by, log: nullLog, shutdownTimeoutMs: () => 1000 }, operation);
  const spec = (vgpus: readonly string[] = []) => testDomain({ uuid, vgpus, memoryBytes: 16 << 20 });
  const start = async (vgpus: readonly string[] = []): Promise<SimulatedDomain> => {
    await run({ kind: 'start', spec: spec(vgpus), paused: false });
    while ((await domain()).pagesWritten < 100) await delay(5);
    return domain();
  };
  const domain = async (): Promise<SimulatedDomain> => (await findDomain(simulator, uuid)) as SimulatedDomain;
  const suspend: Operation = { kind: 'suspend', uuid };
  const resume = (paused = false): Operation => ({ kind: 'resume', uuid, paused });
  const files = (): string[] => (existsSync(folder) ? readdirSync(folder).sort() : []);

  for (const vgpus of [[], ['0', '3']]) {
    it(`has its memory in files, and goes on from there, with ${vgpus.length} vGPUs`, async () => {
      const before = await start(vgpus);
      const free = (await simulator.memory()).free;
      await run(suspend);
      expect(await simulator.list()).to.deep.equal([]);
      expect((await simulator.memory()).free).to.equal(free + (16 << 20));
      expect(suspended.list()).to.deep.equal([uuid]);
      expect(files()).to.deep.equal(
        ['memory', ...vgpus.map((device) => `vgpu-${device}`)].map((part) => `${uuid}.${part}`),
      );
      for (const name of files()) expect(statSync(path.join(folder, name)).mode & 0o777).to.equal(0o600);
      await run(resume(true));
      const paused = await domain();
      expect(paused).to.deep.include({ state: 'paused', everRan: false, vgpus });
      expect(paused.handle.domid).to.be.above(before.handle.domid);
      expect(paused.ticks).to.be.at.least(before.ticks);
      expect((await simulator.verify(paused.handle)).badPages).to.equal(0);
      expect([suspended.list(), files()]).to.deep.equal([[], []]);
      await run({ kind: 'unpause', uuid });
      while ((await domain()).ticks <= paused.ticks) await delay(5);
      expect((await simulator.verify(paused.handle)).badPages).to.equal(0);
    });
  }

  it('has the very memory that it had', async () => {
    await start();
    await run({ kind: 'pause', uuid });
    const { handle } = await domain();
    await simulator.armDigest(handle);
    const digest = await simulator.digest(handle);
    await run(suspend);
    await run(resume(true));
    const { handle: restored } = await domain();
    await simulator.armDigest(restored);
    expect(await simulator.digest(restored)).to.equal(digest);
  });

  it('is still there for the next daemon, which removes what nobody knows', async () => {
    await start();
    await run(suspend);
    await suspended.close();
    writeFileSync(path.join(folder, 'ffffffff-0000-4000-8000-000000000001.memory'), '');
    suspended = open();
    await suspended.recover();
    expect([suspended.list(), files()]).to.deep.equal([[uuid], [`${uuid}.memory`]]);
    await run(resume());
    expect(await domain()).to.include({ state: 'running' });
  });

  it('is halted when it is shut down, and its memory is gone', async () => {
    await start();
    await run(suspend);
    await run({ kind: 'shutdown', uuid, clean: false });
    expect([suspended.list(), files()]).to.deep.equal([[], []]);
    expect(await messageOfFailure(run(resume()))).to.equal(`VM_HAS_NO_SUSPEND_VDI ${uuid}`);
  });

  it('stays suspended when it cannot be resumed', async () => {
    await start();
    await run(suspend);
    const broken = open(savingBy(['/bin/false']));
    expect(await messageOfFailure(run(resume(), broken))).to.match(/emu-manager/);
    const { free } = await simulator.memory();
    await simulator.reserve('all', free - 4096);
    expect(await messageOfFailure(run(resume()))).to.match(/^HOST_NOT_ENOUGH_FREE_MEMORY/);
    await simulator.release('all');
    expect(await simulator.list()).to.deep.equal([]);
    expect(suspended.list()).to.deep.equal([uuid]);
    await run(resume());
    expect((await simulator.verify((await domain()).handle)).badPages).to.equal(0);
  });

  it('runs on when it cannot be suspended, and leaves no files', async () => {
    const { handle } = await start();
    const broken = open(savingBy(['/bin/false']));
    expect(await messageOfFailure(run(suspend, broken))).to.match(/emu-manager/);
    expect(await domain()).to.deep.include({ state: 'running', handle });
    expect([suspended.list(), files()]).to.deep.equal([[], []]);
    await simulator.markInDoubt(handle, 'a test');
    expect(await messageOfFailure(run(suspend))).to.match(/^OPERATION_NOT_ALLOWED suspend: .* is in doubt: a test$/);
    await simulator.markInDoubt(handle, undefined);
  });

  it('runs on and leaves no files where its image has left no room for the row that says that it is whole', async () => {
    const { handle } = await start();
    const full = fullWhile(store, () => files().length > 0);
    expect(await messageOfFailure(run(suspend, open(simulator, full)))).to.equal('OUT_OF_SPACE /db');
    expect(await domain()).to.deep.include({ state: 'running', handle });
    expect([suspended.list(), files()]).to.deep.equal([[], []]);
    await run(suspend);
    expect(suspended.list()).to.deep.equal([uuid]);
  });

  it('is shut down where it is itself what leaves no room for a row', async () => {
    await start();
    await run(suspend);
    await run(
      { kind: 'shutdown', uuid, clean: false },
      open(
        simulator,
        fullWhile(store, () => files().length > 0),
      ),
    );
    expect([suspended.list(), files()]).to.deep.equal([[], []]);
  });

  it('runs on when the daemon stops in the middle', async () => {
    await start();
    // A helper that says nothing.
    const slow = open(savingBy(['/bin/sh', '-c', 'exec sleep 60']));
    const failure = messageOfFailure(run(suspend, slow));
    while (files().length === 0) await delay(2);
    await slow.close();
    expect(await failure).to.match(/the daemon of the host stops/);
    expect(await domain()).to.include({ state: 'running' });
    expect(files()).to.deep.equal([]);
  });

  describe('after a daemon that was killed', () => {
    /** What a killed daemon leaves: this instant of the store, and everything after it undone by nobody. */
    const rows = () => store.table<Record<string, unknown>>('suspended');

    it('while it saved: the VM goes on', async () => {
      const { handle } = await start();
      await run({ kind: 'pause', uuid });
      await rows().put(uuid, { uuid, handle, state: 'saving', wasRunning: true, spec: spec() });
      await suspended.recover();
      expect(await domain()).to.include({ state: 'running' });
      expect([suspended.list(), files()]).to.deep.equal([[], []]);
    });

    it('before the domain was gone: the VM is suspended', async () => {
      const { handle } = await start();
      await suspended.save(await domain());
      expect(await domain()).to.deep.include({ state: 'paused', handle });
      await suspended.recover();
      expect(await simulator.list()).to.deep.equal([]);
      expect(suspended.list()).to.deep.equal([uuid]);
      await run(resume());
    });

    it('before the restored domain ran: the VM is suspended', async () => {
      await start();
      await run(suspend);
      await suspended.restore(uuid);
      await suspended.recover();
      expect(await simulator.list()).to.deep.equal([]);
      expect(suspended.list()).to.deep.equal([uuid]);
    });

    it('after the restored domain ran: the VM runs', async () => {
      await start();
      await run(suspend);
      const handle = await suspended.restore(uuid);
      await simulator.unpause(handle, 'go');
      await suspended.recover();
      expect(await domain()).to.deep.include({ state: 'running', handle });
      expect([suspended.list(), files()]).to.deep.equal([[], []]);
    });
  });

  it('gives its lane as every operation does', () => {
    expect([vmOf(suspend), vmOf(resume())]).to.deep.equal([uuid, uuid]);
  });
});
