import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';
import type { LocalPool } from '../../../src/cli/local-pool/local-pool.js';
import { type XeClass, xeClasses } from '../../../src/cli/xe/fields.js';
import { type SharedPools, sharedPools, xeIn } from './shared-pools.js';

const program = fileURLToPath(new URL('../../../src/cli/xe/main.js', import.meta.url));
const done = { status: 0, out: '', err: '' };

describe('xe on running pools', function () {
  this.timeout(60_000);
  let pools: SharedPools;
  let pool: LocalPool;
  before(async () => {
    pools = await sharedPools();
    pool = pools.here;
  });

  const xe = (...args: string[]) => xeIn(pool, ...args);
  /** What xe prints, after a success, without the last line feed. */
  const printed = async (...args: string[]) => {
    const { status, out, err } = await xe(...args);
    expect({ status, err }, args.join(' ')).to.deep.equal({ status: 0, err: '' });
    return out.replace(/\n$/, '');
  };
  const param = (command: string, uuid: string, name: string) =>
    printed(`${command}-param-get`, `uuid=${uuid}`, `param-name=${name}`);

  it('is a program with exit status, output and errors', async () => {
    const { url, username, password } = pool.credentials;
    const env = { XE_SERVER: url, XE_USER: username, XE_PASSWORD: password };
    const run = (...args: string[]) => execa(process.execPath, [program, ...args], { env, reject: false, input: '' });
    expect(await run('pool-list', 'params=master', '--minimal')).to.include({
      exitCode: 0,
      stdout: pool.hosts[0]?.uuid,
      stderr: '',
    });
    expect(await run('vm-uninstall', `uuid=${pool.vms[0]?.uuid}`)).to.include({
      exitCode: 1,
      stderr: "Type 'yes' to continue: Error: Nothing was done; answer yes, or give force=true",
    });
  });

  it('lists hosts, VMs and the pool', async () => {
    const hosts = await printed('host-list', 'params=name-label', '--minimal');
    expect(hosts.split(',').sort()).to.deep.equal(['host1', 'host2']);
    expect(await printed('vm-list', 'name-label=vm1')).to.match(
      /^uuid \( RO\) {11}: [-0-9a-f]{36}\n {5}name-label \( RW\): vm1\n {4}power-state \( RO\): /,
    );
    expect(await printed('host-list', 'params=all', `uuid=${pool.hosts[1]?.uuid}`)).to.contain(
      'host-metrics-live ( RO): true',
    );
  });

  for (const { command } of Object.values(xeClasses) as XeClass[]) {
    it(`shows every field of every ${command}`, async () => {
      const uuids = (await printed(`${command}-list`, '--minimal', 'params=uuid')).split(',');
      for (const uuid of uuids.filter((text) => text !== '').slice(0, 3)) {
        expect(await printed(`${command}-param-list`, `uuid=${uuid}`)).to.match(/^uuid \( RO\) +: /);
      }
    });
  }

  it('sets whether migrations compress', async () => {
    const uuid = await printed('pool-list', '--minimal');
    for (const value of ['true', 'false']) {
      expect(await xe('pool-param-set', `uuid=${uuid}`, `migration-compression=${value}`)).to.deep.equal(done);
      expect(await param('pool', uuid, 'migration-compression')).to.equal(value);
    }
  });

  it('changes maps and sets', async () => {
    const uuid = `uuid=${pool.hosts[1]?.uuid}`;
    const tags = () => param('host', uuid.slice(5), 'tags');
    expect(await xe('host-param-set', uuid, 'other-config:owner=ann')).to.deep.equal(done);
    expect(await xe('host-param-set', uuid, 'other-config:owner=bob')).to.deep.equal(done);
    expect(await printed('host-list', 'other-config:owner=bob', '--minimal')).to.equal(uuid.slice(5));
    expect(await xe('host-param-add', uuid, 'param-name=tags', 'param-key=red')).to.deep.equal(done);
    expect(await tags()).to.equal('red');
    expect(await xe('host-param-set', uuid, 'tags=blue,green')).to.deep.equal(done);
    expect(await tags()).to.equal('blue; green');
    expect(await xe('host-param-clear', uuid, 'param-name=tags')).to.deep.equal(done);
    expect(await tags()).to.equal('');
  });

  for (const compress of ['false', 'true']) {
    it(`migrates a running VM, compress=${compress}`, async () => {
      const uuid = pool.vms[0]?.uuid as string;
      const here = await param('vm', uuid, 'resident-on');
      const there = pool.hosts.find((host) => host.uuid !== here);
      const { status, out, err } = await xe('vm-migrate', 'vm=vm1', `host=${there?.name}`, `compress=${compress}`);
      expect({ status, err }).to.deep.equal({ status: 0, err: '' });
      const figures =
        /^vm1 migrated to (\w+): compressor (\w+), [\d.]+ s, [\d.]+ MiB sent for [\d.]+ MiB, ratio [\d.]+, downtime \d+ ms\n$/;
      expect(figures.exec(out)?.slice(1), out).to.deep.equal([there?.name, compress === 'true' ? 'stream' : 'none']);
      expect(await param('vm', uuid, 'resident-on')).to.equal(there?.uuid);
      expect(await param('vm', uuid, 'power-state')).to.equal('running');
    });
  }

  it('pauses, unpauses, shuts down and starts a VM', async () => {
    const uuid = pool.vms[1]?.uuid as string;
    const steps: [command: string[], state: string][] = [
      [['vm-pause'], 'paused'],
      [['vm-unpause'], 'running'],
      [['vm-shutdown', '--force'], 'halted'],
      [['vm-start', 'on=host1'], 'running'],
      [['vm-shutdown'], 'halted'],
      [['vm-start'], 'running'],
    ];
    for (const [command, state] of steps) {
      expect(await xe(...command, `uuid=${uuid}`), command.join(' ')).to.deep.equal(done);
      expect(await param('vm', uuid, 'power-state')).to.equal(state);
    }
  });

  it('waits for a change', async () => {
    const uuid = await printed('vm-create', 'name-label=awaited');
    try {
      const waiting = xe('event-wait', 'class=vm', `uuid=${uuid}`, 'name-description=/=', 'tags:contains=there');
      expect(await xe('vm-param-set', `uuid=${uuid}`, 'name-description=it')).to.deep.equal(done);
      expect(await xe('vm-param-add', `uuid=${uuid}`, 'param-name=tags', 'param-key=there')).to.deep.equal(done);
      expect(await waiting).to.deep.equal(done);
    } finally {
      expect(await xe('vm-destroy', `uuid=${uuid}`)).to.deep.equal(done);
    }
  });

  it('makes a VM on a network of its own, and removes both', async () => {
    const network = await printed('network-create', 'name-label=own', 'MTU=9000');
    const vm = await printed('vm-create', 'name-label=made');
    const vif = await printed('vif-create', `vm-uuid=${vm}`, `network-uuid=${network}`, 'device=0');
    expect(await param('vif', vif, 'MTU')).to.equal('9000');
    expect(await printed('vm-vif-list', 'vm=made', 'params=network-name-label', '--minimal')).to.equal('own');
    expect(await xe('vif-destroy', `uuid=${vif}`)).to.deep.equal(done);
    expect((await xe('vm-uninstall', 'vm=made', '--force')).status).to.equal(0);
    expect(await xe('network-destroy', `uuid=${network}`)).to.deep.equal(done);
    expect(await printed('vm-list', 'name-label=made', '--minimal')).to.equal('');
  });

  it('says what the server refuses', async () => {
    const { status, err } = await xe('vm-unpause', 'vm=vm1');
    expect(status).to.equal(1);
    expect(err).to.match(/^The VM is not in the power state that this needs\.\nvm: [-0-9a-f]{36} \(vm1\)\n/);
    const as = (change: Partial<LocalPool['credentials']>, ...args: string[]) =>
      xeIn({ ...pool, credentials: { ...pool.credentials, ...change } }, ...args);
    expect((await as({ password: 'wrong' }, 'vm-list')).err).to.match(/^Authentication failed\n/);
    const throughMember = await as({ url: pool.hosts[1]?.url as string }, 'pool-list', '--minimal');
    expect(throughMember.out).to.equal((await xe('pool-list', '--minimal')).out);
  });

  it('migrates a VM from one pool to the other', async () => {
    const uuid = pools.there.vms[0]?.uuid;
    expect(await xeIn(pools.there, 'vm-param-set', `uuid=${uuid}`, 'name-label=traveller')).to.deep.equal(done);
    const network = (await printed('network-list', '--minimal')).split(',')[0];
    const vif = (await xeIn(pools.there, 'vif-list', `vm-uuid=${uuid}`, '--minimal')).out.trim();
    const { url, username, password } = pool.credentials;
    const remote = [`remote-master=${url}`, `remote-username=${username}`, `remote-password=${password}`];
    const { status, err } = await xeIn(pools.there, 'vm-migrate', 'vm=traveller', ...remote, `vif:${vif}=${network}`);
    expect({ status, err }).to.deep.equal({ status: 0, err: '' });
    expect((await xeIn(pools.there, 'vm-list', 'name-label=traveller', '--minimal')).out).to.equal('\n');
    expect(await printed('vm-list', 'name-label=traveller', 'params=power-state', '--minimal')).to.equal('running');
  });
});
