import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import { nullRef } from '../../../src/model/value.js';
import { leftBehindKey } from '../../../src/pool/vm-records/in-doubt.js';
import { type Fixture, openFixture, uuidOf } from '../fixture.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('What a host may be doing for a coordinator that was killed', () => {
  let f: Fixture;
  let member: Ref<'host'>;
  let vm: Ref<'VM'>;
  let uuid: string;
  /** The host goes on. */
  let go: () => void;
  beforeEach(async () => {
    f = await openFixture();
    member = await f.joinB();
    vm = await f.createVm();
    ({ uuid } = row());
  });
  afterEach(() => f.close());

  const row = () => f.pool.db.get('VM', vm);
  const handlers = () => f.pool.dispatch.handlers;
  const held = () => Object.values(row().current_operations);
  const stored = () => [...f.store.table('jobs').entries()];
  const isLive = () => f.pool.db.get('host_metrics', f.pool.db.get('host', member).metrics).live;
  const reset = () => handlers().VM.power_state_reset(f.context(), vm);
  const declareDead = () => handlers().host.declare_dead(f.context(), member);
  const destroyHost = () => handlers().host.destroy(f.context(), member);
  const eject = () => handlers().pool.eject(f.context(), member);
  const startOn = (host = member) => handlers().VM.start_on(f.context(), vm, host, false, false);
  const domains = () => f.b.state().domains.map(({ state }) => state);
  /** The coordinator has looked at the member as it is now. */
  const look = async (): Promise<void> => {
    for (let looks = f.b.looks, more = 2; more > 0; more -= 1, looks = f.b.looks) {
      f.b.emit({ kind: 'domain-gone', uuid: 'none' });
      while (f.b.looks === looks) await turn();
    }
  };
  const come = async (): Promise<void> => {
    await f.until(() => held().length === 0);
    while (stored().length > 0) await turn();
  };
  /** The member stands still in the lane of the VM. */
  const begin = async (call: () => unknown): Promise<void> => {
    await new Promise<void>((resolve) => {
      f.b.before = () => {
        resolve();
        return new Promise((end) => {
          go = () => {
            f.b.before = async () => undefined;
            end();
          };
        });
      };
      Promise.resolve(call()).catch(() => undefined);
    });
  };
  const restart = async ({ answers }: { answers: boolean }): Promise<void> => {
    f.b.reachable = answers;
    f = await f.restart();
  };
  /** The member is starting the VM; the coordinator was killed then, and its task has this reference. */
  const interruptStart = async (answers: boolean): Promise<Ref<'task'>> => {
    await begin(startOn);
    await restart({ answers });
    expect(held()).to.deep.equal(['start_on']);
    return Object.keys(row().current_operations)[0] as Ref<'task'>;
  };

  describe('is ended by an operator', () => {
    for (const [message, settle] of [
      ['VM.power_state_reset', reset],
      ['host.declare_dead', declareDead],
    ] as const) {
      it(`with ${message}, where the host does not answer: what comes back with it does not run`, async () => {
        const task = await interruptStart(false);
        await settle();
        expect([held(), stored(), row().power_state]).to.deep.equal([[], [], 'Halted']);
        expect(f.pool.db.get('task', task)).to.deep.include({
          status: 'failure',
          error_info: ['HOST_OFFLINE', member],
        });
        await startOn(f.hostA);
        go();
        f.b.reachable = true;
        while (f.b.doubted.length === 0) await turn();
        expect(f.b.doubted.map(([each]) => each)).to.deep.equal([uuid]);
        expect(row()).to.include({ power_state: 'Running', resident_on: f.hostA });
      });

      it(`with ${message} for good: a coordinator that starts anew holds nothing, and knows what may come back`, async () => {
        await interruptStart(false);
        await settle();
        await restart({ answers: false });
        expect([held(), row().power_state]).to.deep.equal([[], 'Halted']);
        go();
        f.b.reachable = true;
        while (f.b.doubted.length === 0) await turn();
        expect([row().power_state, domains()]).to.deep.equal(['Halted', ['paused']]);
        await f.until(() => leftBehindKey in row().other_config);
        await reset();
        expect([row().power_state, domains()]).to.deep.equal(['Halted', []]);
      });
    }

    it('not while the host answers and says that it does it', async () => {
      const task = await interruptStart(true);
      await f.until(isLive);
      const busy = ['OTHER_OPERATION_IN_PROGRESS', 'VM', vm, 'start_on', task];
      expect(await f.failure(reset)).to.deep.equal(busy);
      expect((await f.failure(declareDead))[0]).to.equal('OPERATION_NOT_ALLOWED');
      expect(held()).to.deep.equal(['start_on']);
      go();
      await come();
      expect(row()).to.include({ power_state: 'Running', resident_on: member });
    });
  });

  describe('keeps the host in the pool', () => {
    it('while it answers', async () => {
      const task = await interruptStart(true);
      await f.until(isLive);
      expect(await f.failure(eject)).to.deep.equal(['OTHER_OPERATION_IN_PROGRESS', 'host', member, 'start_on', task]);
      go();
      await come();
      await handlers().VM.hard_shutdown(f.context(), vm);
      expect(await f.failure(eject)).to.deep.equal([]);
    });

    it('while it does not, until an operator has settled what is held', async () => {
      const task = await interruptStart(false);
      const busy = ['OTHER_OPERATION_IN_PROGRESS', 'host', member, 'start_on', task];
      expect(await f.failure(eject)).to.deep.equal(busy);
      expect(await f.failure(destroyHost)).to.deep.equal(busy);
      await declareDead();
      expect(await f.failure(destroyHost)).to.deep.equal([]);
      f = await f.restart();
      expect(f.pool.db.count('host')).to.equal(1);
      expect([held(), row().power_state]).to.deep.equal([[], 'Halted']);
      await startOn(f.hostA);
    });
  });

  describe('at a host of an earlier version, which does not list it', () => {
    beforeEach(() => {
      f.b.earlier = true;
    });

    it('holds the VM, whatever is seen there, until the host is of this version', async () => {
      await interruptStart(true);
      go();
      await f.until(isLive);
      while (domains().length === 0) await turn();
      await look();
      expect(held()).to.deep.equal(['start_on']);
      f.b.earlier = false;
      f.b.emit({ kind: 'domain-gone', uuid: 'none' });
      await come();
      expect(row()).to.include({ power_state: 'Running', resident_on: member });
    });

    it('ends with VM.power_state_reset: the VM is what is there', async () => {
      await interruptStart(true);
      go();
      await f.until(isLive);
      while (domains().length === 0) await turn();
      await reset();
      expect([held(), stored()]).to.deep.equal([[], []]);
      expect(row()).to.include({ power_state: 'Running', resident_on: member });
    });

    it('ends with VM.power_state_reset before anything is there: what comes of it then does not run', async () => {
      await interruptStart(true);
      await f.until(isLive);
      await reset();
      expect([held(), stored(), row().power_state]).to.deep.equal([[], [], 'Halted']);
      go();
      while (f.b.doubted.length === 0) await turn();
      expect([row().power_state, domains()]).to.deep.equal(['Halted', ['paused']]);
    });

    it('is of no account where the host has answered', async () => {
      await startOn();
      expect([held(), stored()]).to.deep.equal([[], []]);
      await restart({ answers: true });
      await f.until(isLive);
      expect([held(), row().power_state]).to.deep.equal([[], 'Running']);
    });
  });

  describe('of which it has no row, as its database is an older one', () => {
    /** The coordinator is killed, and has the rows of before the call. */
    const restore = async (): Promise<void> => {
      for (const [id] of stored()) await f.store.table('jobs').remove(id);
      await restart({ answers: true });
    };

    it('holds the VM until the host is done, under the operation that the host names', async () => {
      await begin(startOn);
      await restore();
      await f.until(() => held().length > 0);
      expect(held()).to.deep.equal(['start_on']);
      expect((await f.failure(() => startOn(f.hostA)))[0]).to.equal('OTHER_OPERATION_IN_PROGRESS');
      go();
      await come();
      expect(row()).to.include({ power_state: 'Running', resident_on: member });
    });

    it('holds the VM of a host that is lost meanwhile, until it is back', async () => {
      await begin(startOn);
      await restore();
      await f.until(() => held().length > 0);
      f.b.reachable = false;
      f.b.emit({ kind: 'domain-gone', uuid: 'none' });
      await f.until(() => !isLive());
      expect(held()).to.deep.equal(['start_on']);
      go();
      f.b.reachable = true;
      await come();
      expect(row()).to.include({ power_state: 'Running', resident_on: member });
    });

    it('holds the VM until an operator settles it, where the host is lost', async () => {
      await begin(startOn);
      await restore();
      await f.until(() => held().length > 0);
      f.b.reachable = false;
      f.b.emit({ kind: 'domain-gone', uuid: 'none' });
      await f.until(() => !isLive());
      await reset();
      expect([held(), row().power_state]).to.deep.equal([[], 'Halted']);
    });

    it('holds nothing where the VM is not known either', async () => {
      const other = uuidOf(77);
      await begin(() =>
        f.b.service.shutdown(other, false, { id: 'unknown', task: 'OpaqueRef:t', operation: 'hard_shutdown' }),
      );
      await restart({ answers: true });
      await f.until(isLive);
      await look();
      expect(f.pool.db.findByUuid('VM', other)).to.equal(undefined);
      go();
      await startOn();
    });
  });

  for (const [how, action, after] of [
    ['poweroff', 'destroy', 'Halted'],
    ['poweroff', 'restart', 'Running'],
    ['reboot', 'restart', 'Running'],
    ['crash', 'destroy', 'Halted'],
  ] as const) {
    it(`is over though the guest ends by itself meanwhile (${how}, ${action}): the VM is ${after.toLowerCase()}`, async () => {
      f.pool.db.update('VM', vm, { actions_after_shutdown: action, actions_after_reboot: action });
      await startOn();
      const { domid } = row();
      await handlers().VM.pause(f.context(), vm);
      await begin(() => handlers().VM.unpause(f.context(), vm));
      await restart({ answers: true });
      await f.until(isLive);
      expect(held()).to.deep.equal(['unpause']);
      // It goes on, and ends before anybody looks.
      f.b.reachable = false;
      go();
      while (!domains().includes('running')) await turn();
      f.b.endGuest(uuid, how);
      f.b.reachable = true;
      await f.until(() => held().length === 0 && row().power_state === after);
      while (stored().length > 0) await turn();
      expect(row().resident_on).to.equal(after === 'Running' ? member : nullRef);
      if (after === 'Running') expect(row().domid).to.be.above(domid);
      expect(domains()).to.deep.equal(after === 'Running' ? ['running'] : []);
      expect(held()).to.deep.equal([]);
    });
  }
});
