import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import { toXapiError, XapiError } from '../../../src/base/errors.js';
import type { CopyFigures, MigrateRequest } from '../../../src/host/service/service.js';
import type { OpenTask } from '../../../src/model/dispatch-deps.js';
import { gib, report } from '../fake-host.js';
import type { Fixture } from '../fixture.js';
import { openMigrationLab, requestTo } from './migration-lab.js';

const figures: CopyFigures = {
  ...{ round: 2, pagesLeft: 70, pagesPerSecond: 90_000, dirtyPagesPerSecond: 400, expectedDowntimeMs: 51 },
  ...{ throttlePercent: 20, level: '-2/1' },
};
/** The same in the task. */
const shownFigures = {
  rounds: '2',
  pages_left: '70',
  pages_per_second: '90000',
  dirty_pages_per_second: '400',
  expected_downtime_ms: '51',
  guest_throttle: '20',
  compression_level: '-2/1',
};

describe('VM.pool_migrate', () => {
  let f: Fixture;
  let hostB: Ref<'host'>;
  let vm: Ref<'VM'>;
  beforeEach(async () => {
    ({ f, hostB, vm } = await openMigrationLab());
  });
  afterEach(() => f.close());

  const row = () => f.pool.db.get('VM', vm);
  const begin = (options: Record<string, string> = {}, host = hostB, task = f.task()) => {
    const call = f.pool.dispatch.handlers.VM.pool_migrate(f.context(task), vm, host, options);
    return { task, call: Promise.resolve(call) };
  };
  /** What the hosts do when a migration from a to b takes. */
  const take = (request: MigrateRequest): void => {
    f.b.domain(request.uuid, 'running');
    f.a.domain(request.uuid, undefined);
    f.a.end(request.migrationId, { status: 'success', report });
  };
  const taskRow = (task: OpenTask) => f.pool.db.get('task', task.ref);

  it('asks the source, shows the progress, moves the record, and tells what was done', async () => {
    const { task, call } = begin({ compress: 'On' });
    const request = await requestTo(f.a);
    const { uuid: source } = f.pool.db.get('host', f.hostA);
    expect(request).to.deep.include({ uuid: row().uuid, source, compress: true, task: task.ref });
    expect(request.destination).to.deep.include({ kind: 'pool', url: f.b.url });
    expect(request.metadata).to.deep.include({ version: 1, paused: false });
    expect(request.metadata.domain).to.deep.include({ uuid: row().uuid, memoryBytes: gib });
    expect(row().current_operations).to.deep.equal({ [task.ref]: 'pool_migrate' });
    const { migrationId } = request;
    f.a.emit({ kind: 'migration-progress', migrationId, progress: 0.5, phase: 'copy' });
    await f.until(() => taskRow(task).progress === 0.5);
    expect(taskRow(task).allowed_operations).to.deep.equal(['cancel']);
    f.a.emit({ kind: 'migration-figures', migrationId, figures });
    await f.until(() => 'rounds' in taskRow(task).other_config);
    expect(taskRow(task).other_config).to.deep.equal({ migration_id: migrationId, phase: 'copy', ...shownFigures });
    f.a.emit({ kind: 'migration-progress', migrationId, progress: 0.97, phase: 'commit' });
    await f.until(() => taskRow(task).allowed_operations.length === 0);
    take(request);
    await call;
    expect(row()).to.deep.include({ power_state: 'Running', resident_on: hostB, domid: 1, current_operations: {} });
    expect(row().allowed_operations).to.include('pool_migrate');
    expect(taskRow(task).other_config).to.deep.equal({
      migration_id: migrationId,
      phase: 'commit',
      ...shownFigures,
      compressor_asked: 'stream',
      compressor_used: 'stream',
      emu_flags: '["-mode","hvm_save"]',
      cookies: '{"compress":"zstd"}',
      guest_bytes: '3000',
      wire_bytes: '1000',
      ratio: '3.000',
      rounds: '3',
      seconds: '1.5',
      downtime_ms: '42',
      memory_intact: 'true',
      digest_source: 'abc',
      digest_destination: 'abc',
    });
    expect([...f.store.table('migrations').entries()]).to.deep.equal([]);
  });

  it('never shows the VM as halted while it moves, in whatever order the hosts tell', async () => {
    const states = new Set<string>();
    const stop = f.pool.db.onChange(() => states.add(row().power_state));
    const { call } = begin();
    const request = await requestTo(f.a);
    f.a.domain(request.uuid, 'paused');
    f.a.domain(request.uuid, undefined);
    f.b.domain(request.uuid, 'running');
    await f.until(() => row().resident_on === hostB);
    f.a.end(request.migrationId, { status: 'success', report });
    await call;
    stop();
    expect([...states]).to.deep.equal(['Running']);
  });

  const spellings: [Record<string, string>, boolean, boolean][] = [
    [{}, false, false],
    [{}, true, true],
    [{ compress: 'FALSE' }, true, false],
    [{ compress: '1' }, false, true],
    [{ compress: 'maybe' }, true, true],
  ];
  for (const [options, poolDefault, compress] of spellings) {
    it(`asks for compression: ${compress}, for ${JSON.stringify(options)} in a pool with ${poolDefault}`, async () => {
      f.pool.db.update('pool', f.pool.db.all('pool')[0]![0], { migration_compression: poolDefault });
      const { call } = begin(options);
      const request = await requestTo(f.a);
      take(request);
      await call;
      expect(request.compress).to.equal(compress);
    });
  }

  it('moves a VM to its own host, without compression unless asked', async () => {
    f.pool.db.update('pool', f.pool.db.all('pool')[0]![0], { migration_compression: true });
    const { call } = begin({}, f.hostA);
    const request = await requestTo(f.a);
    expect(request.compress).to.equal(false);
    f.a.domain(request.uuid, undefined);
    f.a.domain(request.uuid, 'running');
    f.a.end(request.migrationId, { status: 'success', report });
    await call;
    expect(row()).to.include({ power_state: 'Running', resident_on: f.hostA, domid: 2 });
  });

  it('leaves the record as it was when the source refuses or the migration fails', async () => {
    const before = row();
    f.a.refuse = new XapiError('VM_MIGRATE_FAILED', ['vm', 'a', 'b', 'no']);
    const refused = await f.failure(() => begin().call);
    expect(refused.slice(0, 4)).to.deep.equal(['VM_MIGRATE_FAILED', 'vm', 'a', 'b']);
    expect(refused[4]).to.match(/^no; the logs of both hosts tell more: look for task=OpaqueRef:/);
    f.a.refuse = undefined;
    const { task, call } = begin();
    const { migrationId } = await requestTo(f.a);
    const compression = { compressorAsked: 'xenguest', compressorUsed: 'stream', fallback: 'why' } as const;
    f.a.emit({ kind: 'migration-progress', migrationId, progress: 0.02, phase: 'connect', compression });
    const error = { code: 'HOST_NOT_ENOUGH_FREE_MEMORY', params: ['1', '0'] };
    f.a.end(migrationId, { status: 'failure', error });
    expect(await f.failure(() => call)).to.deep.equal(['HOST_NOT_ENOUGH_FREE_MEMORY', '1', '0']);
    const told = { compressor_asked: 'xenguest', compressor_used: 'stream', fallback: 'why' };
    expect(taskRow(task).other_config).to.include(told);
    expect(row()).to.deep.equal(before);
    expect([...f.store.table('migrations').entries()]).to.deep.equal([]);
  });

  it('is cancelled with its task, before a host is asked', async () => {
    const { task, call } = begin();
    f.pool.dispatch.handlers.task.cancel(f.context(), task.ref);
    expect(await f.failure(() => call)).to.deep.equal(['TASK_CANCELLED', task.ref]);
    expect(f.a.migrations).to.deep.equal([]);
    expect(row()).to.deep.include({ power_state: 'Running', resident_on: f.hostA, current_operations: {} });
  });

  it('is cancelled with its task, while it is queued', async () => {
    const { task, call } = begin();
    const { migrationId } = await requestTo(f.a);
    f.a.emit({ kind: 'migration-progress', migrationId, progress: 0, phase: 'queued' });
    await f.until(() => taskRow(task).other_config.phase === 'queued');
    await f.until(() => taskRow(task).allowed_operations.includes('cancel'));
    f.pool.dispatch.handlers.task.cancel(f.context(), task.ref);
    while (f.a.cancelled.length === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(f.a.cancelled).to.deep.equal([migrationId]);
    f.a.end(migrationId, { status: 'cancelled', error: { code: 'TASK_CANCELLED', params: [migrationId] } });
    expect(await f.failure(() => call)).to.deep.equal(['TASK_CANCELLED', task.ref]);
    expect(row()).to.include({ power_state: 'Running', resident_on: f.hostA });
  });

  it('leaves the VM paused and in doubt where nobody knows, until the hosts do', async () => {
    const { call } = begin();
    const request = await requestTo(f.a);
    f.a.domain(request.uuid, 'paused');
    const error = { code: 'VM_MIGRATE_FAILED', params: ['vm', 'a', 'b', 'no answer'] };
    f.a.end(request.migrationId, { status: 'in-doubt', error });
    expect((await f.failure(() => call)).at(-1)).to.match(/^no answer; .*xe vm-reset-powerstate uuid=.* --force$/);
    expect(row()).to.include({ power_state: 'Paused', resident_on: f.hostA });
    expect(row().other_config['xenferry:in-doubt']).to.include('no answer');
    expect(row().allowed_operations).to.deep.equal([]);
    const { unpause } = f.pool.dispatch.handlers.VM;
    expect((await f.failure(() => unpause(f.context(), vm)))[0]).to.equal('OPERATION_NOT_ALLOWED');
    take(request);
    await f.until(() => row().resident_on === hostB && row().other_config['xenferry:in-doubt'] === undefined);
    expect(row().power_state).to.equal('Running');
    while ([...f.store.table('migrations').entries()].length > 0) await new Promise((resolve) => setImmediate(resolve));
  });

  it('is taken up by a coordinator that starts anew, under its task', async () => {
    const { task, call } = begin();
    call.catch(() => undefined);
    const request = await requestTo(f.a);
    await f.until(() => taskRow(task).allowed_operations.includes('cancel'));
    f = await f.restart();
    expect(taskRow(task)).to.include({ status: 'pending', name_label: 'Async.VM.test' });
    expect(row().current_operations).to.deep.equal({ [task.ref]: 'pool_migrate' });
    take(request);
    await f.until(() => taskRow(task).status === 'success');
    expect(row()).to.deep.include({ resident_on: hostB, power_state: 'Running', current_operations: {} });
    expect(f.a.migrations).to.have.length(1);
  });

  it('hears of an end that came while the source was not followed', async () => {
    const { call } = begin();
    const request = await requestTo(f.a);
    f.a.reachable = false;
    take(request);
    await f.until(() => !f.pool.db.get('host_metrics', f.pool.db.get('host', f.hostA).metrics).live);
    f.a.reachable = true;
    await call;
    expect(row().resident_on).to.equal(hostB);
  });

  describe('refuses', () => {
    const refusals: [string, () => unknown, Record<string, string>, (b: string) => string[]][] = [
      [
        'a destination without the memory',
        () => {
          f.b.memoryFree = 7;
        },
        {},
        () => ['HOST_NOT_ENOUGH_FREE_MEMORY', String(gib), '7'],
      ],
      [
        'a disabled destination',
        () => f.pool.db.update('host', hostB, { enabled: false }),
        {},
        (b) => ['HOST_DISABLED', b],
      ],
      ['a copy', () => undefined, { copy: 'true' }, () => ['VM_BAD_POWER_STATE', vm, 'halted, suspended', 'running']],
      [
        'a network that is none',
        () => undefined,
        { network: 'OpaqueRef:x' },
        () => ['HANDLE_INVALID', 'network', 'OpaqueRef:x'],
      ],
      [
        'a halted VM',
        () => f.pool.dispatch.handlers.VM.hard_shutdown(f.context(), vm),
        {},
        () => ['VM_BAD_POWER_STATE', vm, 'running', 'halted'],
      ],
      [
        'a paused VM',
        () => f.pool.dispatch.handlers.VM.pause(f.context(), vm),
        {},
        () => ['VM_BAD_POWER_STATE', vm, 'running', 'paused'],
      ],
    ];
    for (const [what, prepare, options, expected] of refusals) {
      it(what, async () => {
        await prepare();
        expect(await f.failure(() => begin(options).call)).to.deep.equal(expected(hostB));
        expect(f.a.migrations).to.deep.equal([]);
        expect(row().current_operations).to.deep.equal({});
      });
    }
  });

  for (const live of ['true', 'false', 'maybe']) {
    it(`moves a VM that runs whatever \`live\` says: ${live}`, async () => {
      const { call } = begin({ live });
      take(await requestTo(f.a));
      await call;
      expect(row()).to.include({ power_state: 'Running', resident_on: hostB });
    });
  }

  it('takes the network that it is told', async () => {
    const { db } = f.pool;
    const network = db.all('network')[0]![0];
    const [pif] = db.get('host', hostB).PIFs as [Ref<'PIF'>];
    db.update('PIF', pif, { IP: '192.0.2.2' });
    const { call } = begin({ network });
    const request = await requestTo(f.a);
    const xenops = 'http://192.0.2.2:8002/services/xenops';
    expect(request.destination).to.deep.include({ url: 'http://127.0.0.1:8002', xenops });
    take(request);
    await call;
  });

  it('carries what is thrown on to the task of the call', async () => {
    const error = toXapiError(await begin({}, 'OpaqueRef:none' as Ref<'host'>).call.catch((e: unknown) => e));
    expect([error.code, ...error.params]).to.deep.equal(['HANDLE_INVALID', 'host', 'OpaqueRef:none']);
  });
});
