import { expect } from 'chai';
import type { LocalPool } from '../../../src/cli/local-pool/local-pool.js';
import { sharedPools, xeIn } from './shared-pools.js';

const done = { status: 0, out: '', err: '' };

describe('xe, with the disks and CDs of a VM', function () {
  this.timeout(60_000);
  let pool: LocalPool;
  let vm: string;
  let isos: string;
  before(async () => {
    pool = (await sharedPools()).here;
    const host = await printed('host-list', 'name-label=host1', '--minimal');
    isos = await printed('sr-create', 'name-label=isos', 'type=file', 'content-type=iso', `host-uuid=${host}`);
    for (const name of ['tools.iso', 'twice.iso', 'twice.iso']) {
      await printed('vdi-create', `sr-uuid=${isos}`, `name-label=${name}`, 'virtual-size=1MiB');
    }
  });
  beforeEach(async () => {
    vm = await printed('vm-create', 'name-label=with-disks');
    const [least, most] = ['8MiB', '16MiB'];
    const limits = [`static-min=${least}`, `dynamic-min=${most}`, `dynamic-max=${most}`, `static-max=${most}`];
    await succeeds('vm-memory-limits-set', `uuid=${vm}`, ...limits);
  });
  afterEach(() => printed('vm-uninstall', `uuid=${vm}`, '--force', '--minimal'));
  after(async () => {
    for (const vdi of (await printed('vdi-list', `sr-uuid=${isos}`, '--minimal')).split(',')) {
      await succeeds('vdi-destroy', `uuid=${vdi}`);
    }
    await succeeds('pbd-unplug', `uuid=${await printed('pbd-list', `sr-uuid=${isos}`, '--minimal')}`);
    await succeeds('sr-destroy', `uuid=${isos}`);
  });

  const xe = (...args: string[]) => xeIn(pool, ...args);
  async function printed(...args: string[]): Promise<string> {
    const { status, out, err } = await xe(...args);
    expect({ status, err }, args.join(' ')).to.deep.equal({ status: 0, err: '' });
    return out.replace(/\n$/, '');
  }
  async function succeeds(...args: string[]): Promise<void> {
    expect(await xe(...args), args.join(' ')).to.deep.equal(done);
  }
  const refused = async (said: RegExp, ...args: string[]) => {
    const { status, out, err } = await xe(...args);
    expect({ status, out }, args.join(' ')).to.deep.equal({ status: 1, out: '' });
    expect(err).to.match(said);
  };
  const vbds = (...filters: string[]) => printed('vbd-list', `vm-uuid=${vm}`, '--minimal', ...filters);

  it('adds a disk that belongs to the VM, and removes it', async () => {
    await succeeds('vm-disk-add', `uuid=${vm}`, 'disk-size=2MiB', 'device=1');
    const disks = await printed('vm-disk-list', `uuid=${vm}`, 'vdi-params=virtual-size', 'vbd-params=userdevice');
    expect(disks)
      .to.match(/userdevice \( RW\) *: 1\n/)
      .and.to.match(/virtual-size \( RO\) *: 2097152\n/);
    const vdi = await vbds('params=vdi-uuid', 'other-config:owner=');
    await refused(/The VM has no disk at device 2/, 'vm-disk-remove', `uuid=${vm}`, 'device=2');
    await succeeds('vm-disk-remove', `uuid=${vm}`, 'device=1');
    expect(await vbds()).to.equal('');
    expect(await printed('vdi-list', `uuid=${vdi}`, '--minimal')).to.equal('');
  });

  it('leaves no disk behind that could not be connected', async () => {
    const before = await printed('vdi-list', '--minimal');
    await refused(
      /There is no such device\.\ndevice: none/,
      'vm-disk-add',
      `uuid=${vm}`,
      'disk-size=1MiB',
      'device=none',
    );
    await refused(/expecting a size/, 'vm-disk-add', `uuid=${vm}`, 'disk-size=much', 'device=1');
    await refused(/No object has that uuid/, 'vm-disk-add', `uuid=${vm}`, 'disk-size=1MiB', 'device=1', 'sr-uuid=none');
    expect(await printed('vdi-list', '--minimal')).to.equal(before);
  });

  it('plugs a disk into a VM that runs', async () => {
    await succeeds('vm-start', `uuid=${vm}`, 'on=host1');
    const local = await printed('sr-list', 'name-label=Local storage', 'host=host1', '--minimal');
    await succeeds('vm-disk-add', `uuid=${vm}`, 'disk-size=1MiB', 'device=0', `sr-uuid=${local}`);
    expect(await vbds('params=currently-attached')).to.equal('true');
    await refused(/The operation is not allowed now/, 'vm-disk-remove', `uuid=${vm}`, 'device=0');
  });

  it('lists, adds, ejects, inserts and removes CDs', async () => {
    expect((await printed('cd-list', 'params=name-label', '--minimal')).split(',').sort()).to.deep.equal([
      'tools.iso',
      'twice.iso',
      'twice.iso',
    ]);
    await refused(/The VM has no CD drive\n/, 'vm-cd-eject', `uuid=${vm}`);
    await refused(
      /no CD drive that is empty\.\nvm: .* \(with-disks\)\n/,
      'vm-cd-insert',
      `uuid=${vm}`,
      'cd-name=tools.iso',
    );
    await refused(/No CD has the name-label 'no\.iso'/, 'vm-cd-add', `uuid=${vm}`, 'cd-name=no.iso', 'device=3');
    await refused(/2 CDs have the name-label 'twice\.iso'/, 'vm-cd-add', `uuid=${vm}`, 'cd-name=twice.iso', 'device=3');
    await succeeds('vm-cd-add', `uuid=${vm}`, 'cd-name=tools.iso', 'device=3');
    expect(await vbds('type=CD', 'params=vdi-name-label')).to.equal('tools.iso');
    await succeeds('vm-cd-eject', `uuid=${vm}`);
    expect(await vbds('type=CD', 'params=empty')).to.equal('true');
    await succeeds('vm-cd-insert', `uuid=${vm}`, 'cd-name=tools.iso');
    expect(await vbds('type=CD', 'params=vdi-name-label')).to.equal('tools.iso');
    await refused(/No drive of the VM holds a CD/, 'vm-cd-remove', `uuid=${vm}`, 'cd-name=<EMPTY>');
    await succeeds('vm-cd-remove', `uuid=${vm}`, 'cd-name=tools.iso');
    expect(await vbds()).to.equal('');
  });

  it('works on the only drive of a VM alone', async () => {
    for (const device of ['2', '3']) await printed('vbd-create', `vm-uuid=${vm}`, `device=${device}`, 'type=CD');
    await refused(/2 CD drives of the VM are empty/, 'vm-cd-insert', `uuid=${vm}`, 'cd-name=tools.iso');
    await refused(/The VM has 2 CD drives/, 'vm-cd-eject', `uuid=${vm}`);
    await succeeds('vm-cd-remove', `uuid=${vm}`, 'cd-name=<EMPTY>');
    expect((await vbds()).split(',')).to.have.length(1);
  });

  it('says what is in the way of a start', async () => {
    await succeeds('vm-cd-add', `uuid=${vm}`, 'cd-name=tools.iso', 'device=3');
    const said = await printed('diagnostic-vm-status', `uuid=${vm}`);
    expect(said).to.match(/possible-hosts \( RO\) *: [-0-9a-f]{36}\n/);
    expect(said).to.match(/attachable \( RO\) *: true\n/);
    expect(said).to.match(/host1 *: OK\n/);
    expect(said).to.match(
      /host2: Cannot start here: .* vm: [-0-9a-f]{36} \(with-disks\); sr: [-0-9a-f]{36} \(isos\)\n/,
    );
    expect(said).to.match(/The VM is not agile: The SR belongs to one host\. SR: [-0-9a-f]{36} \(isos\)$/);
    expect(said).not.to.contain('OpaqueRef');
  });
});
