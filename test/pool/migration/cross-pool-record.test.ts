import { expect } from 'chai';
import type { RecordOf, Ref } from '../../../idl/index.js';
import { recordWithDefaults } from '../../../src/model/value.js';
import { startApi } from '../../api/api-server.js';
import { anyKeys, expectMap, forbiddenKeys, mapOf } from '../../support/map-keys.js';
import type { Fixture } from '../fixture.js';
import { openTwoPools, type TwoPools } from '../two-pools.js';

describe('the record of a VM that goes to another pool', () => {
  let here: Fixture;
  let there: Fixture;
  let vm: Ref<'VM'>;
  let vif: Ref<'VIF'>;
  let networkThere: TwoPools['networkThere'];
  let destination: TwoPools['destination'];
  let send: TwoPools['send'];
  let asked: TwoPools['asked'];
  let receive: TwoPools['receive'];

  beforeEach(async () => {
    ({ here, there, vm, vif, networkThere, destination, send, asked, receive } = await openTwoPools());
  });
  afterEach(async () => {
    await here.close();
    await there.close();
  });

  it('has every key of its maps there, and of those of its devices', async () => {
    const map = mapOf(anyKeys);
    const fields = ['platform', 'xenstore_data', 'HVM_boot_params', 'VCPUs_params', 'NVRAM', 'bios_strings'] as const;
    here.pool.db.update('VM', vm, Object.fromEntries(fields.map((field) => [field, map])));
    here.pool.db.update('VM', vm, { other_config: { ...here.pool.db.get('VM', vm).other_config, ...map } });
    here.pool.db.update('VIF', vif, { other_config: map });
    const call = send({ [vif]: networkThere() });
    const request = await asked();
    const arrived = there.pool.db.get('VM', (await receive(request)).vm as Ref<'VM'>);
    for (const field of fields) expectMap(arrived[field], map, field);
    expectMap({ ...arrived.other_config, ...map }, arrived.other_config, 'other_config');
    expectMap(there.pool.db.get('VIF', arrived.VIFs[0] as Ref<'VIF'>).other_config, map, 'other_config of the VIF');
    here.a.end(request.migrationId, { status: 'failure', error: { code: 'VM_MIGRATE_FAILED', params: [] } });
    await here.failure(() => call);
  });

  it('is refused there with a text that no client could read, and the field is named', async () => {
    const call = send({ [vif]: networkThere() });
    const request = await asked();
    const records = request.metadata.records as { vm: { xenstore_data: object; name_description: string } };
    const { vm: record } = records;
    for (const key of forbiddenKeys) {
      for (const [bad, field] of [
        [{ ...record, xenstore_data: { [key]: 'value' } }, `xenstore_data.${key}`],
        [{ ...record, xenstore_data: { key } }, 'xenstore_data.key'],
        [{ ...record, name_description: key }, 'name_description'],
      ] as const) {
        const metadata = { ...request.metadata, records: { ...records, vm: bad } };
        const [code, named] = await there.failure(() => receive({ ...request, metadata }));
        expect([code, named]).to.deep.equal(['INVALID_VALUE', `metadata.records.vm.${field}`]);
      }
    }
    here.a.end(request.migrationId, { status: 'failure', error: { code: 'VM_MIGRATE_FAILED', params: [] } });
    await here.failure(() => call);
  });

  it('takes along all that was written before it, and lets nothing be written here from then on, until it fails', async () => {
    const { handlers, rows } = here.pool.dispatch;
    const context = here.context();
    const writes: Record<string, () => unknown> = {
      name_label: () => rows.set('VM', vm, 'name_label', 'other'),
      name_description: () => rows.set('VM', vm, 'name_description', 'other'),
      tags: () => rows.addToSet('VM', vm, 'tags', 'other'),
      'tags removed': () => rows.removeFromSet('VM', vm, 'tags', 'other'),
      other_config: () => rows.addToMap('VM', vm, 'other_config', 'key', 'other'),
      'other_config removed': () => rows.removeFromMap('VM', vm, 'other_config', 'key'),
      blocked_operations: () => rows.set('VM', vm, 'blocked_operations', {}),
      ha_restart_priority: () => handlers.VM.set_ha_restart_priority(context, vm, ''),
      'MTU of a VIF': () => rows.set('VIF', vif, 'other_config', {}),
      'addresses of a VIF': () => handlers.VIF.set_ipv4_allowed(context, vif, ['10.0.0.1']),
      'more addresses of a VIF': () => handlers.VIF.add_ipv6_allowed(context, vif, '::1'),
    };
    const call = send({ [vif]: networkThere() });
    const early = Promise.resolve(rows.set('VM', vm, 'name_description', 'early')).then(
      () => true,
      () => false,
    );
    const request = await asked();
    const arriving = (await receive(request)).vm as Ref<'VM'>;
    const arrived = there.pool.db.get('VM', arriving).name_description;
    expect(arrived === 'early', 'what was answered has come along').to.equal(await early);
    const before = structuredClone(here.pool.db.get('VM', vm));
    for (const [what, write] of Object.entries(writes)) {
      const [code, cls, ref, operation] = await here.failure(async () => write());
      expect([code, cls, ref, operation], what).to.deep.equal([
        'OTHER_OPERATION_IN_PROGRESS',
        'VM',
        vm,
        'migrate_send',
      ]);
    }
    expect(here.pool.db.get('VM', vm)).to.deep.equal(before);
    here.a.end(request.migrationId, { status: 'failure', error: { code: 'VM_MIGRATE_FAILED', params: [] } });
    await here.failure(() => call);
    for (const write of Object.values(writes)) await write();
  });

  for (const [field, value] of [
    ['other_config', Object.fromEntries([...Array(40).keys()].map((key) => [`key ${key}`, 'x'.repeat(10_000)]))],
    ['name_description', '\u{1f600}"'.repeat(60_000)],
    ['tags', [...Array(400).keys()].map((key) => `${key}${'y'.repeat(1000)}`)],
  ] as const) {
    it(`is refused here, the same by the call that only asks, for a record that no call can carry: ${field}`, async () => {
      here.pool.db.update('VM', vm, { [field]: value });
      const { assert_can_migrate } = here.pool.dispatch.handlers.VM;
      const dest = await destination();
      const map = { [vif]: networkThere() };
      const refused = await here.failure(() => assert_can_migrate(here.context(), vm, dest, true, {}, map, {}, {}));
      const bytes = Buffer.byteLength(JSON.stringify(here.pool.db.get('VM', vm)[field]));
      expect(refused).to.deep.equal(['INVALID_VALUE', field, `${bytes} bytes`]);
      expect(await here.failure(() => send(map, dest))).to.deep.equal(refused);
      expect(here.pool.db.get('VM', vm).current_operations).to.deep.equal({});
      expect(here.a.migrations).to.deep.equal([]);
    });
  }

  describe('with interfaces that no map names', () => {
    let api: Awaited<ReturnType<typeof startApi>>;
    let dest: Record<string, string>;
    beforeEach(async () => {
      api = await startApi(there.pool.dispatch);
      dest = { ...(await destination()), master: `http://127.0.0.1:${api.port}` };
    });
    afterEach(() => api.close());
    const assertCan = () =>
      here.pool.dispatch.handlers.VM.assert_can_migrate(here.context(), vm, dest, true, {}, {}, {}, {});

    it('takes them to the only network there, where they are on one here', async () => {
      const { db, dispatch } = here.pool;
      const args = { ...(recordWithDefaults('VIF') as RecordOf<'VIF'>), VM: vm, network: db.get('VIF', vif).network };
      await dispatch.handlers.VIF.create(here.context(), args);
      await assertCan();
      const call = send({}, dest);
      const request = await asked();
      expect(request.metadata.vifs.map(({ network }) => network)).to.deep.equal([networkThere(), networkThere()]);
      here.a.end(request.migrationId, { status: 'failure', error: { code: 'VM_MIGRATE_FAILED', params: [] } });
      await here.failure(() => call);
    });

    it('is refused where there are two networks there', async () => {
      there.pool.db.create('network', {});
      expect(await here.failure(assertCan)).to.deep.equal(['VIF_NOT_IN_MAP', vif]);
    });

    it('is refused where they are on two networks here', async () => {
      const other = here.pool.db.create('network', {});
      const args = { ...(recordWithDefaults('VIF') as RecordOf<'VIF'>), VM: vm, network: other };
      await here.pool.dispatch.handlers.VIF.create(here.context(), args);
      expect(await here.failure(assertCan)).to.deep.equal(['VIF_NOT_IN_MAP', vif]);
    });
  });
});
