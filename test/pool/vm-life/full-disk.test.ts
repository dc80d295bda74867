import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import { type Fixture, openFixture } from '../fixture.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

type State = 'Halted' | 'Paused' | 'Running' | 'Suspended';
type Operation = 'pause' | 'suspend' | 'hard_shutdown' | 'clean_shutdown' | 'shutdown' | 'clean_reboot' | 'hard_reboot';

describe('A coordinator whose disk is full', () => {
  let f: Fixture;
  let member: Ref<'host'>;
  let vm: Ref<'VM'>;
  beforeEach(async () => {
    f = await openFixture();
    member = await f.joinB();
    vm = await f.createVm({ actions_after_reboot: 'restart' });
  });
  afterEach(() => f.close());

  const handlers = () => f.pool.dispatch.handlers.VM;
  const row = () => f.pool.db.get('VM', vm);
  const jobs = () => [...f.store.table('jobs').entries()];
  const call = (operation: Operation) => handlers()[operation](f.context(), vm);
  const prepare = async (state: State, host: Ref<'host'>): Promise<void> => {
    if (state === 'Halted') return;
    await handlers().start_on(f.context(), vm, host, false, false);
    if (state === 'Paused') await call('pause');
    if (state === 'Suspended') await call('suspend');
  };
  /** What does not get a row is tried again until there is space. */
  const haveSpace = async (): Promise<void> => {
    f.isFull = false;
    await f.pool.db.saved().catch(f.pool.db.saved);
  };

  const ends: readonly (readonly [Operation, State])[] = [
    ['hard_shutdown', 'Running'],
    ['hard_shutdown', 'Paused'],
    ['hard_shutdown', 'Suspended'],
    ['clean_shutdown', 'Running'],
    ['shutdown', 'Running'],
    ['shutdown', 'Paused'],
  ];
  for (const [operation, state] of ends) {
    for (const where of ['the coordinator', 'a member']) {
      describe(`lets VM.${operation} end a VM that is ${state.toLowerCase()} on ${where}`, () => {
        beforeEach(async () => {
          await prepare(state, where === 'a member' ? member : f.hostA);
          f.isFull = true;
          await call(operation);
          expect(row()).to.deep.include({ power_state: 'Halted', current_operations: {} });
          const { domains, suspended } = (where === 'a member' ? f.b : f.a).state();
          expect([domains, suspended]).to.deep.equal([[], []]);
        });

        it('and writes its record when there is space', async () => {
          await haveSpace();
          expect(jobs()).to.deep.equal([]);
          f = await f.restart();
          expect(row()).to.include({ power_state: 'Halted' });
        });

        // The hosts say nothing of an image that is not there, so that record waits for the next forced end.
        if (state !== 'Suspended')
          it('and finds it ended when it was killed before there was space', async () => {
            f = await f.restart();
            await f.until(() => row().power_state === 'Halted' && Object.keys(row().current_operations).length === 0);
            expect(jobs()).to.deep.equal([]);
          });
        else
          it('and ends it again when it was killed before there was space', async () => {
            f = await f.restart();
            expect(row().power_state).to.equal('Suspended');
            await call(operation);
            expect(row().power_state).to.equal('Halted');
          });
      });
    }
  }

  it('removes the image of a VM that is destroyed, and says that its record is not written', async () => {
    await prepare('Suspended', f.hostA);
    f.isFull = true;
    expect(await f.failure(() => handlers().destroy(f.context(), vm))).to.deep.equal(['OUT_OF_SPACE', '/db']);
    expect(f.a.state().suspended).to.deep.equal([]);
    await haveSpace();
    f = await f.restart();
    expect(f.pool.db.find('VM', vm)).to.equal(undefined);
  });

  const others: readonly (readonly [string, State, () => unknown])[] = [
    ['start', 'Halted', () => handlers().start(f.context(), vm, false, false)],
    ['start_on', 'Halted', () => handlers().start_on(f.context(), vm, member, false, false)],
    ['pause', 'Running', () => call('pause')],
    ['unpause', 'Paused', () => handlers().unpause(f.context(), vm)],
    ['suspend', 'Running', () => call('suspend')],
    ['resume', 'Suspended', () => handlers().resume(f.context(), vm, false, false)],
    ['clean_reboot', 'Running', () => call('clean_reboot')],
    ['hard_reboot', 'Running', () => call('hard_reboot')],
  ];
  for (const [name, state, ask] of others) {
    it(`refuses VM.${name}, and asks no host`, async () => {
      await prepare(state, member);
      const before = row();
      f.isFull = true;
      f.b.before = async (operation) => {
        throw new Error(`${operation} was asked for`);
      };
      expect(await f.failure(ask)).to.deep.equal(['OUT_OF_SPACE', '/db']);
      expect(row()).to.deep.include({ power_state: state, domid: before.domid, current_operations: {} });
    });
  }

  it('holds a VM of whose end it has not heard until it has, and has written it', async () => {
    await prepare('Running', member);
    f.isFull = true;
    f.b.before = async () => {
      f.b.reachable = false;
    };
    expect((await f.failure(() => call('hard_shutdown')))[0]).to.equal('INTERNAL_ERROR');
    f.b.before = async () => undefined;
    f.b.reachable = true;
    const look = async (): Promise<void> => {
      const seen = f.b.looks;
      f.b.emit({ kind: 'domain-gone', uuid: 'none' });
      while (f.b.looks === seen) await turn();
    };
    await look();
    await look();
    expect(Object.values(row().current_operations)).to.deep.equal(['hard_shutdown']);
    await haveSpace();
    await look();
    await f.until(() => Object.keys(row().current_operations).length === 0);
    expect([row().power_state, jobs()]).to.deep.equal(['Halted', []]);
  });

  it('lets a guest that reboots begin anew when there is space, and does not halt its VM', async () => {
    await prepare('Running', member);
    const { uuid, domid } = row();
    f.isFull = true;
    f.b.endGuest(uuid, 'reboot');
    const seen = f.b.looks;
    while (f.b.looks < seen + 2) {
      f.b.emit({ kind: 'domain-gone', uuid: 'none' });
      await turn();
    }
    expect(row()).to.include({ power_state: 'Running', domid });
    await haveSpace();
    f.b.emit({ kind: 'domain-gone', uuid: 'none' });
    await f.until(() => row().domid > domid && Object.keys(row().current_operations).length === 0);
    expect(row().power_state).to.equal('Running');
  });

  it('answers what changes nothing while rows of others wait for space', async () => {
    f.isFull = true;
    const named = f.failure(() => f.pool.dispatch.handlers.VM.set_ha_always_run(f.context(), vm, true));
    expect(await named).to.deep.equal(['OUT_OF_SPACE', '/db']);
    const { host, VM, pool } = f.pool.dispatch.handlers;
    const context = f.context();
    await host.call_plugin(context, member, 'fault', 'list', {});
    await host.get_servertime(context, member);
    await VM.assert_can_boot_here(context, vm, member);
    expect(await VM.get_possible_hosts(context, vm)).to.have.members([f.hostA, member]);
    expect(await f.failure(() => pool.sync_database(context))).to.deep.equal(['OUT_OF_SPACE', '/db']);
  });
});
