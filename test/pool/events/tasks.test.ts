import { expect } from 'chai';
import type { RecordOf, Ref } from '../../../idl/index.js';
import { XapiError } from '../../../src/base/errors.js';
import type { OpenTask } from '../../../src/model/dispatch-deps.js';
import { createTasks, type TaskService } from '../../../src/pool/events/tasks.js';
import { type Fixture, openFixture } from '../fixture.js';

describe('task', () => {
  let f: Fixture;
  let now: Date;
  let elapsed: number;
  let tasks: TaskService;

  beforeEach(async () => {
    f = await openFixture();
    now = new Date('2026-01-01T00:00:00Z');
    elapsed = 0;
    tasks = createTasks({ db: f.pool.db, thisHost: () => f.hostA, now: () => now, elapsed: () => elapsed });
  });
  afterEach(() => f.close());

  /** The fields that change, in order, with what they change to. */
  const changes = (ref: Ref<'task'>, act: () => void): string[] => {
    const seen: string[] = [];
    let before: RecordOf<'task'> = f.pool.db.get('task', ref);
    const stop = f.pool.db.onChange((cls, changed) => {
      if (cls !== 'task' || changed !== ref) return;
      const after = f.pool.db.get('task', ref);
      for (const name of Object.keys(after) as (keyof RecordOf<'task'>)[]) {
        if (before[name] !== after[name]) seen.push(name);
      }
      before = after;
    });
    act();
    stop();
    return seen;
  };

  const orders: [string, 'succeed' | 'fail' | 'cancel', string[]][] = [
    ['success', 'succeed', ['allowed_operations', 'finished', 'progress', 'result', 'status']],
    ['failure', 'fail', ['progress', 'error_info', 'finished', 'allowed_operations', 'status']],
    ['cancelled', 'cancel', ['progress', 'finished', 'status', 'allowed_operations']],
  ];
  for (const [what, how, order] of orders) {
    it(`ends in ${what} with the updates in xapi's order`, () => {
      const task = tasks.create('Async.VM.start', undefined);
      task.setCancellable(true);
      const seen = changes(task.ref, () => {
        if (how === 'succeed') task.succeed('<value></value>');
        else if (how === 'fail') task.fail(new XapiError('VM_BAD_POWER_STATE', ['r', 'halted', 'running']));
        else task.fail(new XapiError('TASK_CANCELLED', [task.ref]));
      });
      expect(seen).to.deep.equal(order);
      const row = f.pool.db.get('task', task.ref);
      expect(row).to.deep.include({ progress: 1, finished: now, allowed_operations: [], current_operations: {} });
      expect(row.status).to.equal(what);
      if (how === 'fail') expect(row.error_info).to.deep.equal(['VM_BAD_POWER_STATE', 'r', 'halted', 'running']);
    });
  }

  it('stops what can be cancelled, and refuses to stop what cannot', async () => {
    const task = tasks.create('Async.VM.migrate_send', undefined);
    expect((await f.failure(() => tasks.cancel(task.ref)))[0]).to.equal('OPERATION_NOT_ALLOWED');
    task.setCancellable(true);
    expect(f.pool.db.get('task', task.ref).allowed_operations).to.deep.equal(['cancel']);
    tasks.cancel(task.ref);
    expect(task.signal.aborted).to.equal(true);
  });

  for (const [how, end] of [
    ['succeeded', (task: OpenTask) => task.succeed('')],
    ['failed', (task: OpenTask) => task.fail(new XapiError('INTERNAL_ERROR', ['x']))],
    ['was cancelled', (task: OpenTask) => task.fail(new XapiError('TASK_CANCELLED', [task.ref]))],
  ] as const) {
    it(`changes nothing by cancelling a task that ${how}`, async () => {
      const task = tasks.create('Async.VM.migrate_send', undefined);
      task.setCancellable(true);
      end(task);
      const row = f.pool.db.get('task', task.ref);
      await tasks.cancel(task.ref);
      expect(f.pool.db.get('task', task.ref)).to.deep.equal(row);
      expect(task.signal.aborted).to.equal(false);
    });
  }

  it('takes no error for a task that ended while it was asked to stop', async () => {
    const task = tasks.create('Async.VM.migrate_send', undefined);
    task.setCancellable(true);
    const asked = new Promise<never>((_resolve, reject) => {
      const refuse = () => {
        task.succeed('');
        reject(new XapiError('OPERATION_NOT_ALLOWED', ['the migration has ended']));
      };
      task.signal.addEventListener('abort', () => queueMicrotask(refuse));
    });
    task.answerCancel(asked);
    await tasks.cancel(task.ref);
    expect(f.pool.db.get('task', task.ref).status).to.equal('success');
  });

  it('marks a pending task for removal, and removes it at its end', () => {
    const task = tasks.create('Async.VM.start', undefined);
    tasks.destroy(task.ref);
    expect(f.pool.db.get('task', task.ref).status).to.equal('pending');
    task.succeed('');
    expect(f.pool.db.find('task', task.ref)).to.equal(undefined);
    task.setProgress(0.5);
  });

  it('lets callers drive the tasks that they made, and no others', async () => {
    const mine = tasks.createForCaller('mine', 'text');
    tasks.drive(mine, { progress: 0.5 });
    tasks.drive(mine, { status: 'success' });
    expect(f.pool.db.get('task', mine)).to.deep.include({ status: 'success', finished: now, name_description: 'text' });
    const server = tasks.create('Async.VM.start', undefined);
    expect((await f.failure(() => tasks.drive(server.ref, { status: 'success' })))[0]).to.equal(
      'OPERATION_NOT_ALLOWED',
    );
  });

  it('has what its caller sets', async () => {
    const { task } = f.pool.dispatch.handlers;
    const mine = await task.create(f.context(), 'mine', '');
    await task.set_other_config(f.context(), mine, { a: '1' });
    await task.add_to_other_config(f.context(), mine, 'b', '2');
    await task.remove_from_other_config(f.context(), mine, 'a');
    await task.set_result(f.context(), mine, 'done');
    await task.set_error_info(f.context(), mine, ['WHY', 'not']);
    expect(f.pool.db.get('task', mine)).to.deep.include({
      ...{ other_config: { b: '2' }, result: 'done', error_info: ['WHY', 'not'] },
    });
  });

  it('ends one that its caller drives for what is refused, and no other', () => {
    const mine = tasks.createForCaller('import', '');
    const own = tasks.create('VM.start', undefined);
    const error = new XapiError('NOT_IMPLEMENTED', ['PUT /import']);
    for (const ref of [mine, own.ref, 'OpaqueRef:none']) tasks.end(ref, error);
    expect(f.pool.db.get('task', mine)).to.deep.include({
      ...{ status: 'failure', progress: 1, error_info: ['NOT_IMPLEMENTED', 'PUT /import'] },
    });
    expect(f.pool.db.get('task', own.ref).status).to.equal('pending');
    tasks.end(mine, new XapiError('NOT_IMPLEMENTED', ['again']));
    expect(f.pool.db.get('task', mine).error_info).to.include('PUT /import');
    const done = tasks.createForCaller('export', '');
    tasks.end(done);
    expect(f.pool.db.get('task', done)).to.deep.include({ status: 'success', progress: 1, error_info: [] });
  });

  for (const hours of [-25, 25]) {
    it(`collects no task because the clock was set by ${hours} hours`, () => {
      const [done, pending] = [tasks.create('done', undefined), tasks.create('pending', undefined)];
      now = new Date(now.getTime() + hours * 3_600_000);
      done.succeed('');
      now = new Date(now.getTime() + hours * 3_600_000);
      tasks.collect();
      for (const { ref } of [done, pending]) expect(f.pool.db.find('task', ref)).to.not.equal(undefined);
    });
  }

  it('collects finished tasks after 65 minutes and pending ones after a day', () => {
    const [done, pending] = [tasks.create('done', undefined), tasks.create('pending', undefined)];
    done.succeed('');
    const left = (): boolean[] => [done, pending].map(({ ref }) => f.pool.db.find('task', ref) !== undefined);
    for (const [minutes, expected] of [
      [65, [true, true]],
      [66, [false, true]],
      [24 * 60, [false, true]],
      [24 * 60 + 1, [false, false]],
    ] as const) {
      elapsed = minutes * 60_000;
      tasks.collect();
      expect(left(), `${minutes} minutes`).to.deep.equal(expected);
    }
  });
});
