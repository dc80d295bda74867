import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';
import { type LocalPool, type LocalPools, startLocalPool } from '../../src/cli/local-pool.js';

const program = fileURLToPath(new URL('../../src/cli/xe.js', import.meta.url));
const memory = 16 * 2 ** 20;

async function xe({ credentials }: LocalPool, ...args: string[]) {
  const env = { XE_SERVER: credentials.url, XE_USER: credentials.username, XE_PASSWORD: credentials.password };
  const { exitCode, stdout, stderr } = await execa(process.execPath, [program, ...args], { env, reject: false });
  return { exitCode, stdout, stderr };
}

const done = { exitCode: 0, stdout: '', stderr: '' };

describe('xe on a pool of two hosts', function () {
  this.timeout(60_000);
  let running: LocalPools;
  let pool: LocalPool;
  before(async () => {
    running = await startLocalPool({ hosts: 2, vms: 2, memory });
    pool = running.pools[0] as LocalPool;
  });
  after(() => running?.stop());

  const param = async (uuid: string, name: string) =>
    (await xe(pool, 'vm-param-get', `uuid=${uuid}`, `param-name=${name}`)).stdout;

  it('lists hosts, VMs and the pool', async () => {
    const hosts = await xe(pool, 'host-list', 'params=name-label', '--minimal');
    expect(hosts.stdout.split(',').sort()).to.deep.equal(['host1', 'host2']);
    const vms = await xe(pool, 'vm-list', 'name-label=vm1');
    expect(vms.stdout).to.match(
      /^uuid \( RO\) {11}: [-0-9a-f]{36}\n {5}name-label \( RW\): vm1\n {4}power-state \( RO\): /,
    );
    expect((await xe(pool, 'pool-list', 'params=master', '--minimal')).stdout).to.equal(pool.hosts[0]?.uuid);
    expect((await xe(pool, 'host-list', 'params=all', `uuid=${pool.hosts[1]?.uuid}`)).stdout).to.contain(
      'host-metrics-live ( RO): true',
    );
  });

  for (const command of ['vm', 'host', 'pool', 'network', 'pif', 'vif', 'sr', 'pbd']) {
    it(`shows every field of a ${command}`, async () => {
      const uuid = (await xe(pool, `${command}-list`, '--minimal', 'params=uuid')).stdout.split(',')[0];
      const { exitCode, stdout, stderr } = await xe(pool, `${command}-param-list`, `uuid=${uuid}`);
      expect({ exitCode, stderr }).to.deep.equal({ exitCode: 0, stderr: '' });
      expect(stdout).to.match(/^uuid \( RO\) +: /);
    });
  }

  it('sets whether migrations compress', async () => {
    const uuid = (await xe(pool, 'pool-list', '--minimal')).stdout;
    for (const value of ['true', 'false']) {
      expect(await xe(pool, 'pool-param-set', `uuid=${uuid}`, `migration-compression=${value}`)).to.deep.equal(done);
      const get = await xe(pool, 'pool-param-get', `uuid=${uuid}`, 'param-name=migration-compression');
      expect(get.stdout).to.equal(value);
    }
  });

  it('changes maps and sets', async () => {
    const uuid = pool.hosts[1]?.uuid as string;
    const get = async (name: string) => (await xe(pool, 'host-param-get', `uuid=${uuid}`, `param-name=${name}`)).stdout;
    expect(await xe(pool, 'host-param-set', `uuid=${uuid}`, 'other-config:owner=ann')).to.deep.equal(done);
    expect(await xe(pool, 'host-param-set', `uuid=${uuid}`, 'other-config:owner=bob')).to.deep.equal(done);
    expect((await xe(pool, 'host-list', 'other-config:owner=bob', '--minimal')).stdout).to.equal(uuid);
    expect(await xe(pool, 'host-param-add', `uuid=${uuid}`, 'param-name=tags', 'param-key=red')).to.deep.equal(done);
    expect(await get('tags')).to.equal('red');
    expect(await xe(pool, 'host-param-clear', `uuid=${uuid}`, 'param-name=tags')).to.deep.equal(done);
    expect(await get('tags')).to.equal('');
  });

  for (const compress of ['false', 'true']) {
    it(`migrates a running VM, compress=${compress}`, async () => {
      const uuid = pool.vms[0]?.uuid as string;
      const here = await param(uuid, 'resident-on');
      const there = pool.hosts.find((host) => host.uuid !== here);
      expect(await xe(pool, 'vm-migrate', 'vm=vm1', `host=${there?.name}`, `compress=${compress}`)).to.deep.equal(done);
      expect(await param(uuid, 'resident-on')).to.equal(there?.uuid);
      expect(await param(uuid, 'power-state')).to.equal('running');
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
      expect(await xe(pool, ...command, `uuid=${uuid}`), command.join(' ')).to.deep.equal(done);
      expect(await param(uuid, 'power-state')).to.equal(state);
    }
  });

  it('says what the server refuses', async () => {
    const { exitCode, stderr } = await xe(pool, 'vm-unpause', 'vm=vm1');
    expect(exitCode).to.equal(1);
    expect(stderr).to.match(/^The VM is not in the power state that this needs\.\nvm: [-0-9a-f]{36} \(vm1\)\n/);
    const [login, member] = [{ ...pool.credentials, password: 'wrong' }, pool.hosts[1]?.url as string];
    expect((await xe({ ...pool, credentials: login }, 'vm-list')).stderr).to.match(/^Authentication failed\n/);
    const throughMember = await xe(
      { ...pool, credentials: { ...pool.credentials, url: member } },
      'pool-list',
      '--minimal',
    );
    expect(throughMember.stdout).to.equal((await xe(pool, 'pool-list', '--minimal')).stdout);
  });
});

describe('xe on two pools', function () {
  this.timeout(60_000);
  let running: LocalPools;
  before(async () => {
    running = await startLocalPool({ pools: 2, hosts: 1, vms: 1, memory });
  });
  after(() => running?.stop());

  it('migrates a VM from one to the other', async () => {
    const [here, there] = running.pools as [LocalPool, LocalPool];
    const network = (await xe(there, 'network-list', '--minimal')).stdout.split(',')[0];
    const vif = (await xe(here, 'vif-list', '--minimal')).stdout;
    const { url, username, password } = there.credentials;
    const remote = [`remote-master=${url}`, `remote-username=${username}`, `remote-password=${password}`];
    const { exitCode, stderr } = await xe(here, 'vm-migrate', 'vm=pool1-vm1', ...remote, `vif:${vif}=${network}`);
    expect({ exitCode, stderr }).to.deep.equal({ exitCode: 0, stderr: '' });
    expect((await xe(here, 'vm-list', 'name-label=pool1-vm1', '--minimal')).stdout).to.equal('');
    const arrived = await xe(there, 'vm-list', 'name-label=pool1-vm1', 'params=power-state', '--minimal');
    expect(arrived.stdout).to.equal('running');
  });
});
