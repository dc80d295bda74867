import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import { createVm } from '../../src/cli/local-pool/local-vm.js';
import { eventually } from '../hypervisor/hypervisor-process.js';
import { type NetworkProxy, openProxy } from '../support/proxy.js';
import { type Daemon, openSite, type Site } from './daemon.js';

describe('VM.migrate_send between daemons, with a relay at the address that dest:xenops names', function () {
  this.timeout(60_000);
  let here: Site;
  let there: Site;
  let source: XapiSession;
  let relay: NetworkProxy;
  let vm: string;
  let target: Daemon;
  beforeEach(async () => {
    here = openSite();
    there = openSite();
    const [first, second] = await Promise.all([here.start(), there.start()]);
    source = await enter(here, first);
    target = second;
    relay = await openProxy(second.url);
    const [host = ''] = await source.call<string[]>('host.get_all');
    const { uuid } = await createVm(source, { name: 'mover', memory: 8 * 2 ** 20, host });
    vm = await source.call<string>('VM.get_by_uuid', uuid);
  });
  afterEach(async () => {
    await relay.close();
    await here.close();
    await there.close();
  });
  const passwordOf = (site: Site) => fs.readFileSync(path.join(site.stateDir, 'root-password'), 'utf8').trim();
  const enter = (site: Site, { url }: Daemon): Promise<XapiSession> =>
    login({ url, username: 'root', password: passwordOf(site) }, 'test');
  /** Where the destination is, as its pool says, by another address. */
  const by = async (pool: XapiSession, host: string, address: string): Promise<Record<string, string>> => {
    const [network = ''] = await pool.call<string[]>('network.get_all');
    const dest = await pool.call<Record<string, string>>('host.migrate_receive', host, network, {});
    const xenops = new URL(dest.xenops ?? '');
    xenops.host = new URL(address).host;
    return { ...dest, xenops: xenops.href };
  };
  const send = (dest: Record<string, string>) =>
    source.call<string>('VM.migrate_send', vm, dest, true, {}, {}, {}, {}).catch((error: Error) => error.message);
  const channels = () => relay.passed.flatMap(({ request }) => /\/migrate\/(\w+)\//.exec(request)?.[1] ?? []).sort();

  it('goes by it to another pool, and nowhere where nobody listens', async () => {
    const pool = await enter(there, target);
    const [host = ''] = await pool.call<string[]>('host.get_all');
    expect(await send(await by(pool, host, 'http://127.0.0.1:1'))).to.equal('CANNOT_CONTACT_HOST 127.0.0.1');
    expect(await source.call('VM.get_power_state', vm)).to.equal('Running');
    await eventually(
      async () => (await pool.call<string[]>('VM.get_by_name_label', 'mover')).length === 0 || undefined,
    );

    const moved = await send(await by(pool, host, relay.url));
    expect(await pool.call('VM.get_power_state', moved)).to.equal('Running');
    expect(channels()).to.deep.equal(['mem', 'vm']);
    await eventually(() => relay.carried('acknowledge') || undefined);
  });

  it('goes by it within the pool, and nowhere where nobody listens', async () => {
    const joining = await enter(there, target);
    const [network = ''] = await source.call<string[]>('network.get_all');
    const [self = ''] = await source.call<string[]>('host.get_all');
    const { master = '' } = await source.call<Record<string, string>>('host.migrate_receive', self, network, {});
    await joining.call('pool.join', new URL(master).host, 'root', passwordOf(here));
    const host = await eventually(async () => {
      const hosts = await source.call<Record<string, { metrics: string }>>('host.get_all_records');
      const metrics = await source.call<Record<string, { live: boolean }>>('host_metrics.get_all_records');
      return Object.entries(hosts).find(([ref, row]) => ref !== self && metrics[row.metrics]?.live)?.[0];
    });
    expect(await send(await by(source, host, 'http://127.0.0.1:1'))).to.equal('CANNOT_CONTACT_HOST 127.0.0.1');
    expect(await source.call('VM.get_resident_on', vm)).to.equal(self);

    expect(await send(await by(source, host, relay.url))).to.equal(vm);
    expect(await source.call('VM.get_resident_on', vm)).to.equal(host);
    expect(channels()).to.deep.equal(['mem', 'vm']);
    expect(relay.carried('VM.receive')).to.equal(true);
    expect(relay.carried(fs.readFileSync(path.join(here.stateDir, 'pool-secret'), 'utf8').trim())).to.equal(false);
  });
});
