import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { connectHypervisor } from '../../../src/backend/simulator/client.js';
import { socketPathOf } from '../../../src/backend/simulator/program.js';
import { createSimulator, type Simulator } from '../../../src/backend/simulator/simulator.js';
import type { DomainHandle } from '../../../src/base/domain.js';
import type { SimulatedDomain } from '../../../src/base/protocol/hypervisor-protocol.js';
import { describeBackend } from '../../contract/backend.js';
import type { BackendUnderTest } from '../../contract/subject.js';
import { eventually, failureOf, makeDirectory, mebibyte, specOf } from '../../hypervisor/hypervisor-process.js';

async function makeSimulator(memoryBytes: number): Promise<BackendUnderTest> {
  const stateDir = makeDirectory();
  const backend = await createSimulator({ stateDir, memoryBytes, memoryDirs: [stateDir] });
  const dispose = async (): Promise<void> => {
    await backend.quit();
    fs.rmSync(stateDir, { recursive: true });
  };
  const ticksOf = async ({ domid }: DomainHandle) =>
    (await backend.list()).find(({ handle }) => handle.domid === domid)?.ticks ?? 0;
  return {
    backend,
    dispose,
    specOf: (uuid, bytes) => specOf({ uuid, memoryBytes: bytes }),
    async untilWritten(handle) {
      const before = await ticksOf(handle);
      await eventually(async () => (await ticksOf(handle)) >= before + 5 || undefined);
    },
  };
}

describeBackend('simulator', { domainBytes: 8 * mebibyte, overheadBytes: 0, make: makeSimulator });

describe('the simulator', () => {
  let stateDir: string;
  const open: Simulator[] = [];
  const create = async (): Promise<Simulator> => {
    const simulator = await createSimulator({ stateDir, memoryBytes: 64 * mebibyte, memoryDirs: [stateDir] });
    open.push(simulator);
    return simulator;
  };
  const hypervisorPid = (): number => Number(fs.readFileSync(path.join(stateDir, 'hypervisor.pid'), 'utf8'));
  const boot = async (simulator: Simulator, uuid: string): Promise<void> => {
    const handle = await simulator.create(specOf({ uuid }));
    await simulator.build(handle);
    await simulator.unpause(handle, 'one');
  };
  beforeEach(() => {
    stateDir = makeDirectory();
  });
  afterEach(async () => {
    for (const simulator of open.splice(0)) await simulator.close();
    await (await createSimulator({ stateDir, memoryBytes: 0, memoryDirs: [stateDir] })).quit();
    fs.rmSync(stateDir, { recursive: true });
  });

  it('finds its domains running again after it was closed', async () => {
    const first = await create();
    await boot(first, 'a');
    await first.close();
    const [domain] = await (await create()).list();
    expect(domain).to.include({ uuid: 'a', state: 'running' });
  });

  it('takes a memory directory that is named twice as one, as where the tmpfs is too small', async () => {
    const memoryDirs = [stateDir, path.join(stateDir, '.')];
    const simulator = await createSimulator({ stateDir, memoryBytes: 64 * mebibyte, memoryDirs });
    open.push(simulator);
    await boot(simulator, 'a');
    expect(await simulator.list()).to.have.length(1);
  });

  it('listens for an emu-manager in its state directory', async () => {
    const simulator = await create();
    await boot(simulator, 'a');
    const helper = await connectHypervisor(socketPathOf(stateDir), 'helper');
    expect((await helper.call('list', {})).result).to.have.length(1);
    await helper.close();
  });

  it('keeps one hypervisor when two are made at once', async () => {
    await Promise.allSettled([create(), create()]);
    const served = await Promise.allSettled(open.map((simulator) => simulator.list()));
    expect(served.filter(({ status }) => status === 'fulfilled')).to.have.length(1);
  });

  it('is refused everything once a newer daemon has attached', async () => {
    const older = await create();
    const newer = await create();
    expect((await failureOf(older.list())).params.join()).to.contain('newer daemon');
    expect(await newer.list()).to.deep.equal([]);
  });

  it('says that its domains are gone when the hypervisor is lost, and goes on with a new one', async () => {
    const simulator = await create();
    await boot(simulator, 'a');
    const [{ handle }] = (await simulator.list()) as [SimulatedDomain];
    const gone: string[] = [];
    simulator.onDomainChange((change) => 'gone' in change && gone.push(change.gone));
    process.kill(hypervisorPid(), 'SIGKILL');
    await eventually(() => gone.length > 0 || undefined);
    expect(gone).to.deep.equal(['a']);
    expect(await simulator.list()).to.deep.equal([]);
    await simulator.destroy(handle);
    expect((await failureOf(simulator.unpause(handle, 'two'))).code).to.equal('HANDLE_INVALID');
    await boot(simulator, 'a');
  });

  it('fails a request that waits when the hypervisor is lost', async () => {
    const simulator = await create();
    const handle = await simulator.create(specOf({ memoryBytes: 48 * mebibyte }));
    const failure = failureOf(simulator.build(handle));
    await simulator.memory();
    process.kill(hypervisorPid(), 'SIGKILL');
    expect((await failure).params.join()).to.contain('is lost');
  });

  for (const signal of ['SIGKILL', 'SIGINT'] as const) {
    it(`leaves its domains running when the process that made them gets ${signal}, with all of its group`, async () => {
      const program = fileURLToPath(new URL('./simulator-owner.js', import.meta.url));
      const owner = spawn(process.execPath, [program, stateDir, stateDir], {
        ...{ detached: true, stdio: ['ignore', 'pipe', 'pipe'] },
      });
      await once(owner.stdout, 'data');
      const exit = once(owner, 'exit');
      process.kill(-(owner.pid as number), signal);
      await exit;
      const simulator = await create();
      const [before] = await simulator.list();
      expect(before).to.include({ uuid: 'survivor', state: 'running' });
      const after = await eventually(async () =>
        (await simulator.list()).find(({ ticks }) => ticks > (before?.ticks ?? 0)),
      );
      expect((await simulator.verify(after.handle)).badPages).to.equal(0);
    });
  }

  it('refuses a state directory whose path is too long for a socket', async () => {
    const long = path.join(stateDir, 'x'.repeat(100));
    const { code, params } = await failureOf(createSimulator({ stateDir: long, memoryBytes: 0 }));
    expect(code).to.equal('INVALID_VALUE');
    expect(params.join()).to.contain('107 bytes');
  });

  it('says where to look when the hypervisor cannot be started', async () => {
    const broken = path.join(stateDir, 'broken');
    const failure = await failureOf(createSimulator({ stateDir: broken, memoryBytes: 0, memoryDirs: ['/nowhere'] }));
    expect(failure.params.join()).to.contain('status 2').and.to.contain(path.join(broken, 'hypervisor.log'));
    expect(fs.readFileSync(path.join(broken, 'hypervisor.log'), 'utf8')).to.contain('/nowhere');
  });

  it('is refused after it was closed', async () => {
    const simulator = await create();
    await simulator.close();
    expect((await failureOf(simulator.list())).params.join()).to.contain('closed');
  });
});
