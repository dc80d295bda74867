import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import { XapiError } from '../../../src/base/errors.js';
import type { VmOperation } from '../../../src/pool/vm-records/vm-operation-rules.js';
import { type Fixture, openFixture } from '../fixture.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

type State = 'Halted' | 'Paused' | 'Running' | 'Suspended';
type Method = 'start' | 'pause' | 'unpause' | 'shutdown' | 'reboot' | 'suspend' | 'resume';

/** What a member is asked to do, with what the VM is before and after it. */
const operations: readonly (readonly [VmOperation, Method, before: State, after: State])[] = [
  ['start_on', 'start', 'Halted', 'Running'],
  ['pause', 'pause', 'Running', 'Paused'],
  ['unpause', 'unpause', 'Paused', 'Running'],
  ['suspend', 'suspend', 'Running', 'Suspended'],
  ['resume', 'resume', 'Suspended', 'Running'],
  ['resume_on', 'resume', 'Suspended', 'Running'],
  ['clean_reboot', 'reboot', 'Running', 'Running'],
  ['hard_reboot', 'reboot', 'Running', 'Running'],
  ['clean_shutdown', 'shutdown', 'Running', 'Halted'],
  ['hard_shutdown', 'shutdown', 'Running', 'Halted'],
  ['hard_shutdown', 'shutdown', 'Suspended', 'Halted'],
  ['shutdown', 'shutdown', 'Paused', 'Halted'],
  ['destroy', 'shutdown', 'Suspended', 'Halted'],
];

describe('A coordinator that ends while a host is busy', () => {
  let f: Fixture;
  let member: Ref<'host'>;
  let vm: Ref<'VM'>;
  let go: (error?: XapiError) => void;
  let ended: Promise<string[]>;
  beforeEach(async () => {
    f = await openFixture();
    member = await f.joinB();
    vm = await f.createVm();
  });
  afterEach(() => f.close());

  const row = () => f.pool.db.get('VM', vm);
  const handlers = () => f.pool.dispatch.handlers.VM;
  const stored = () => [...f.store.table('jobs').entries()];
  const isFree = () => Object.keys(row().current_operations).length === 0;
  const call = (operation: VmOperation, context = f.context()): unknown => {
    if (operation === 'start_on' || operation === 'resume_on')
      return handlers()[operation](context, vm, member, false, false);
    if (operation === 'resume') return handlers().resume(context, vm, false, false);
    return (handlers()[operation as 'pause'] as (...args: unknown[]) => unknown)(context, vm);
  };
  const prepare = async (state: State): Promise<void> => {
    if (state === 'Halted') return;
    await call('start_on');
    if (state === 'Paused') await call('pause');
    if (state === 'Suspended') await call('suspend');
  };
  /** The member stands still in the VM's lane. @returns the task of the call */
  const begin = async (operation: VmOperation): Promise<Ref<'task'>> => {
    const context = f.context();
    await new Promise<void>((resolve) => {
      f.b.before = () => {
        resolve();
        return new Promise((end, fail) => {
          go = (error) => {
            f.b.before = async () => undefined;
            if (error === undefined) end();
            else fail(error);
          };
        });
      };
      ended = f.failure(() => call(operation, context));
    });
    return context.task.ref as Ref<'task'>;
  };
  /** The member has not read the call yet. @returns it reads it */
  const beginUnread = async (operation: VmOperation, method: Method): Promise<() => Promise<unknown>> => {
    const service = f.b.service as { -readonly [M in Method]: (...args: unknown[]) => Promise<void> };
    const read = service[method];
    const asked = await new Promise<unknown[]>((resolve) => {
      service[method] = (...args) => {
        resolve(args);
        return new Promise(() => undefined);
      };
      Promise.resolve(call(operation)).catch(() => undefined);
    });
    service[method] = read;
    return () => read(...asked);
  };
  const restart = async (answers = true): Promise<void> => {
    f.b.reachable = answers;
    f = await f.restart();
  };
  const come = async (): Promise<void> => {
    await f.until(isFree);
    while (stored().length > 0) await turn();
  };
  const taskOf = (ref: Ref<'task'>) => f.pool.db.get('task', ref);

  for (const [operation, method, before, after] of operations) {
    describe(`with VM.${operation} of a VM that is ${before.toLowerCase()}`, () => {
      let domid: number;
      beforeEach(async () => {
        await prepare(before);
        ({ domid } = row());
      });

      it('holds the VM until the host is done, and brings its record to what is there', async () => {
        const task = await begin(operation);
        await restart();
        for (const looks of [1, 2]) {
          expect(row().current_operations, `look ${looks}`).to.deep.equal({ [task]: operation });
          const { code, params } = refusalOf(
            await f.failure(() => handlers().start_on(f.context(), vm, f.hostA, false, false)),
          );
          if (before === 'Halted')
            expect([code, ...params]).to.deep.equal(['OTHER_OPERATION_IN_PROGRESS', 'VM', vm, operation, task]);
          else expect(code).to.equal('VM_BAD_POWER_STATE');
          expect(row().allowed_operations).to.deep.equal([]);
          expect(taskOf(task).status).to.equal('pending');
          const seen = f.b.looks;
          f.b.emit({ kind: 'domain-gone', uuid: 'none' });
          while (f.b.looks === seen) await turn();
        }
        go();
        await come();
        expect(row()).to.include({ power_state: after });
        if (before === 'Running' && after === 'Running') expect(row().domid).to.be.above(domid);
        expect(taskOf(task).status).to.equal(operation === 'destroy' ? 'cancelled' : 'success');
      });

      it('leaves the VM as it was where the host has not read it yet, which then refuses it', async () => {
        const read = await beginUnread(operation, method);
        await restart(false);
        expect(Object.values(row().current_operations)).to.deep.equal([operation]);
        f.b.reachable = true;
        await come();
        expect((await f.failure(read))[0]).to.equal('OPERATION_NOT_ALLOWED');
        expect(row()).to.include({ power_state: before, domid });
      });

      if (!['start_on', 'hard_reboot', 'suspend'].includes(operation)) return;

      it('holds the VM while the host does not answer', async () => {
        await begin(operation);
        await restart(false);
        await turn();
        expect(Object.values(row().current_operations)).to.deep.equal([operation]);
        go();
        f.b.reachable = true;
        await come();
        expect(row()).to.include({ power_state: after });
      });

      it('leaves the VM as it was where that fails, and its task says why', async () => {
        const task = await begin(operation);
        await restart();
        go(new XapiError('HOST_NOT_ENOUGH_FREE_MEMORY', ['2', '1']));
        await come();
        expect(row()).to.include({ power_state: before, domid });
        expect(taskOf(task)).to.deep.include({
          status: 'failure',
          error_info: ['HOST_NOT_ENOUGH_FREE_MEMORY', '2', '1'],
        });
      });

      it('holds the VM too where only its answer is lost, until it is heard', async () => {
        await begin(operation);
        f.b.reachable = false;
        go();
        expect((await ended)[0]).to.equal('INTERNAL_ERROR');
        expect(Object.values(row().current_operations)).to.deep.equal([operation]);
        f.b.reachable = true;
        f.b.emit({ kind: 'domain-gone', uuid: 'none' });
        await come();
        expect(row()).to.include({ power_state: after });
      });
    });
  }
});

function refusalOf([code = '', ...params]: string[]): { code: string; params: string[] } {
  return { code, params };
}
