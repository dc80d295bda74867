import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import { createVm } from '../../src/cli/local-pool/local-vm.js';
import { createRpcClient } from '../../src/wire/connection/rpc-client.js';
import { eventually } from '../hypervisor/hypervisor-process.js';
import { type Daemon, openSite, type Site } from './daemon.js';

/** What a call fails with: the code and its parameters. */
async function failure(call: Promise<unknown>): Promise<string[]> {
  const error = await call.then(
    () => undefined,
    (thrown: { code?: string; params?: readonly string[] }) => thrown,
  );
  return [error?.code ?? '', ...(error?.params ?? [])];
}

/** A call without a session. */
async function ask<T>(daemon: Daemon, method: string, ...params: unknown[]): Promise<T> {
  const client = createRpcClient(`${daemon.url}/jsonrpc`);
  try {
    return await client.call<T>(method, params);
  } finally {
    client.close();
  }
}

describe('daemons that become a pool', function () {
  this.timeout(60_000);
  let here: Site;
  let there: Site;
  beforeEach(() => {
    here = openSite();
    there = openSite();
    here.configure('host-name = here');
    there.configure('host-name = there');
  });
  afterEach(async () => {
    await here.close();
    await there.close();
  });
  const passwordOf = (site: Site) => fs.readFileSync(path.join(site.stateDir, 'root-password'), 'utf8').trim();
  const credentialsOf = (site: Site, { url }: Daemon) => ({ url, username: 'root', password: passwordOf(site) });
  const enter = (site: Site, daemon: Daemon): Promise<XapiSession> => login(credentialsOf(site, daemon), 'test');
  /** The names of a pool's live hosts. */
  const live = async (session: XapiSession): Promise<string[]> => {
    const hosts = await session.call<Record<string, { name_label: string; metrics: string }>>('host.get_all_records');
    const metrics = await session.call<Record<string, { live: boolean }>>('host_metrics.get_all_records');
    return Object.values(hosts)
      .filter((host) => metrics[host.metrics]?.live)
      .map((host) => host.name_label)
      .sort();
  };
  const liveSoon = (session: XapiSession, ...names: string[]) =>
    eventually(async () => (await live(session)).join() === names.join() || undefined);
  const hostNamed = async (session: XapiSession, name: string): Promise<string> => {
    const [host = ''] = await session.call<string[]>('host.get_by_name_label', name);
    return host;
  };
  const coordinatorOf = async (daemon: Daemon): Promise<string> => {
    const [code, address = ''] = await failure(ask(daemon, 'session.login_with_password', 'root', ''));
    return code === 'HOST_IS_SLAVE' ? address : '';
  };
  /** `there` joins the pool of `here`. */
  const join = async (coordinator: Daemon, joining: Daemon): Promise<void> => {
    const session = await enter(there, joining);
    const { host } = new URL(coordinator.url);
    await session.call('pool.join', host, 'root', passwordOf(here));
    await eventually(async () => (await coordinatorOf(joining)) === host || undefined);
  };

  it('joins, unless something stands against it, and has the records of its new pool alone', async () => {
    const [coordinator, member] = await Promise.all([here.start(), there.start()]);
    const alone = await enter(there, member);
    const vm = { name: 'halted', memory: 8 * 2 ** 20, host: await hostNamed(alone, 'there') };
    const { uuid } = await createVm(alone, vm);
    const halted = await alone.call<string>('VM.get_by_uuid', uuid);
    expect(await failure(alone.call('pool.join', new URL(coordinator.url).host, 'root', 'x'))).to.deep.equal([
      'JOINING_HOST_CANNOT_HAVE_RUNNING_VMS',
    ]);
    await alone.call('VM.hard_shutdown', halted);
    const refused = alone.call('pool.join', new URL(coordinator.url).host, 'root', 'wrong');
    expect((await failure(refused))[0]).to.equal('SESSION_AUTHENTICATION_FAILED');
    expect((await failure(alone.call('pool.join', new URL(member.url).host, 'root', passwordOf(there))))[0]).to.equal(
      'OPERATION_NOT_ALLOWED',
    );

    await alone.call('pool.join', new URL(coordinator.url).host, 'root', passwordOf(here));
    const tooLate = await failure(alone.call('VM.start', halted, false, false));
    expect(['NO_HOSTS_AVAILABLE', 'HOST_IS_SLAVE']).to.include(tooLate[0]);
    await eventually(async () => (await coordinatorOf(member)) === new URL(coordinator.url).host || undefined);
    expect(await failure(alone.call('pool.get_all'))).to.deep.equal(['HOST_IS_SLAVE', new URL(coordinator.url).host]);
    const session = await enter(here, coordinator);
    await liveSoon(session, 'here', 'there');
    expect(await failure(session.call('VM.get_by_uuid', uuid))).to.deep.equal(['UUID_INVALID', 'VM', uuid]);
    const copies = fs.readdirSync(there.stateDir).filter((name) => name.startsWith('db.left-'));
    expect(copies).to.have.length(1);
  });

  for (const killed of ['member', 'coordinator'] as const) {
    it(`serves with its VM after its ${killed} was killed`, async () => {
      const [coordinator, member] = await Promise.all([here.start(), there.start()]);
      await join(coordinator, member);
      let session = await enter(here, coordinator);
      await liveSoon(session, 'here', 'there');
      const host = await hostNamed(session, 'there');
      const { uuid } = await createVm(session, { name: 'vm', memory: 8 * 2 ** 20, host });
      const ref = await session.call<string>('VM.get_by_uuid', uuid);
      let serving = member;
      if (killed === 'member') {
        await member.end('SIGKILL');
        await liveSoon(session, 'here');
        expect(await session.call('VM.get_power_state', ref)).to.equal('Running');
        serving = await there.start();
      } else {
        await session.call('VM.pause', ref);
        await coordinator.end('SIGKILL');
        session = await enter(here, await here.start(`--port=${new URL(coordinator.url).port}`));
      }
      await liveSoon(session, 'here', 'there');
      expect(await session.call('VM.get_power_state', ref)).to.equal(killed === 'member' ? 'Running' : 'Paused');
      if (killed === 'coordinator') await session.call('VM.unpause', ref);
      await session.call('VM.pool_migrate', ref, await hostNamed(session, 'here'), { live: 'true' });
      await serving.end('SIGTERM');
      await here.logged(/info +the daemon of the host at http\S+ (stops|has stopped)\n/);
    });
  }

  for (const [named, own, other] of [
    ['an IPv4 address', '127.0.0.1', '127.0.0.2'],
    ['an IPv6 address', '::1', '127.0.0.1'],
  ] as const) {
    it(`is joined at the port of the host that joins, where ${named} alone is given`, async () => {
      here.configure(`listen-address = ${own}`);
      const coordinator = await here.start();
      const { port } = new URL(coordinator.url);
      there.configure(`listen-address = ${other}`);
      const joining = await there.start(`--port=${port}`);
      const session = await enter(there, joining);
      await session.call('pool.join', own, 'root', passwordOf(here));
      expect(await eventually(async () => (await coordinatorOf(joining)) || undefined)).to.equal(
        own.includes(':') ? `[${own}]` : own,
      );
    });
  }

  it('has a coordinator when two join each other at once', async () => {
    const [one, other] = await Promise.all([here.start(), there.start()]);
    const [first, second] = [await enter(here, one), await enter(there, other)];
    const joined = await Promise.all([
      failure(first.call('pool.join', new URL(other.url).host, 'root', passwordOf(there))),
      failure(second.call('pool.join', new URL(one.url).host, 'root', passwordOf(here))),
    ]);
    expect(joined.filter(([code]) => code === '')).to.have.length.at.most(1);
  });

  it('shares a new secret at once with those that are there, and with others when they are back', async () => {
    const [coordinator, first] = await Promise.all([here.start(), there.start()]);
    await join(coordinator, first);
    const session = await enter(here, coordinator);
    await liveSoon(session, 'here', 'there');
    const file = path.join(here.stateDir, 'pool-secret');
    const old = fs.readFileSync(file, 'utf8').trim();
    await session.call('pool.rotate_secret');
    const second = fs.readFileSync(file, 'utf8').trim();
    expect(second).not.to.equal(old);
    const host = await hostNamed(session, 'there');
    const [code] = await failure(ask(coordinator, 'session.slave_login', host, old));
    expect(code).to.equal('SESSION_AUTHENTICATION_FAILED');
    const asMember = await ask<string>(coordinator, 'session.slave_login', host, second);
    expect(await ask(coordinator, 'session.get_this_host', asMember, asMember)).to.equal(host);
    await first.end('SIGTERM');
    await liveSoon(session, 'here');
    await session.call('pool.rotate_secret');
    await there.start();
    await liveSoon(session, 'here', 'there');
    await here.logged(/every host has the new secret.*[\s\S]*every host has the new secret/);
    await there.close();
    const third = fs.readFileSync(file, 'utf8').trim();
    expect(third).not.to.equal(second);
  });

  it('leaves, is a pool of its own then, and can join again', async () => {
    const [coordinator, member] = await Promise.all([here.start(), there.start()]);
    await join(coordinator, member);
    const session = await enter(here, coordinator);
    await liveSoon(session, 'here', 'there');
    await session.call('pool.eject', await hostNamed(session, 'there'));
    expect(await live(session)).to.deep.equal(['here']);
    const alone = await eventually(() => enter(there, member).catch(() => undefined));
    expect(await live(alone)).to.deep.equal(['there']);
    await member.end('SIGTERM');
    const again = await there.start();
    await join(coordinator, again);
    await liveSoon(session, 'here', 'there');
  });
});
