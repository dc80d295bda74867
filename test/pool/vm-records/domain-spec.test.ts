import { expect } from 'chai';
import { toXapiError } from '../../../src/base/errors.js';
import { domainSpec, settingsAsFields } from '../../../src/pool/vm-records/domain-spec.js';

const vm = (other_config: Record<string, string> = {}, memory_static_max = 2 ** 30) => ({
  uuid: '00000000-0000-4000-8000-000000000001',
  name_label: 'vm',
  memory_static_max,
  VCPUs_max: 2,
  other_config,
  platform: { nested: 'no' },
});

describe('domainSpec', () => {
  it('has memory, virtual CPUs and virtual GPUs in order', () => {
    expect(domainSpec(vm(), ['1', '0'])).to.deep.include({ memoryBytes: 2 ** 30, vcpus: 2, vgpus: ['0', '1'] });
  });

  it('cuts a long name, as every host refuses one', () => {
    expect(domainSpec({ ...vm(), name_label: 'n'.repeat(5000) }, []).name).to.equal('n'.repeat(1024));
  });

  it('has the settings of the record by field and key, and they make a record like it', () => {
    const spec = domainSpec(vm({ 'a:b': '1' }), []);
    expect(spec.settings).to.deep.equal({ 'other_config:a:b': '1', 'platform:nested': 'no' });
    expect(settingsAsFields(spec)).to.deep.equal({ other_config: { 'a:b': '1' }, platform: { nested: 'no' } });
  });

  it('refuses no memory', () => {
    expect(failure(() => domainSpec(vm({}, 0), [])).params).to.deep.equal(['memory_static_max', '0']);
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
