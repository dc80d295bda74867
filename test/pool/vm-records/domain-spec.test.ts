import { expect } from 'chai';
import { toXapiError } from '../../../src/base/errors.js';
import { domainSpec } from '../../../src/pool/vm-records/domain-spec.js';

const vm = (other_config: Record<string, string> = {}, memory_static_max = 2 ** 30) => ({
  uuid: '00000000-0000-4000-8000-000000000001',
  name_label: 'vm',
  memory_static_max,
  VCPUs_max: 2,
  other_config,
});

describe('domainSpec', () => {
  it('has defaults, and always the same seed for the same VM', () => {
    const spec = domainSpec(vm(), ['1', '0']);
    expect(spec).to.deep.include({ memoryBytes: 2 ** 30, vcpus: 2, vgpus: ['0', '1'] });
    expect(spec.profile).to.deep.equal({ zero: 0.35, program: 0.33, text: 0.22, random: 0.1 });
    expect(spec.workload).to.deep.equal({ dirtyPagesPerSecond: 200, workingSet: 0.1 });
    expect(spec.seed).to.equal(domainSpec(vm(), []).seed);
  });

  it('cuts a long name, as every host refuses one', () => {
    expect(domainSpec({ ...vm(), name_label: 'n'.repeat(5000) }, []).name).to.equal('n'.repeat(1024));
  });

  it('takes what other_config says', () => {
    const spec = domainSpec(
      vm({
        'simulator:profile': 'zero=50, random=50',
        'simulator:dirty-pages-per-second': '0',
        'simulator:working-set': '1',
        'simulator:seed': '7',
      }),
      [],
    );
    expect(spec.profile).to.deep.equal({ zero: 0.5, program: 0, text: 0, random: 0.5 });
    expect(spec.workload).to.deep.equal({ dirtyPagesPerSecond: 0, workingSet: 1 });
    expect(spec.seed).to.equal(7);
  });

  const wrong: [string, string][] = [
    ['simulator:profile', 'zero=50'],
    ['simulator:profile', 'zero=50,zero=50'],
    ['simulator:profile', 'full=100'],
    ['simulator:profile', ''],
    ['simulator:dirty-pages-per-second', '-1'],
    ['simulator:dirty-pages-per-second', 'fast'],
    ['simulator:working-set', '1.5'],
    ['simulator:seed', '4294967296'],
    ['simulator:seed', '0x10'],
  ];
  for (const [key, value] of wrong) {
    it(`refuses ${key} = '${value}' and has the log say what is allowed`, () => {
      const error = failure(() => domainSpec(vm({ [key]: value }), []));
      expect(error.code).to.equal('INVALID_VALUE');
      expect(error.params).to.deep.equal([`other_config:${key}`, value]);
      expect(error.cause).to.match(/^allowed: ./);
    });
  }

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
