import { expect } from 'chai';
import { toXapiError } from '../../../src/base/errors.js';
import { domainSpec, noDevices, settingsAsFields } from '../../../src/pool/vm-records/domain-spec.js';

const vm = (other_config: Record<string, string> = {}, memory_static_max = 2 ** 30) => ({
  uuid: '00000000-0000-4000-8000-000000000001',
  name_label: 'vm',
  memory_static_max,
  VCPUs_max: 2,
  other_config,
  platform: { nested: 'no' },
  HVM_boot_params: { order: 'dc' },
  ...{ PV_kernel: '/boot/kernel', PV_ramdisk: '', PV_args: 'quiet' },
});

describe('domainSpec', () => {
  it('has memory, virtual CPUs and virtual GPUs in order', () => {
    expect(domainSpec(vm(), { ...noDevices, vgpus: ['1', '0'] })).to.deep.include({
      memoryBytes: 2 ** 30,
      vcpus: 2,
      vgpus: ['0', '1'],
    });
  });

  it('cuts a long name, as every host refuses one', () => {
    expect(domainSpec({ ...vm(), name_label: 'n'.repeat(5000) }, noDevices).name).to.equal('n'.repeat(1024));
  });

  it('has the settings of the record by field and key, and they make a record like it', () => {
    const spec = domainSpec(vm({ 'a:b': '1' }), { ...noDevices, settings: { 'VBD:0:mode': 'RO' } });
    expect(spec.settings).to.deep.equal({
      'other_config:a:b': '1',
      'platform:nested': 'no',
      'HVM_boot_params:order': 'dc',
      ...{ PV_kernel: '/boot/kernel', PV_args: 'quiet', 'VBD:0:mode': 'RO' },
    });
    const { other_config, platform, HVM_boot_params, PV_kernel, PV_ramdisk, PV_args } = vm({ 'a:b': '1' });
    const fields = { other_config, platform, HVM_boot_params, PV_kernel, PV_ramdisk, PV_args };
    expect(settingsAsFields(spec)).to.deep.equal(fields);
  });

  it('refuses no memory', () => {
    expect(failure(() => domainSpec(vm({}, 0), noDevices)).params).to.deep.equal(['memory_static_max', '0']);
  });
});

function failure(call: () => unknown) {
  try {
    call();
  } catch (error) {
    return toXapiError(error);
  }
  throw new Error('it did not fail');
}
