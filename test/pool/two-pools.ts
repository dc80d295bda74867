/** Two pools of one host each, with a VM that runs in the first; the test itself is what the two hosts say to each other. */
import type { RecordOf, Ref } from '../../idl/index.js';
import type { MigrateRequest } from '../../src/host/service/service.js';
import { decodeReply, encodeMetadata } from '../../src/migrate/metadata.js';
import { recordWithDefaults } from '../../src/model/value.js';
import { fakeHost } from './fake-host.js';
import { openFixture, uuidOf } from './fixture.js';
import { requestTo } from './migration/migration-lab.js';

export type TwoPools = Awaited<ReturnType<typeof openTwoPools>>;

/** The VM has one interface. The caller closes both pools. */
export async function openTwoPools() {
  const here = await openFixture();
  const there = await openFixture([fakeHost('c', uuidOf(1), 8003), fakeHost('d', uuidOf(4), 8004)]);
  const vm = await here.createVm({ name_label: 'mover', other_config: { 'simulator:seed': '3' } });
  const network = here.pool.db.all('network')[0]![0];
  const args = { ...(recordWithDefaults('VIF') as RecordOf<'VIF'>), VM: vm, network, MTU: 1400 };
  const vif = await here.pool.dispatch.handlers.VIF.create(here.context(), args);
  await here.pool.dispatch.handlers.VM.start(here.context(), vm, false, false);

  const networkThere = (): Ref<'network'> => there.pool.db.all('network')[0]![0];
  const destination = async (): Promise<Record<string, string>> =>
    there.pool.dispatch.handlers.host.migrate_receive(there.context(), there.hostA, networkThere(), {});
  const send = async (vifMap: Record<string, Ref<'network'>>, dest?: Record<string, string>): Promise<Ref<'VM'>> => {
    const { migrate_send } = here.pool.dispatch.handlers.VM;
    return migrate_send(here.context(), vm, dest ?? (await destination()), true, {}, vifMap, {}, {}, {});
  };
  const asked = () => requestTo(here.a);
  const receive = async (request: MigrateRequest) => {
    const { receive: call } = there.pool.dispatch.handlers.VM;
    return decodeReply(
      await call(there.context(), there.hostA, request.migrationId, encodeMetadata(request.metadata), {}),
    );
  };
  return { here, there, vm, vif, networkThere, destination, send, asked, receive };
}
