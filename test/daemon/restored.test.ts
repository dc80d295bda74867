import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { connectHypervisor } from '../../src/backend/simulator/client.js';
import { socketPathOf } from '../../src/backend/simulator/program.js';
import { vmRecord } from '../../src/cli/client/vm-record.js';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import { createVm } from '../../src/cli/local-pool/local-vm.js';
import { xeAt } from '../cli/xe/harness.js';
import { eventually } from '../hypervisor/hypervisor-process.js';
import { type Daemon, openSite, type Site } from './daemon.js';

const memory = 4 * 2 ** 20;

describe('a daemon with an older database than its hypervisor', function () {
  this.timeout(60_000);
  let site: Site;
  beforeEach(() => {
    site = openSite();
  });
  afterEach(() => site.close());
  const enter = ({ url }: Daemon): Promise<XapiSession> => {
    const password = fs.readFileSync(path.join(site.stateDir, 'root-password'), 'utf8').trim();
    return login({ url, username: 'root', password }, 'test');
  };
  const xe = async (daemon: Daemon, ...args: string[]): Promise<string> => {
    const environment = { XE_PASSWORD_FILE: path.join(site.stateDir, 'root-password'), XE_PASSWORD: '' };
    const { status, out, err } = await xeAt(daemon, args, environment);
    expect([status, err], args.join(' ')).to.deep.equal([0, '']);
    return out;
  };
  /** What the hypervisor says of a domain, and how many of its pages are wrong. */
  const inside = async (uuid: string) => {
    const hypervisor = await connectHypervisor(socketPathOf(site.stateDir), 'helper');
    try {
      const found = (await hypervisor.call('list', {})).result.find((domain) => domain.uuid === uuid);
      if (found === undefined) return undefined;
      const { badPages } = (await hypervisor.call('verify', { handle: found.handle })).result;
      return { state: found.state, ticks: found.ticks, domid: found.handle.domid, badPages };
    } finally {
      hypervisor.close();
    }
  };

  it('has running what runs, and makes VMs again of what it does not know, or ends them', async () => {
    const first = await site.start();
    const session = await enter(first);
    const [host = ''] = await session.call<string[]>('host.get_all');
    const known = await createVm(session, { name: 'known', memory, host });
    const knownRef = await session.call<string>('VM.get_by_uuid', known.uuid);
    await session.call('VM.hard_shutdown', knownRef);
    const backup = path.join(site.directory, 'backup');
    await site.run('--config', site.configFile, '--backup-database', backup);
    await session.call('VM.start', knownRef, false, false);
    const otherConfig = { 'simulator:profile': 'zero=10,program=20,text=30,random=40', 'simulator:seed': '5' };
    const ref = await session.call<string>('VM.create', vmRecord({ name: 'newer', memory, otherConfig }));
    await session.call('VM.start', ref, false, false);
    const newer = await session.call<string>('VM.get_uuid', ref);
    const other = await createVm(session, { name: 'other', memory, host });
    await first.end('SIGTERM');
    fs.rmSync(path.join(site.stateDir, 'db'), { recursive: true });
    fs.cpSync(backup, path.join(site.stateDir, 'db'), { recursive: true });

    const second = await site.start();
    const again = await enter(second);
    const powerState = () => again.call<string>('VM.get_power_state', knownRef);
    await eventually(async () => (await powerState()) === 'Running' || undefined);
    await site.logged(new RegExp(`without a record: ${[newer, other.uuid].sort().join(', ')}`));
    expect(await xe(second, 'message-list', 'name=HOST_DOMAINS_UNKNOWN', 'params=body')).to.contain(newer);
    const uuids = async () => (await xe(second, 'host-domain-list', '--minimal')).trim().split(',').sort();
    expect(await uuids()).to.deep.equal([newer, other.uuid].sort());
    expect(await xe(second, 'host-domain-list')).to.match(/uuid \( RO\)\s+: \S+\n\s+name \( RO\): (newer|other)\n/);

    const before = await inside(newer);
    expect(await xe(second, 'host-domain-adopt', `uuid=${newer}`)).to.equal(`${newer}\n`);
    expect(await xe(second, 'vm-list', `uuid=${newer}`, 'params=name-label,power-state', '--minimal')).to.equal(
      'newer\n',
    );
    const record = await again.call<string>('VM.get_by_uuid', newer);
    await again.call('VM.pool_migrate', record, host, {});
    const after = await inside(newer);
    expect([before?.badPages, after?.badPages, after?.state]).to.deep.equal([0, 0, 'running']);
    expect(after?.ticks).to.be.at.least(before?.ticks ?? Number.NaN);
    await again.call('VM.clean_reboot', record);
    await again.call('VM.clean_shutdown', record);
    expect(await inside(newer)).to.equal(undefined);

    expect(await xe(second, 'host-domain-destroy', `uuid=${other.uuid}`, '--force')).to.match(/will be destroyed/);
    expect(await inside(other.uuid)).to.equal(undefined);
    expect(await uuids()).to.deep.equal(['']);
    expect((await inside(known.uuid))?.state).to.equal('running');
    const told = () => xe(second, 'message-list', 'name=HOST_DOMAINS_UNKNOWN', '--minimal');
    await eventually(async () => (await told()) === '\n' || undefined);
  });
});
