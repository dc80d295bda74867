import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import { toXapiError } from '../../../src/base/errors.js';
import type { MigrateRequest } from '../../../src/host/service/service.js';
import { encodeMetadata } from '../../../src/migrate/metadata.js';
import type { Fixture } from '../fixture.js';
import { ownVms } from '../own-vms.js';
import { openTwoPools, type TwoPools } from '../two-pools.js';

const anotherUuid = '01234567-89ab-4def-8123-456789abcdef';

describe('a migration_id that comes from another pool', () => {
  let pools: TwoPools;
  let there: Fixture;
  let request: MigrateRequest;
  let ended: Promise<unknown>;

  beforeEach(async () => {
    pools = await openTwoPools();
    ({ there } = pools);
    ended = pools.send({ [pools.vif]: pools.networkThere() }).catch(toXapiError);
    request = await pools.asked();
  });
  afterEach(async () => {
    pools.here.a.end(request.migrationId, { status: 'failure', error: { code: 'VM_MIGRATE_FAILED', params: [] } });
    await ended;
    await pools.here.close();
    await there.close();
  });

  const call = (given: { uuid?: string; host?: Ref<'host'>; at?: Fixture; id?: string; rest?: 'halted' } = {}) => {
    const { uuid = request.uuid, host, at = there, id = request.migrationId, rest } = given;
    const { metadata } = request;
    const domain = { ...metadata.domain, uuid };
    const text = encodeMetadata({ ...metadata, domain, ...(rest === undefined ? {} : { version: 2, rest }) });
    return at.pool.dispatch.handlers.VM.receive(at.context(), host ?? at.hostA, id, text, {});
  };
  const refused = (...given: Parameters<typeof call>) => there.failure(() => call(...given));
  const invalid = () => ['INVALID_VALUE', 'migration_id', request.migrationId];
  const held = () =>
    ownVms(there.pool.db).filter((vm) => Object.keys(there.pool.db.get('VM', vm).current_operations).length > 0);

  it('is of one migration: refused for another VM, host or state of the VM, and no record is made or held', async () => {
    const other = await there.joinB();
    const { vm } = await call();
    expect(await refused({ uuid: anotherUuid })).to.deep.equal(invalid());
    expect(await refused({ host: other })).to.deep.equal(invalid());
    expect(await refused({ rest: 'halted' })).to.deep.equal(invalid());
    expect(ownVms(there.pool.db)).to.deep.equal([vm]);
    there.a.emit({ kind: 'receive-ended', migrationId: request.migrationId, taken: false });
    await there.until(() => ownVms(there.pool.db).length === 0);
  });

  it('is of one of two VMs for which it comes at once', async () => {
    const answers = await Promise.all([there.failure(call), refused({ uuid: anotherUuid })]);
    expect(answers).to.deep.equal([[], invalid()]);
    expect(held()).to.have.length(1);
  });

  it('gets one reply for two calls that come at once, and one record', async () => {
    const [first, second] = await Promise.all([call(), call()]);
    expect(second).to.deep.equal(first);
    expect(held()).to.deep.equal([first?.vm]);
  });

  it('is refused where it is that of a migration which leaves, whose end is told to its own call', async () => {
    const { here } = pools;
    expect(await here.failure(() => call({ at: here, uuid: anotherUuid }))).to.deep.equal(invalid());
    expect(ownVms(here.pool.db)).to.deep.equal([pools.vm]);
    here.a.emit({ kind: 'receive-ended', migrationId: request.migrationId, taken: false });
    here.a.end(request.migrationId, { status: 'failure', error: { code: 'HOST_DISABLED', params: ['x'] } });
    expect(await ended).to.have.property('code', 'HOST_DISABLED');
  });
});
