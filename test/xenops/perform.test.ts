import fs from 'node:fs';
import { expect } from 'chai';
import type { Backend } from '../../src/backend/backend.js';
import { createSimulator, type Simulator } from '../../src/backend/simulator/simulator.js';
import { XapiError } from '../../src/base/errors.js';
import type { Operation } from '../../src/xenops/operations.js';
import { findDomain, perform } from '../../src/xenops/perform.js';
import { makeDirectory, mebibyte, specOf } from '../hypervisor/hypervisor-process.js';
import { captureLog } from '../support/log.js';
import { messageOfFailure } from '../wire/connection/connections.js';

const uuid = 'c0ffee00-0000-4000-8000-000000000001';

describe('performing an operation', () => {
  let directory: string;
  let simulator: Simulator;
  let log: ReturnType<typeof captureLog>;
  beforeEach(async () => {
    directory = makeDirectory();
    log = captureLog();
    simulator = await createSimulator({ stateDir: directory, memoryBytes: 32 * mebibyte, memoryDirs: [directory] });
  });
  afterEach(async () => {
    await simulator.quit();
    fs.rmSync(directory, { recursive: true });
  });
  const start = (paused: boolean, over = {}): Operation => ({ kind: 'start', spec: specOf({ uuid, ...over }), paused });
  const discarded: string[] = [];
  const never = () => Promise.reject(new Error('not of this test'));
  const suspended = { save: never, restore: never, discard: async (vm: string) => void discarded.push(vm) };
  const run = (operation: Operation, backend: Backend = simulator) =>
    perform({ backend, suspended, log: log.log, shutdownTimeoutMs: () => 1000 }, operation);
  const state = async () => (await findDomain(simulator, uuid))?.state;

  it('starts, pauses, unpauses and shuts down', async () => {
    expect(await state()).to.equal(undefined);
    await run(start(false));
    expect(await state()).to.equal('running');
    await run({ kind: 'pause', uuid });
    expect(await state()).to.equal('paused');
    await run({ kind: 'unpause', uuid });
    expect(await state()).to.equal('running');
    await run({ kind: 'shutdown', uuid, clean: true });
    expect(await state()).to.equal(undefined);
    await run(start(true));
    expect(await state()).to.equal('paused');
    await run({ kind: 'shutdown', uuid, clean: false });
    expect(await simulator.list()).to.deep.equal([]);
    expect(await simulator.memory()).to.deep.equal({ total: 32 * mebibyte, free: 32 * mebibyte });
  });

  it('reboots into a new domain, and is halted where that cannot be made', async () => {
    await run(start(false));
    const first = (await findDomain(simulator, uuid))?.handle.domid ?? Number.NaN;
    const reboot: Operation = { kind: 'reboot', spec: specOf({ uuid }), clean: false };
    await run(reboot);
    expect(await findDomain(simulator, uuid)).to.include({ state: 'running' });
    expect((await findDomain(simulator, uuid))?.handle.domid).to.be.above(first);
    for (const step of ['create', 'build', 'unpause'] as const) {
      expect(await messageOfFailure(run(reboot, failingAt(step)))).to.equal(`INTERNAL_ERROR ${step} fails`);
      expect(await simulator.list()).to.deep.equal([]);
      expect(log.messages('error')).to.deep.equal([]);
      await run(start(false));
    }
  });

  it('removes a suspend image when the VM starts, goes on or ends without it', async () => {
    const operations: Operation[] = [
      { kind: 'shutdown', uuid, clean: false },
      start(true),
      { kind: 'unpause', uuid },
      { kind: 'shutdown', uuid, clean: true },
    ];
    for (const operation of operations) {
      discarded.length = 0;
      await run(operation);
      expect(discarded, operation.kind).to.deep.equal([uuid]);
    }
  });

  const refusals: [what: string, before: Operation[], operation: Operation, message: string][] = [
    ['to start what runs', [start(false)], start(false), `VM_BAD_POWER_STATE ${uuid} halted running`],
    ['to start what is paused', [start(true)], start(false), `VM_BAD_POWER_STATE ${uuid} halted paused`],
    ['to pause what is not there', [], { kind: 'pause', uuid }, `VM_BAD_POWER_STATE ${uuid} running halted`],
    [
      'to reboot what is not there',
      [],
      { kind: 'reboot', spec: specOf({ uuid }), clean: false },
      `VM_BAD_POWER_STATE ${uuid} running halted`,
    ],
    ['to suspend what is not there', [], { kind: 'suspend', uuid }, `VM_BAD_POWER_STATE ${uuid} running halted`],
    [
      'to resume what runs',
      [start(false)],
      { kind: 'resume', uuid, paused: false },
      `VM_BAD_POWER_STATE ${uuid} suspended running`,
    ],
    ['to unpause what is not there', [], { kind: 'unpause', uuid }, `VM_BAD_POWER_STATE ${uuid} running halted`],
  ];
  for (const [what, before, operation, message] of refusals) {
    it(`refuses ${what}, and changes nothing`, async () => {
      for (const each of before) await run(each);
      const was = await state();
      expect(await messageOfFailure(run(operation))).to.equal(message);
      expect(await state()).to.equal(was);
    });
  }

  it('has nothing to do to shut down what is not there', async () => {
    await run({ kind: 'shutdown', uuid, clean: true });
    await run({ kind: 'shutdown', uuid, clean: false });
    expect(log.records).to.deep.equal([]);
  });

  it('leaves nothing behind when there is not enough memory', async () => {
    expect(await messageOfFailure(run(start(false, { memoryBytes: 64 * mebibyte })))).to.match(
      /^HOST_NOT_ENOUGH_FREE_MEMORY/,
    );
    expect(await simulator.list()).to.deep.equal([]);
    expect((await simulator.memory()).free).to.equal(32 * mebibyte);
  });

  /** The real back end, except that one step fails. */
  const failingAt = (...steps: (keyof Backend)[]): Backend => ({
    ...simulator,
    ...Object.fromEntries(
      steps.map((step) => [step, () => Promise.reject(new XapiError('INTERNAL_ERROR', [`${step} fails`]))]),
    ),
  });
  const faults: [step: keyof Backend, before: Operation[], operation: Operation, after: string | undefined][] = [
    ['create', [], start(false), undefined],
    ['build', [], start(false), undefined],
    ['unpause', [], start(false), undefined],
    ['shutDownGuest', [start(false)], { kind: 'shutdown', uuid, clean: true }, 'running'],
    ['destroy', [start(false)], { kind: 'shutdown', uuid, clean: true }, 'running'],
    ['destroy', [start(false)], { kind: 'shutdown', uuid, clean: false }, 'running'],
    ['pause', [start(false)], { kind: 'pause', uuid }, 'running'],
    ['unpause', [start(true)], { kind: 'unpause', uuid }, 'paused'],
    ['shutDownGuest', [start(false)], { kind: 'reboot', spec: specOf({ uuid }), clean: true }, 'running'],
    ['destroy', [start(false)], { kind: 'reboot', spec: specOf({ uuid }), clean: true }, 'running'],
  ];
  for (const [step, before, operation, after] of faults) {
    const clean = 'clean' in operation && operation.clean ? ' (clean)' : '';
    it(`undoes what ${operation.kind}${clean} has done when ${step} fails`, async () => {
      for (const each of before) await run(each);
      const free = (await simulator.memory()).free;
      expect(await messageOfFailure(run(operation, failingAt(step)))).to.equal(`INTERNAL_ERROR ${step} fails`);
      expect(await state()).to.equal(after);
      expect((await simulator.memory()).free).to.equal(free);
      await run(operation);
    });
  }

  it('tells of an undo that fails, and fails with the first cause', async () => {
    expect(await messageOfFailure(run(start(false), failingAt('build', 'destroy')))).to.equal(
      'INTERNAL_ERROR build fails',
    );
    expect(log.messages('error')).to.deep.equal(['the undo of create failed']);
  });

  for (const [what, finish] of [
    ['start', start(false)],
    ['shut down', { kind: 'shutdown', uuid, clean: true }],
  ] as const) {
    it(`can ${what} a VM of which a domain was left half made, which goes`, async () => {
      await messageOfFailure(run(start(false), failingAt('build', 'destroy')));
      expect(await state()).to.equal('building');
      const other = await simulator.create(specOf({ uuid: 'c0ffee00-0000-4000-8000-000000000002' }));
      await run(finish);
      expect(await state()).to.equal(what === 'start' ? 'running' : undefined);
      expect((await simulator.list()).filter((domain) => domain.state === 'building')).to.have.length(1);
      await simulator.destroy(other);
    });
  }
});
