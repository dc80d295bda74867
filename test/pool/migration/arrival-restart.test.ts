import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import type { MigrateRequest, ReceiveRequest } from '../../../src/host/service/service.js';
import { encodeMetadata } from '../../../src/migrate/metadata.js';
import type { Fixture } from '../fixture.js';
import { ownVms } from '../own-vms.js';
import { openTwoPools, type TwoPools } from '../two-pools.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));
const never = new Promise<never>(() => undefined);

for (const rest of ['running', 'halted'] as const) {
  describe(`A ${rest} VM that is to come from another pool`, () => {
    let pools: TwoPools;
    let here: Fixture;
    let there: Fixture;
    let member: Ref<'host'>;
    let request: MigrateRequest;
    let ended: Promise<string[]>;
    beforeEach(async () => {
      pools = await openTwoPools();
      ({ here, there } = pools);
      member = await there.joinB();
      if (rest === 'halted') await here.pool.dispatch.handlers.VM.hard_shutdown(here.context(), pools.vm);
      ended = here.failure(() => pools.send({ [pools.vif]: pools.networkThere() }));
      request = await pools.asked();
    });
    afterEach(async () => {
      here.a.end(request.migrationId, { status: 'failure', error: { code: 'VM_MIGRATE_FAILED', params: [] } });
      await ended;
      await here.close();
      await there.close();
    });

    const arriving = () => ownVms(there.pool.db);
    const held = () => arriving().flatMap((vm) => Object.values(there.pool.db.get('VM', vm).current_operations));
    const handlers = () => there.pool.dispatch.handlers.VM;
    const receive = async () =>
      handlers().receive(there.context(), member, request.migrationId, encodeMetadata(request.metadata), {});
    const reset = () => handlers().power_state_reset(there.context(), arriving()[0]!);
    const isLive = () => there.pool.db.get('host_metrics', there.pool.db.get('host', member).metrics).live;
    /** The coordinator has asked its host, which has not read it yet. @returns the host reads it */
    const askInVain = async (): Promise<() => Promise<unknown>> => {
      const { receive: read } = there.b.service;
      const asked = await new Promise<ReceiveRequest>((resolve) => {
        there.b.service.receive = (each) => {
          resolve(each);
          return never;
        };
        void receive();
      });
      there.b.service.receive = read;
      return () => read(asked);
    };
    /** @param answers whether its host answers then */
    const restart = async (answers: boolean): Promise<void> => {
      there.b.reachable = answers;
      there = await there.restart();
    };

    it('has no record without the row that holds it', async () => {
      const received = there.failure(receive);
      const stored = (table: string) => [...there.store.table<{ record?: { uuid: string } }>(table).entries()];
      const isStored = () => stored('rows.VM').some(([, { record }]) => record?.uuid === request.uuid);
      for (let rows = 0; !isStored(); rows = stored('arrivals').length) {
        await turn();
        if (isStored()) expect(rows).to.equal(1);
      }
      expect(await received).to.deep.equal([]);
    });

    it('leaves nothing where the coordinator ends before its host has heard of it, which then refuses it', async () => {
      const read = await askInVain();
      expect(held()).to.deep.equal(['migrate_send']);
      await restart(true);
      await there.until(() => arriving().length === 0);
      expect((await there.failure(read))[0]).to.equal('OPERATION_NOT_ALLOWED');
      while ([...there.store.table('arrivals').entries()].length > 0) await turn();
    });

    it('is held where the coordinator ends when its host has answered', async () => {
      await receive();
      await restart(true);
      await there.until(isLive);
      // Its host has been asked by then, and looked at once more.
      const { looks } = there.b;
      there.b.emit({ kind: 'domain-gone', uuid: 'none' });
      while (there.b.looks === looks) await turn();
      expect(held()).to.deep.equal(['migrate_send']);
    });

    for (const answered of [false, true]) {
      it(`is removed by VM.power_state_reset, not freed, where its host is gone (it had answered: ${answered})`, async () => {
        if (answered) await receive();
        else await askInVain();
        await restart(false);
        expect(held()).to.deep.equal(['migrate_send']);
        await reset();
        expect(arriving()).to.deep.equal([]);
        there = await there.restart();
        expect(arriving()).to.deep.equal([]);
      });
    }

    it('is removed by VM.power_state_reset where its host has never heard of it, and refused there from then on', async () => {
      const read = await askInVain();
      await reset();
      expect(arriving()).to.deep.equal([]);
      expect((await there.failure(read))[0]).to.equal('OPERATION_NOT_ALLOWED');
    });
  });
}
