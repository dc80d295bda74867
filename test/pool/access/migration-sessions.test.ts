import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import { createDispatch } from '../../../src/api/dispatch.js';
import { toXapiError, XapiError } from '../../../src/base/errors.js';
import type { MigrateRequest } from '../../../src/host/service/service.js';
import { encodeMetadata } from '../../../src/migrate/metadata.js';
import type { Dispatch } from '../../../src/model/dispatch.js';
import type { SessionService } from '../../../src/pool/access/sessions.js';
import type { Fixture } from '../fixture.js';
import { openTwoPools, type TwoPools } from '../two-pools.js';

const anotherUuid = '01234567-89ab-4def-8123-456789abcdef';

describe('the session that host.migrate_receive gives to another pool', () => {
  let pools: TwoPools;
  let there: Fixture;
  let dispatch: Dispatch;
  let session: string;
  let request: MigrateRequest;
  let ended: Promise<unknown>;

  beforeEach(async () => {
    pools = await openTwoPools();
    ({ there } = pools);
    dispatch = createDispatch(there.pool.dispatch);
    const dest = await pools.destination();
    session = dest.session_id as string;
    ended = pools.send({ [pools.vif]: pools.networkThere() }, dest).catch(toXapiError);
    request = await pools.asked();
  });
  afterEach(async () => {
    pools.here.a.end(request.migrationId, { status: 'failure', error: { code: 'VM_MIGRATE_FAILED', params: [] } });
    await ended;
    await pools.here.close();
    await there.close();
  });

  /** The code with which a call fails, and its first parameter. */
  const failure = async (name: string, ...params: unknown[]): Promise<string> =>
    dispatch({ name, params: [session, ...params], validUtf8: true, origin: there.context().origin }).then(
      () => '',
      (error: unknown) => [toXapiError(error).code, toXapiError(error).params[0]].join(' '),
    );
  const receive = (uuid = request.uuid, id = request.migrationId, host = there.hostA): Promise<string> => {
    const { metadata } = request;
    const text = encodeMetadata({ ...metadata, domain: { ...metadata.domain, uuid } });
    return failure('VM.receive', host, id, text, {});
  };
  const isOpen = (ref = session): boolean => there.pool.dispatch.sessions.use(ref) !== undefined;
  const over = (taken: boolean, id = request.migrationId): void =>
    there.a.emit({ kind: 'receive-ended', migrationId: id, taken });

  it('calls what a source calls, and nothing else', async () => {
    const victim = await there.runningVm();
    const task = there.task().ref;
    const network = pools.networkThere();
    expect(await failure('network.get_all')).to.equal('');
    const refused: [name: string, ...params: unknown[]][] = [
      ['task.cancel', task],
      ['task.destroy', task],
      ['task.create', 'label', ''],
      ['VM.hard_shutdown', victim],
      ['Async.VM.hard_shutdown', victim],
      ['VM.get_all_records'],
      ['VM.set_name_label', victim, 'x'],
      ['VM.migrate_send', victim, {}, true, {}, {}, {}],
      ['host.migrate_receive', there.hostA, network, {}],
      ['host.disable', there.hostA],
      ['host.call_plugin', there.hostA, 'domains', 'list', {}],
      ['event.from', ['*'], '', 0],
      ['network.get_record', network],
      ['session.get_record', session],
      ['session.change_password', 'old', 'new'],
    ];
    for (const [name, ...params] of refused) {
      const permission = name.replace('Async.', '').toLowerCase();
      expect(await failure(name, ...params), name).to.equal(`RBAC_PERMISSION_DENIED ${permission}`);
    }
    expect(there.pool.db.get('VM', victim).power_state).to.equal('Running');
    expect(there.pool.db.find('task', task)).to.include({ status: 'pending' });
    expect(await failure('session.logout')).to.equal('');
    expect(isOpen()).to.equal(false);
  });

  it('is for one VM, which the first VM.receive names, at one host', async () => {
    const other = await there.joinB();
    expect(await receive(request.uuid, 'one', other)).to.equal('RBAC_PERMISSION_DENIED vm.receive');
    expect(await receive()).to.equal('');
    expect(await receive(anotherUuid, 'two')).to.equal('RBAC_PERMISSION_DENIED vm.receive');
    expect(await receive()).to.equal('');
    expect(there.a.received.map(({ migrationId }) => migrationId)).to.deep.equal(Array(2).fill(request.migrationId));
  });

  for (const taken of [true, false]) {
    it(`ends with the migration, ${taken ? 'which has taken the VM' : 'which has not'}`, async () => {
      await receive();
      if (taken) there.a.domain(request.uuid, 'running');
      expect(isOpen()).to.equal(true);
      over(taken);
      await there.until(() => !isOpen());
      expect(await receive()).to.equal(`SESSION_INVALID ${session}`);
    });
  }

  it('goes on where VM.receive was refused, for the same VM', async () => {
    there.a.refuse = new XapiError('HOST_NOT_ENOUGH_FREE_MEMORY', ['2', '1']);
    expect(await receive()).to.equal('HOST_NOT_ENOUGH_FREE_MEMORY 2');
    there.a.refuse = undefined;
    expect(await receive(anotherUuid)).to.equal('RBAC_PERMISSION_DENIED vm.receive');
    expect(await receive(request.uuid, 'again')).to.equal('');
  });

  it('goes on for a newer attempt for the same VM when the older one ends', async () => {
    await receive();
    await receive(request.uuid, 'newer');
    over(false);
    over(false, 'unknown');
    await receive(request.uuid, 'newer');
    expect(isOpen()).to.equal(true);
    over(false, 'newer');
    await there.until(() => !isOpen());
  });

  it('ends with the migration that was settled by an operator', async () => {
    await receive();
    const [vm] = there.pool.db.all('VM').find(([, { uuid }]) => uuid === request.uuid) ?? [];
    await there.pool.dispatch.handlers.VM.power_state_reset(there.context(), vm as Ref<'VM'>);
    expect(isOpen()).to.equal(false);
  });

  it('is not ended with it where the caller gave a session of its own', async () => {
    session = (there.pool.dispatch.sessions as SessionService).open('a client');
    expect(await receive()).to.equal('');
    over(false);
    await there.until(() => there.pool.db.all('VM').every(([, { uuid }]) => uuid !== request.uuid));
    expect(isOpen()).to.equal(true);
  });

  it('ends with a migration within the pool, which does not need it', async () => {
    const vm = await there.runningVm();
    const dest = await pools.destination();
    there.a.refuse = new XapiError('HOST_NOT_ENOUGH_FREE_MEMORY', ['2', '1']);
    await there.failure(() =>
      there.pool.dispatch.handlers.VM.migrate_send(there.context(), vm, dest, true, {}, {}, {}, {}, {}),
    );
    expect([isOpen(dest.session_id), isOpen()]).to.deep.equal([false, true]);
  });
});
