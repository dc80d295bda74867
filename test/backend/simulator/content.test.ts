import { expect } from 'chai';
import { checkSpec } from '../../../src/backend/simulator/content.js';
import type { DomainSpec } from '../../../src/base/domain.js';
import { toXapiError } from '../../../src/base/errors.js';

const spec = (settings: Record<string, string> = {}): DomainSpec => ({
  ...{ uuid: '00000000-0000-4000-8000-000000000001', name: 'vm', memoryBytes: 2 ** 30, vcpus: 2, vgpus: ['0'] },
  settings: Object.fromEntries(Object.entries(settings).map(([key, value]) => [`other_config:${key}`, value])),
});
const content = {
  profile: { zero: 0.125, program: 0.3, text: 0.275, random: 0.3 },
  workload: { dirtyPagesPerSecond: 0, workingSet: 1 / 3 },
  seed: 7,
};

describe('the content of a simulated guest', () => {
  it('has defaults, and always the same seed for the same VM', () => {
    const made = checkSpec(spec());
    expect(made.profile).to.deep.equal({ zero: 0.35, program: 0.33, text: 0.22, random: 0.1 });
    expect(made.workload).to.deep.equal({ dirtyPagesPerSecond: 200, workingSet: 0.1 });
    expect(made.seed).to.equal(checkSpec(spec()).seed);
  });

  it('is what the settings say', () => {
    const settings = {
      'simulator:profile': 'zero=50, random=50',
      'simulator:dirty-pages-per-second': '0',
      'simulator:working-set': '1',
      'simulator:seed': '7',
    };
    expect(checkSpec(spec(settings))).to.deep.include({
      profile: { zero: 0.5, program: 0, text: 0, random: 0.5 },
      workload: { dirtyPagesPerSecond: 0, workingSet: 1 },
      seed: 7,
    });
  });

  it('stands in its settings whole, for whoever makes the same domain; other settings go', () => {
    const made = checkSpec(spec({ 'simulator:working-set': '0.5', other: 'x' }));
    expect(made.settings).to.deep.equal({
      'other_config:simulator:profile': 'zero=35,program=33,text=22,random=10',
      'other_config:simulator:dirty-pages-per-second': '200',
      'other_config:simulator:working-set': '0.5',
      'other_config:simulator:seed': String(made.seed),
    });
    const { settings = {}, profile, workload, seed } = made;
    const again = checkSpec({ ...spec(), uuid: 'another', settings });
    expect(again).to.deep.include({ settings, profile, workload, seed });
  });

  it('stays exactly what a host of an earlier version, or another one, has made of it', () => {
    const { settings: _none, ...old } = spec();
    const made = checkSpec({ ...old, ...content });
    expect(made).to.deep.include(content);
    expect(checkSpec(JSON.parse(JSON.stringify(made)))).to.deep.equal(made);
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
      const error = failure(() => checkSpec(spec({ [key]: value })));
      expect(error.code).to.equal('INVALID_VALUE');
      expect(error.params).to.deep.equal([`other_config:${key}`, value]);
      expect(error.cause).to.match(/^allowed: ./);
    });
  }

  it('refuses what another host says, with the field that is wrong', () => {
    const { settings: _none, ...old } = spec();
    const told = { ...old, ...content, workload: { dirtyPagesPerSecond: 'many', workingSet: 1 } } as DomainSpec;
    const error = failure(() => checkSpec(told));
    expect(error.code).to.equal('INVALID_VALUE');
    expect(error.params).to.deep.equal(['domain.workload.dirtyPagesPerSecond', 'many']);
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
