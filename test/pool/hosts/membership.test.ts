import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import { XapiError } from '../../../src/base/errors.js';
import { nullRef } from '../../../src/model/value.js';
import { type Fixture, openFixture, uuidOf } from '../fixture.js';

/** Wait for what is no change of the database. */
async function soon(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

describe('the membership of a pool', () => {
  let f: Fixture;
  let hostB: Ref<'host'>;
  beforeEach(async () => {
    f = await openFixture();
    hostB = await f.joinB();
    await soon(() => f.membership.told.has(f.b.url));
  });
  afterEach(() => f.close());
  const pool = () => f.pool.dispatch.handlers.pool;
  const isLive = (host: Ref<'host'>) => f.pool.db.get('host_metrics', f.pool.db.get('host', host).metrics).live;
  const loseB = async (): Promise<void> => {
    f.b.reachable = false;
    f.b.emit({ kind: 'domain-gone', uuid: 'wakes the poll' });
    await f.until(() => !isLive(hostB));
  };

  describe('pool.eject', () => {
    it('lets a host leave, and removes what was its alone', async () => {
      const { db } = f.pool;
      const { metrics, PIFs, PBDs, host_CPUs } = db.get('host', hostB);
      const vm = await f.createVm({ affinity: hostB });
      const [controlDomain] = db.get('host', hostB).resident_VMs;
      const SRs = PBDs.map((pbd) => db.get('PBD', pbd).SR);
      expect([PIFs.length, PBDs.length, host_CPUs.length > 0]).to.deep.equal([1, 1, true]);
      const cpus = () => db.all('pool').map(([, { cpu_info }]) => cpu_info.cpu_count);
      expect(cpus()).to.deep.equal(['8']);
      await pool().eject(f.context(), hostB);
      expect(f.membership.left).to.deep.equal([f.b.url]);
      for (const [cls, refs] of [
        ['host', [hostB]],
        ['host_metrics', [metrics]],
        ['PIF', PIFs],
        ['PBD', PBDs],
        ['SR', SRs],
        ['VM', [controlDomain]],
        ['host_cpu', host_CPUs],
      ] as const) {
        for (const ref of refs) expect(db.find(cls, ref as Ref<never>), cls).to.equal(undefined);
      }
      expect(db.get('VM', vm).affinity).to.equal(nullRef);
      expect(db.count('network')).to.equal(1);
      expect(cpus()).to.deep.equal(['4']);
      f = await f.restart();
      expect(f.pool.db.count('host')).to.equal(1);
    });

    it('refuses the coordinator, a host with a VM, one that does not answer, and one that does not want to', async () => {
      const eject = (host: Ref<'host'>) => f.failure(() => pool().eject(f.context(), host));
      expect((await eject(f.hostA))[0]).to.equal('OPERATION_NOT_ALLOWED');
      expect(await eject('OpaqueRef:x' as Ref<'host'>)).to.deep.equal(['HANDLE_INVALID', 'host', 'OpaqueRef:x']);
      f.membership.refusing.set(f.b.url, new XapiError('HOST_HAS_RESIDENT_VMS', [uuidOf(2)]));
      expect(await eject(hostB)).to.deep.equal(['HOST_HAS_RESIDENT_VMS', hostB]);
      f.membership.refusing.set(
        f.b.url,
        new XapiError('OTHER_OPERATION_IN_PROGRESS', ['host', uuidOf(2), 'vm_migrate', 'm']),
      );
      expect(await eject(hostB)).to.deep.equal(['OTHER_OPERATION_IN_PROGRESS', 'host', hostB, 'vm_migrate', 'm']);
      f.membership.refusing.set(f.b.url, new XapiError('INTERNAL_ERROR', ['leave at http://...: connection refused']));
      expect(await eject(hostB)).to.deep.equal(['HOST_OFFLINE', hostB]);
      expect(f.pool.db.get('host', hostB).enabled).to.equal(true);
      const vm = await f.createVm();
      await f.pool.dispatch.handlers.VM.start_on(f.context(), vm, hostB, false, false);
      expect(await eject(hostB)).to.deep.equal(['HOST_HAS_RESIDENT_VMS', hostB]);
      await f.pool.dispatch.handlers.VM.hard_shutdown(f.context(), vm);
      await loseB();
      expect(await eject(hostB)).to.deep.equal(['HOST_OFFLINE', hostB]);
    });

    it('forgets a host that has left already', async () => {
      f.membership.refusing.set(f.b.url, new XapiError('SESSION_AUTHENTICATION_FAILED', ['host', 'another secret']));
      await pool().eject(f.context(), hostB);
      expect(f.pool.db.count('host')).to.equal(1);
    });
  });

  describe('host.destroy', () => {
    const destroy = (host: Ref<'host'>) => f.failure(() => f.pool.dispatch.handlers.host.destroy(f.context(), host));

    it('forgets a host that is lost, and its secret with it', async () => {
      const { db } = f.pool;
      const vm = await f.createVm();
      await f.pool.dispatch.handlers.VM.start_on(f.context(), vm, hostB, false, false);
      expect(await destroy(f.hostA)).to.deep.equal(['HOST_CANNOT_DESTROY_SELF', f.hostA]);
      expect(await destroy(hostB)).to.deep.equal(['HOST_IS_LIVE', hostB]);
      await loseB();
      await pool().rotate_secret(f.context());
      expect(f.membership.secrets()).to.have.length(2);
      expect(await destroy(hostB)).to.deep.equal(['HOST_HAS_RESIDENT_VMS', hostB]);
      await f.pool.dispatch.handlers.host.declare_dead(f.context(), hostB);
      expect(await destroy(hostB)).to.deep.equal([]);
      expect([db.count('host'), db.count('PIF'), db.count('SR')]).to.deep.equal([1, 1, 1]);
      expect(db.get('VM', vm)).to.include({ power_state: 'Halted', resident_on: nullRef });
      expect(f.membership.secrets()).to.have.length(1);
      f = await f.restart();
      expect(f.pool.db.count('host')).to.equal(1);
    });

    it('forgets a host whose address is not known, as when the daemon ended while it joined', async () => {
      await f.store.table('members').remove(f.b.state().uuid);
      f = await f.restart();
      expect(isLive(hostB)).to.equal(false);
      expect(await destroy(hostB)).to.deep.equal([]);
      expect(f.pool.db.count('host')).to.equal(1);
    });

    it('refuses one that is back already', async () => {
      await loseB();
      f.b.reachable = true;
      expect(await destroy(hostB)).to.deep.equal(['HOST_IS_LIVE', hostB]);
    });
  });

  describe('pool.rotate_secret', () => {
    const secrets = () => f.membership.secrets();

    it('gives every live host the new secret, and then the old one counts no more', async () => {
      await pool().rotate_secret(f.context());
      expect(secrets()).to.have.length(1);
      expect(secrets()[0]).to.match(/^[0-9a-f]{64}$/);
      expect(f.membership.told.get(f.b.url)).to.deep.equal(secrets());
      expect(await pool().initial_auth(f.context())).to.equal(secrets()[0]);
    });

    it('lets the old ones count until a host that is away has the new one', async () => {
      await loseB();
      await pool().rotate_secret(f.context());
      await pool().rotate_secret(f.context());
      expect(secrets()).to.have.length(3);
      expect(secrets()[2]).to.equal('the first secret');
      f.b.reachable = true;
      await f.until(() => isLive(hostB));
      await soon(() => secrets().length === 1 && f.membership.told.get(f.b.url)?.length === 1);
      expect(f.membership.told.get(f.b.url)).to.deep.equal(secrets());
    });

    it('counts no old secret for the sake of a host that has left', async () => {
      f.membership.refusing.set(f.b.url, new XapiError('INTERNAL_ERROR', ['no']));
      await pool().rotate_secret(f.context());
      expect(secrets()).to.have.length(2);
      f.membership.refusing.clear();
      await pool().eject(f.context(), hostB);
      expect(secrets()).to.have.length(1);
    });
  });

  it('is told of by pool.hello and pool.is_slave', async () => {
    const { hello, is_slave } = pool();
    expect(await hello(f.context(), uuidOf(2), '127.0.0.1')).to.equal('ok');
    expect(await hello(f.context(), uuidOf(9), '127.0.0.1')).to.equal('unknown_host');
    f.b.reachable = false;
    expect(await hello(f.context(), uuidOf(2), '127.0.0.1')).to.equal('cannot_talk_back');
    expect([await is_slave(f.context(), f.hostA), await is_slave(f.context(), hostB)]).to.deep.equal([false, true]);
  });

  it('is taken up again at once by pool.recover_slaves', async () => {
    await loseB();
    expect(await pool().recover_slaves(f.context())).to.deep.equal([]);
    f.b.reachable = true;
    expect(await pool().recover_slaves(f.context())).to.deep.equal([hostB]);
    await f.until(() => isLive(hostB));
    expect(await pool().recover_slaves(f.context())).to.deep.equal([]);
  });

  describe('pool.join', () => {
    const join = () => f.failure(() => pool().join(f.context(), '127.0.0.1:1', 'root', 'x'));
    beforeEach(async () => {
      if (f.pool.db.count('host') > 1) await pool().eject(f.context(), hostB);
    });

    it('refuses while the host has a pool, running or suspended VMs, or work under way', async () => {
      const vm = await f.runningVm();
      expect(await join()).to.deep.equal(['JOINING_HOST_CANNOT_HAVE_RUNNING_VMS']);
      await f.pool.dispatch.handlers.VM.hard_shutdown(f.context(), vm);
      f.pool.db.putInMap('VM', vm, 'current_operations', 'x', 'clone');
      expect(await join()).to.deep.equal(['JOINING_HOST_CANNOT_HAVE_VMS_WITH_CURRENT_OPERATIONS']);
      f.pool.db.removeFromMap('VM', vm, 'current_operations', 'x');
      f.pool.db.update('VM', vm, { power_state: 'Suspended' });
      expect(await join()).to.deep.equal(['JOINING_HOST_CANNOT_HAVE_RUNNING_OR_SUSPENDED_VMS']);
      f.pool.db.update('VM', vm, { power_state: 'Halted' });
      const sr = f.pool.db.create('SR', { shared: true });
      expect(await join()).to.deep.equal(['JOINING_HOST_CANNOT_CONTAIN_SHARED_SRS']);
      f.pool.db.destroy('SR', sr);
      hostB = await f.joinB();
      expect(await join()).to.deep.equal(['JOINING_HOST_CANNOT_BE_MASTER_OF_OTHER_HOSTS']);
    });

    it('says that it does not reach the other pool', async () => {
      expect(await join()).to.deep.equal(['JOINING_HOST_CONNECTION_FAILED']);
    });

    for (const address of ['', 'https://10.0.0.1', 'a b', '10.0.0.1:port']) {
      it(`takes no '${address}' for an address`, async () => {
        const [code, name] = await f.failure(() => pool().join(f.context(), address, 'root', 'x'));
        expect([code, name]).to.deep.equal(['INVALID_VALUE', 'master_address']);
      });
    }

    it('says that https is not spoken', async () => {
      const joining = async () => pool().join(f.context(), 'https://10.0.0.1', 'root', 'x');
      const refused = await joining().catch((error: unknown) => error);
      expect(refused).to.have.property('cause').that.contains('https is not spoken');
    });
  });
});
