import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Ref } from '../../idl/index.js';
import { describeBios, describeBootTime } from '../../src/host/service/machine.js';
import { type Fixture, openFixture } from './fixture.js';

const windows = 'MS_VM_CERT/SHA1/bdbeb6e0a816d43fa6d3fe8aaef04c2bad9d3e3d';

describe('BIOS strings', () => {
  let f: Fixture;
  let vm: Ref<'VM'>;
  beforeEach(async () => {
    f = await openFixture();
    vm = await f.createVm();
  });
  afterEach(() => f.close());
  const handlers = () => f.pool.dispatch.handlers.VM;
  const row = () => f.pool.db.get('VM', vm);

  it('are those of every VM when it starts with none', async () => {
    expect(row().bios_strings).to.deep.equal({});
    await handlers().start(f.context(), vm, false, false);
    expect(row().bios_strings).to.include({
      'bios-vendor': 'Xen',
      'system-product-name': 'HVM domU',
      'oem-2': windows,
    });
    expect(Object.keys(row().bios_strings)).to.have.lengthOf(16);
    const before = row().bios_strings;
    expect(await f.failure(() => handlers().copy_bios_strings(f.context(), vm, f.hostA))).to.deep.equal([
      'VM_BIOS_STRINGS_ALREADY_SET',
    ]);
    expect(row().bios_strings).to.deep.equal(before);
  });

  it('are those of a host, where the VM is to start then', async () => {
    await handlers().copy_bios_strings(f.context(), vm, f.hostA);
    expect(row()).to.include({ affinity: f.hostA });
    expect(row().bios_strings).to.deep.equal(f.pool.db.get('host', f.hostA).bios_strings);
    await handlers().start(f.context(), vm, false, false);
    expect(row().bios_strings).to.include({ 'bios-vendor': 'b' });
  });

  it('are set once, with the rest as every VM has it', async () => {
    await handlers().set_bios_strings(f.context(), vm, { 'bios-vendor': 'me', 'enclosure-asset-tag': '7' });
    const { 'system-manufacturer': maker, ...strings } = row().bios_strings;
    expect(maker).to.equal('Xen');
    expect(strings).to.include({ 'bios-vendor': 'me', 'enclosure-asset-tag': '7', 'oem-1': 'Xen' });
    expect(await f.failure(() => handlers().set_bios_strings(f.context(), vm, {}))).to.deep.equal([
      'VM_BIOS_STRINGS_ALREADY_SET',
    ]);
  });

  const wrong: [key: string, value: string][] = [
    ['bios-vender', 'me'],
    ['oem-1', 'me'],
    ['bios-vendor', ''],
    ['bios-vendor', 'x'.repeat(513)],
    ['bios-vendor', 'mé'],
    ['bios-vendor', 'a\nb'],
  ];
  for (const [key, value] of wrong) {
    it(`are not ${key}=${JSON.stringify(value.slice(0, 9))} of ${value.length} characters`, async () => {
      const call = () => handlers().set_bios_strings(f.context(), vm, { [key]: value });
      expect(await f.failure(call)).to.deep.equal(['INVALID_VALUE', key, value]);
      expect(row().bios_strings).to.deep.equal({});
    });
  }

  it('of a host are what the system tells', () => {
    const directory = mkdtempSync(join(tmpdir(), 'xenferry-dmi-'));
    writeFileSync(join(directory, 'sys_vendor'), '  Maker \u00e9& Sons\n');
    writeFileSync(join(directory, 'product_name'), 'x'.repeat(600));
    const strings = describeBios(directory);
    rmSync(directory, { recursive: true });
    expect(strings).to.include({ 'system-manufacturer': 'Maker & Sons', 'bios-vendor': '', 'oem-1': 'Xen' });
    expect(strings['system-product-name']).to.have.lengthOf(512);
  });

  it('come beside the time at which the machine has started', () => {
    expect(describeBootTime('cpu 1 2\nbtime 1600000000\nprocesses 3\n')).to.equal(1_600_000_000);
    expect(describeBootTime('cpu 1 2\n')).to.equal(undefined);
  });
});

describe('host.list_methods', () => {
  it('names what is served', async () => {
    const f = await openFixture();
    const names = await f.pool.dispatch.handlers.host.list_methods(f.context());
    expect(names).to.include.members(['VM.start', 'VM.get_record', 'host.list_methods', 'session.login_with_password']);
    expect(names).not.to.include('VM.checkpoint');
    expect(new Set(names).size).to.equal(names.length);
    await f.close();
  });
});
