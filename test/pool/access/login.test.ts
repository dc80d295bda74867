import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import type { RecordOf } from '../../../idl/index.js';
import { createDispatch } from '../../../src/api/dispatch.js';
import { encodeJson } from '../../../src/api/json-value.js';
import type { Dispatch } from '../../../src/model/dispatch.js';
import { surface } from '../../../src/model/surface.js';
import { nullRef, recordWithDefaults } from '../../../src/model/value.js';
import { type Fixture, openFixture } from '../fixture.js';

/** What clients do first: log in, ask who and where they are, fetch every object, follow events. */
describe('a client that logs in', () => {
  let f: Fixture;
  let dispatch: Dispatch;
  let session: string;
  before(async () => {
    f = await openFixture();
    await f.joinB();
    await f.runningVm();
    dispatch = createDispatch(f.pool.dispatch);
    const password = readFileSync(join(f.dir, 'root-password'), 'utf8').trim();
    session = String(await send('session.login_with_password', 'root', password, '1.0', 'test'));
  });
  after(() => f.close());

  /** The result as it reaches the client. */
  const send = async (name: string, ...params: unknown[]): Promise<unknown> => {
    const { origin } = f.context();
    const { type, value } = await dispatch({ name, params, validUtf8: true, origin });
    return JSON.parse(encodeJson(type, value));
  };
  const ask = (name: string, ...params: unknown[]): Promise<unknown> => send(name, session, ...params);

  it('learns who it is', async () => {
    expect(await ask('session.get_this_host', session)).to.equal(f.hostA);
    expect(await ask('session.get_is_local_superuser', session)).to.equal(true);
    expect(await ask('session.get_subject', session)).to.equal(nullRef);
    expect(await ask('session.get_auth_user_sid', session)).to.equal('');
    expect(await ask('session.get_rbac_permissions', session)).to.deep.equal([]);
    expect(await ask('session.get_all_subject_identifiers')).to.deep.equal([]);
  });

  it('learns what it is connected to', async () => {
    expect(await ask('host.get_API_version_major', f.hostA)).to.equal(2);
    expect(await ask('host.get_API_version_minor', f.hostA)).to.be.a('number');
    const [pool] = (await ask('pool.get_all')) as [string];
    expect(await ask('pool.get_record', pool)).to.include({ master: f.hostA });
    expect(await ask('host.get_record', f.hostA)).to.include({ name_label: 'a', enabled: true });
    expect(await send('system.listMethods')).to.include.members(['VM.pool_migrate', 'host.evacuate', 'event.from']);
  });

  it('finds the roles, and what they may do', async () => {
    const roles = (await ask('role.get_all_records')) as Record<string, { name_label: string; subroles: string[] }>;
    const byName = Object.fromEntries(Object.entries(roles).map(([ref, role]) => [role.name_label, { ref, ...role }]));
    expect(Object.keys(byName)).to.have.members([
      'pool-admin',
      'pool-operator',
      'vm-power-admin',
      'vm-admin',
      'vm-operator',
      'client-cert',
      'read-only',
    ]);
    expect(byName['pool-admin']?.ref).to.equal('OpaqueRef:0165f154-ba3e-034e-6b27-5d271af109ba');
    expect(byName['vm-admin']?.subroles).to.deep.equal([byName['vm-operator']?.ref, byName['read-only']?.ref]);
    const may = (role: string) => ask('role.get_permissions_name_label', byName[role]?.ref);
    expect(await may('vm-power-admin'))
      .to.include('vm.pool_migrate')
      .and.not.include('host.evacuate');
    expect(await may('read-only'))
      .to.include('vm.get_record')
      .and.not.include('vm.start');
    const who = await ask('role.get_by_permission_name_label', 'host.evacuate');
    expect(who).to.have.members(['pool-admin', 'pool-operator', 'client-cert'].map((name) => byName[name]?.ref));
    expect(await ask('role.get_by_permission_name_label', 'no.such')).to.deep.equal([]);
  });

  const listings = [...surface.values()].filter(({ method }) => method === 'get_all_records');
  for (const { name, removed } of listings) {
    it(`gets ${removed ? 'told that there is no more' : 'every record by'} ${name}`, async () => {
      const answer = f.failure(async () => expect(await ask(name)).to.be.an('object'));
      expect(await answer).to.deep.equal(removed ? ['MESSAGE_REMOVED'] : []);
    });
  }

  it('has listings of more than fifty classes', () => {
    expect(listings.length).to.be.greaterThan(50);
  });

  it('starts to follow events where it stands, and gets everything when it asks from the start', async () => {
    const [pool] = f.pool.db.all('pool').map(([ref]) => ref);
    const token = await ask('event.inject', 'pool', pool);
    const first = (await ask('event.from', ['*'], token, 0)) as { events: { class: string; ref: string }[] };
    expect(first.events.map((event) => event.class)).to.include('pool');
    const all = (await ask('event.from', ['*'], '', 0)) as { events: { class: string; ref: string }[] };
    for (const [ref] of f.pool.db.all('SR')) expect(all.events.map((event) => event.ref)).to.include(ref);
    const counts = (all as unknown as { valid_ref_counts: Record<string, number> }).valid_ref_counts;
    expect(counts).to.include({ host: 2, sr: 2, pbd: 2, pif: 2, host_cpu: 8, role: 7, vm: f.pool.db.count('VM') });
  });

  it('ends the sessions of an outside user, and its own', async () => {
    f.pool.db.create('session', { auth_user_sid: 'S-1-5', auth_user_name: 'someone' });
    expect(await ask('session.get_all_subject_identifiers')).to.deep.equal(['S-1-5']);
    await ask('session.logout_subject_identifier', 'S-1-5');
    expect(await ask('session.get_all_subject_identifiers')).to.deep.equal([]);
    expect(await f.failure(() => ask('session.logout_subject_identifier', ''))).to.have.property('0', 'INVALID_VALUE');
    await ask('session.local_logout');
    expect(await f.failure(() => ask('pool.get_all'))).to.deep.equal(['SESSION_INVALID', session]);
  });
});

describe('network', () => {
  let f: Fixture;
  beforeEach(async () => {
    f = await openFixture();
  });
  afterEach(() => f.close());

  it('is attached to the hosts that it reaches, and has one purpose', async () => {
    const { network } = f.pool.dispatch.handlers;
    const hostB = await f.joinB();
    const { db } = f.pool;
    const island = db.create('network', { bridge: 'xapi9' });
    await network.attach(f.context(), island, hostB);
    db.create('PIF', { host: f.hostA, network: island, device: 'eth1' });
    await network.attach(f.context(), island, f.hostA);
    const attach = () => network.attach(f.context(), island, hostB);
    expect(await f.failure(attach)).to.deep.equal(['HOST_CANNOT_ATTACH_NETWORK', hostB, island]);
    await network.add_purpose(f.context(), island, 'nbd');
    await network.add_purpose(f.context(), island, 'nbd');
    expect(db.get('network', island).purpose).to.deep.equal(['nbd']);
    const other = () => network.add_purpose(f.context(), island, 'insecure_nbd');
    expect(await f.failure(other)).to.deep.equal(['NETWORK_INCOMPATIBLE_PURPOSES', 'insecure_nbd', 'nbd']);
  });

  it('has a bridge of its own', async () => {
    const { network } = f.pool.dispatch.handlers;
    const defaults = recordWithDefaults('network') as RecordOf<'network'>;
    const create = (bridge: string) => network.create(f.context(), { ...defaults, managed: true, bridge });
    const bridges = [await create(''), await create('xenbr7'), await create('')].map(
      (ref) => f.pool.db.get('network', ref).bridge,
    );
    expect(bridges).to.deep.equal(['xapi0', 'xenbr7', 'xapi1']);
    expect(await f.failure(() => create('xenbr7'))).to.deep.equal(['BRIDGE_NAME_EXISTS', 'xenbr7']);
    expect((await f.failure(() => create('b'.repeat(16))))[0]).to.equal('INVALID_VALUE');
  });

  it('loses an interface only while no VM uses it', async () => {
    const { db } = f.pool;
    const network = db.create('network', { bridge: 'xapi9' });
    const pif = db.create('PIF', { host: f.hostA, network, device: 'eth1', currently_attached: true });
    const VM = await f.runningVm();
    const vif = db.create('VIF', { VM, network, device: '0', currently_attached: true });
    const { unplug, plug } = f.pool.dispatch.handlers.PIF;
    expect(await f.failure(() => unplug(f.context(), pif))).to.deep.equal(['VIF_IN_USE', network, vif]);
    db.update('VIF', vif, { currently_attached: false });
    await unplug(f.context(), pif);
    expect(db.get('PIF', pif).currently_attached).to.equal(false);
    await plug(f.context(), pif);
    db.update('PIF', pif, { disallow_unplug: true });
    expect(await f.failure(() => unplug(f.context(), pif))).to.deep.equal(['PIF_DOES_NOT_ALLOW_UNPLUG', pif]);
  });
});
