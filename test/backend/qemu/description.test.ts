import { expect } from 'chai';
import { checkSpec, describe as read } from '../../../src/backend/qemu/description.js';
import type { DomainSpec } from '../../../src/base/domain.js';

const types = ['pc-i440fx-9.2', 'pc-i440fx-8.0'];
const [sr, vdi] = ['11111111-0000-4000-8000-00000000000a', '11111111-0000-4000-8000-00000000000b'];

const specOf = (settings: Record<string, string>, fields: Partial<DomainSpec> = {}): DomainSpec => ({
  ...{ uuid: '11111111-0000-4000-8000-000000000001', name: 'vm', memoryBytes: 2 ** 27, vcpus: 2, vgpus: [] },
  ...{ settings, ...fields },
});
const check = (settings: Record<string, string>, fields?: Partial<DomainSpec>) =>
  checkSpec(specOf(settings, fields), types, 'pc-i440fx-9.2');
const disk = { 'VBD:0:type': 'Disk', 'VBD:0:mode': 'RW', 'VBD:0:bootable': 'true', 'VBD:0:volume': `${sr}/${vdi}` };
const nic = { 'VIF:0:MAC': '02:00:00:00:00:01', 'VIF:0:bridge': 'xenbr0' };

describe("what a VM's record says to QEMU", () => {
  it('is completed with the machine and the processor that the VM keeps', () => {
    const first = check({});
    expect(first.settings).to.include({ 'platform:machine-type': 'pc-i440fx-9.2' });
    expect(first.settings).to.have.property('platform:cpu-model');
    const kept = { 'platform:machine-type': 'pc-i440fx-8.0', 'platform:cpu-model': 'max' };
    expect(check(kept).settings).to.deep.equal({ ...kept, 'VM:uuid': specOf({}).uuid });
    expect(check(first.settings ?? {})).to.deep.equal(first);
  });

  it('is left with what counts', () => {
    const settings = { 'other_config:note': 'x', 'platform:viridian': 'true', ...disk, ...nic };
    expect(check(settings).settings).to.include.keys(Object.keys({ ...disk, ...nic }));
    expect(check(settings).settings).to.not.have.any.keys('other_config:note', 'platform:viridian');
  });

  it('names devices, firmware and order', () => {
    const drive = { 'VBD:3:type': 'CD', 'VBD:3:mode': 'RO', 'VBD:3:bootable': 'true' };
    const boot = { 'HVM_boot_params:firmware': 'uefi', 'HVM_boot_params:order': 'dc' };
    const description = read(check({ ...disk, ...drive, ...nic, ...boot, 'platform:cores-per-socket': '2' }));
    expect(description).to.deep.include({ firmware: 'uefi', order: ['cd', 'disk'], coresPerSocket: 2 });
    expect(description.devices).to.deep.equal([
      { device: 0, kind: 'disk', format: 'raw', readOnly: false, bootable: true, volume: { sr, vdi } },
      { device: 3, kind: 'cd', format: 'raw', readOnly: true, bootable: true },
    ]);
    expect(description.interfaces).to.deep.equal([{ device: 0, mac: '02:00:00:00:00:01', bridge: 'xenbr0' }]);
  });

  const refused: readonly (readonly [
    settings: Record<string, string>,
    params: string[],
    fields?: Partial<DomainSpec>,
  ])[] = [
    [{ 'platform:machine-type': 'pc-i440fx-2.0' }, ['platform:machine-type', 'pc-i440fx-2.0']],
    [{ 'platform:machine-type': 'none' }, ['platform:machine-type', 'none']],
    [{ 'platform:cpu-model': 'a b' }, ['platform:cpu-model', 'a b']],
    [{ 'platform:vtpm': 'true' }, ['platform:vtpm', 'true']],
    [{ 'platform:secureboot': 'true' }, ['platform:secureboot', 'true']],
    [{ 'platform:acpi': 'perhaps' }, ['platform:acpi', 'perhaps']],
    [{ 'platform:cores-per-socket': '3' }, ['platform:cores-per-socket', '3']],
    [{ 'platform:vga': 'voodoo' }, ['platform:vga', 'voodoo']],
    [{ 'platform:videoram': '3' }, ['platform:videoram', '3']],
    [{ 'HVM_boot_params:firmware': 'coreboot' }, ['HVM_boot_params:firmware', 'coreboot']],
    [{ 'HVM_boot_params:order': 'xyz' }, ['HVM_boot_params:order', 'xyz']],
    [{ PV_kernel: 'vmlinuz' }, ['PV_kernel', 'vmlinuz']],
    [{ PV_ramdisk: '/boot/initrd' }, ['PV_ramdisk', '/boot/initrd']],
    [{ PV_kernel: '/boot/k', PV_args: 'a\nb' }, ['PV_args', 'a\nb']],
    [{ ...disk, 'VBD:0:format': 'vhd' }, ['VBD:0:format', 'vhd']],
    [{ ...disk, 'VBD:0:volume': '../../etc/shadow' }, ['VBD:0:volume', '../../etc/shadow']],
    [{ 'VBD:sda:type': 'Disk' }, ['VBD.userdevice', 'sda']],
    [{ ...nic, 'VIF:0:MAC': 'no' }, ['VIF:0:MAC', 'no']],
    [{ ...nic, 'VIF:0:MAC': '01:00:00:00:00:01' }, ['VIF.MAC', '01:00:00:00:00:01']],
    [{ ...nic, 'VIF:0:tap': 'a,b' }, ['VIF:0:tap', 'a,b']],
    [{ 'VIF:9:MAC': '02:00:00:00:00:01', 'VIF:9:bridge': 'b' }, ['VIF.device', '9']],
    [{}, ['VGPUs', '0'], { vgpus: ['0'] }],
    [{}, ['VCPUs_max', '256'], { vcpus: 256 }],
  ];
  for (const [settings, params, fields] of refused) {
    it(`is refused with ${JSON.stringify(params)}`, () => {
      expect(() => check(settings, fields))
        .to.throw()
        .with.property('params')
        .that.deep.equals(params);
    });
  }
});
