import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import { XapiError } from '../../../src/base/errors.js';
import type { OpenTask } from '../../../src/model/dispatch-deps.js';
import type { SessionService } from '../../../src/pool/access/sessions.js';
import type { Departure } from '../../../src/pool/database/migration-table.js';
import type { TaskService } from '../../../src/pool/events/tasks.js';
import { report } from '../fake-host.js';
import type { Fixture } from '../fixture.js';
import { openMigrationLab, requestTo } from './migration-lab.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));
const day = 24 * 3600 * 1000;

describe('A migration', () => {
  let f: Fixture;
  let hostB: Ref<'host'>;
  let vm: Ref<'VM'>;
  let task: OpenTask;
  let elapsed: number;
  beforeEach(async () => {
    elapsed = 0;
    ({ f, hostB, vm } = await openMigrationLab({ elapsed: () => elapsed }));
    task = f.task('Async.VM.pool_migrate');
  });
  afterEach(() => f.close());

  const sessions = () => f.pool.dispatch.sessions as SessionService;
  const tasks = () => f.pool.dispatch.tasks as TaskService;
  const taskRow = () => f.pool.db.get('task', task.ref);
  const begin = (session?: Ref<'session'>) => {
    const context = { ...f.context(task), ...(session && { session }) };
    const call = Promise.resolve(f.pool.dispatch.handlers.VM.pool_migrate(context, vm, hostB, {}));
    call.catch(() => undefined);
    return call;
  };
  const asked = () => requestTo(f.a);
  const cancel = () => f.pool.dispatch.handlers.task.cancel(f.context(), task.ref);
  const rows = () => [...f.store.table('migrations').entries()];
  const later = (milliseconds: number) => {
    elapsed += milliseconds;
    sessions().collect();
    tasks().collect();
  };

  it('keeps the session and the task of its call for 25 hours', async () => {
    const [mine, other] = [sessions().open('test'), sessions().open('test')];
    const call = begin(mine);
    const { migrationId } = await asked();
    later(25 * 3600 * 1000);
    expect(sessions().use(other)).to.equal(undefined);
    expect(f.pool.db.find('session', mine)).to.not.equal(undefined);
    expect(taskRow().status).to.equal('pending');
    f.b.domain(f.pool.db.get('VM', vm).uuid, 'running');
    f.a.end(migrationId, { status: 'success', report });
    await call;
    later(day - 1000);
    expect(f.pool.db.find('session', mine)).to.not.equal(undefined);
    later(day);
    expect(f.pool.db.find('session', mine)).to.equal(undefined);
    expect(f.pool.db.find('task', task.ref)).to.equal(undefined);
  });

  it('ends as cancelled where the source does not answer, and is cancelled there when it does', async () => {
    f.a.reachable = false;
    const call = begin();
    while (rows().length === 0) await turn();
    cancel();
    cancel();
    expect(await f.failure(() => call)).to.deep.equal(['TASK_CANCELLED', task.ref]);
    expect(rows()).to.have.length(1);
    f.a.end(rows()[0]![0], { status: 'failure', error: { code: 'INTERNAL_ERROR', params: ['it never began'] } });
    const { metrics } = f.pool.db.get('host', f.hostA);
    await f.until(() => !f.pool.db.get('host_metrics', metrics).live);
    f.a.reachable = true;
    while (rows().length > 0) await turn();
    expect(f.a.cancelled).to.have.length(1);
    expect(f.a.migrations).to.deep.equal([]);
    expect(f.pool.db.get('VM', vm)).to.include({ power_state: 'Running', resident_on: f.hostA });
  });

  it('goes on trying to cancel at a source that has it and does not answer', async () => {
    const call = begin();
    const { migrationId } = await asked();
    f.a.reachable = false;
    cancel();
    await turn();
    f.a.reachable = true;
    while (f.a.cancelled.length === 0) await turn();
    f.a.end(migrationId, { status: 'cancelled', error: { code: 'TASK_CANCELLED', params: [] } });
    expect(await f.failure(() => call)).to.deep.equal(['TASK_CANCELLED', task.ref]);
    expect(rows()).to.deep.equal([]);
  });

  it('ends when its source says so, also where that does not know what runs on it', async () => {
    const call = begin();
    const { migrationId } = await asked();
    const { state } = f.a.service;
    Object.assign(f.a.service, { state: () => Promise.reject(new Error('the hypervisor does not answer')) });
    f.a.emit({ kind: 'domain-gone', uuid: 'none' });
    const { metrics } = f.pool.db.get('host', f.hostA);
    await f.until(() => !f.pool.db.get('host_metrics', metrics).live);
    f.a.end(migrationId, { status: 'failure', error: { code: 'VM_MIGRATE_FAILED', params: ['no byte moved'] } });
    expect((await f.failure(() => call))[0]).to.equal('VM_MIGRATE_FAILED');
    expect(rows()).to.deep.equal([]);
    Object.assign(f.a.service, { state });
    await f.until(() => f.pool.db.get('host_metrics', metrics).live);
    expect(f.pool.db.get('VM', vm)).to.include({ power_state: 'Running', resident_on: f.hostA });
  });

  it('refuses to be cancelled where its source says that it is too late, of which nobody has heard yet', async () => {
    const call = begin();
    const { migrationId } = await asked();
    const late = new XapiError('OPERATION_NOT_ALLOWED', ['the migration has passed its commit point']);
    Object.assign(f.a.service, { cancel: () => Promise.reject(late) });
    while (!(rows()[0] as [string, Departure])[1].accepted) await turn();
    await f.store.flushed();
    await turn();
    const refused = await Promise.all([f.failure(cancel), f.failure(cancel)]);
    expect(refused).to.deep.equal([
      [late.code, ...late.params],
      [late.code, ...late.params],
    ]);
    expect(taskRow()).to.deep.include({ status: 'pending', current_operations: {}, allowed_operations: [] });
    expect((await f.failure(cancel))[1]).to.include('it has passed the point');
    f.b.domain(f.pool.db.get('VM', vm).uuid, 'running');
    f.a.end(migrationId, { status: 'success', report });
    await call;
  });

  it('refuses to be cancelled after the commit point, and says why', async () => {
    const call = begin();
    const { migrationId } = await asked();
    f.a.emit({ kind: 'migration-progress', migrationId, progress: 0.97, phase: 'commit' });
    await f.until(() => taskRow().allowed_operations.length === 0 && taskRow().progress === 0.97);
    const [code, why] = await f.failure(cancel);
    expect(code).to.equal('OPERATION_NOT_ALLOWED');
    expect(why).to.include('it has passed the point');
    f.b.domain(f.pool.db.get('VM', vm).uuid, 'running');
    f.a.end(migrationId, { status: 'success', report });
    await call;
  });
});
