import { expect } from 'chai';
import type { LocalPool } from '../../../src/cli/local-pool/local-pool.js';
import { sharedPools, xeIn } from './shared-pools.js';

const done = { status: 0, out: '', err: '' };

describe('xe, from a VM and its disks to emptying a host', function () {
  this.timeout(60_000);
  let pool: LocalPool;
  const made: string[] = [];
  before(async () => {
    pool = (await sharedPools()).here;
  });
  afterEach(async () => {
    for (const uuid of made.splice(0)) await xe('vm-uninstall', `uuid=${uuid}`, '--force');
  });

  const xe = (...args: string[]) => xeIn(pool, ...args);
  const printed = async (...args: string[]) => {
    const { status, out, err } = await xe(...args);
    expect({ status, err }, args.join(' ')).to.deep.equal({ status: 0, err: '' });
    return out.replace(/\n$/, '');
  };
  const succeeds = async (...args: string[]) => expect(await xe(...args), args.join(' ')).to.deep.equal(done);
  const param = (command: string, uuid: string, name: string) =>
    printed(`${command}-param-get`, `uuid=${uuid}`, `param-name=${name}`);
  /** A VM that is removed after the test. */
  const vmBy = async (...args: string[]) => {
    const uuid = await printed(...args);
    made.push(uuid);
    return uuid;
  };
  const smallVm = async (name: string) => {
    const uuid = await vmBy('vm-create', `name-label=${name}`);
    const [least, most] = ['8MiB', '16MiB'];
    const limits = [`static-min=${least}`, `dynamic-min=${most}`, `dynamic-max=${most}`, `static-max=${most}`];
    await succeeds('vm-memory-limits-set', `uuid=${uuid}`, ...limits);
    return uuid;
  };

  it('suspends, resumes and reboots a VM', async () => {
    const uuid = await smallVm('sleeper');
    const steps: [command: string[], state: string][] = [
      [['vm-start', 'on=host1'], 'running'],
      [['vm-suspend'], 'suspended'],
      [['vm-resume', 'on=host1'], 'running'],
      [['vm-reboot'], 'running'],
      [['vm-reboot', '--force'], 'running'],
    ];
    for (const [[name = '', ...rest], state] of steps) {
      await succeeds(name, `uuid=${uuid}`, ...rest);
      expect(await param('vm', uuid, 'power-state'), name).to.equal(state);
    }
  });

  it('sets memory limits, clones and copies', async () => {
    const uuid = await smallVm('original');
    await succeeds('vm-memory-set', `uuid=${uuid}`, 'memory=24MiB');
    await succeeds('vm-memory-dynamic-range-set', `uuid=${uuid}`, 'min=8MiB', 'max=12MiB');
    const { err } = await xe('vm-memory-dynamic-range-set', `uuid=${uuid}`, 'min=4MiB', 'max=12MiB');
    expect(err).to.match(/^The memory limits are not in order/);
    const clone = await vmBy('vm-clone', 'vm=original', 'new-name-label=clone', 'new-name-description=alike');
    const copy = await vmBy('vm-copy', 'vm=original', 'new-name-label=copy');
    for (const vm of [clone, copy]) expect(await param('vm', vm, 'memory-dynamic-max')).to.equal(String(12 * 2 ** 20));
    expect(await param('vm', clone, 'name-description')).to.equal('alike');
  });

  it('installs a VM from a template', async () => {
    const template = await printed('template-list', '--minimal');
    const uuid = await vmBy('vm-install', `template=${template.split(',')[0]}`, 'new-name-label=installed');
    expect(await param('vm', uuid, 'is-a-template')).to.equal('false');
  });

  it('makes, resizes, clones, attaches and removes disks', async () => {
    const vm = await smallVm('owner');
    const sr = await printed('sr-list', 'host=host1', 'type=file', '--minimal');
    const vdi = await printed('vdi-create', `sr-uuid=${sr}`, 'name-label=disk', 'virtual-size=1MiB');
    await succeeds('vdi-resize', `uuid=${vdi}`, 'disk-size=2MiB');
    const clone = await printed('vdi-clone', `uuid=${vdi}`, 'new-name-label=twin');
    expect(await param('vdi', clone, 'virtual-size')).to.equal(String(2 * 2 ** 20));
    await succeeds('sr-scan', `uuid=${sr}`);
    const vbd = await printed('vbd-create', `vm-uuid=${vm}`, `vdi-uuid=${vdi}`, 'device=0');
    await succeeds('vbd-param-set', `uuid=${vbd}`, 'other-config:owner=');
    expect(await printed('vm-disk-list', 'vm=owner', '--minimal')).to.equal(`${vbd},${vdi}`);
    await succeeds('vdi-destroy', `uuid=${clone}`);
    expect((await xe('vm-uninstall', 'vm=owner', '--force')).out).to.contain(`VDI: ${vdi} (disk)`);
    expect(await printed('vdi-list', `uuid=${vdi}`, '--minimal')).to.equal('');
    made.length = 0;
  });

  it('empties a host', async () => {
    const [host] = pool.hosts;
    await succeeds('host-disable', 'host=host1');
    try {
      await succeeds('host-evacuate', 'host=host1', 'batch-size=1');
      const left = ['vm-list', `resident-on=${host?.uuid}`, 'is-control-domain=false', '--minimal'];
      expect(await printed(...left)).to.equal('');
    } finally {
      await succeeds('host-enable', 'host=host1');
    }
    expect(await param('host', host?.uuid as string, 'enabled')).to.equal('true');
  });
});
