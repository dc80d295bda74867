import { expect } from 'chai';
import { casesOf, settingOf, usualCases } from '../../../scripts/bench/cases.js';
import { links } from '../../../scripts/bench/options.js';

describe('the cases of the benchmark', () => {
  it('are each run once, those of many VMs apart', () => {
    expect(casesOf(['none', 'scale', 'pipe', 'none', 'scale:2', 'qemu-zstd', 'xenguest:-5'])).to.deep.equal({
      single: ['none', 'pipe', 'qemu-zstd', 'xenguest:-5'],
      scale: ['scale:1', 'scale:2', 'scale:4', 'scale:10'],
    });
    for (const link of [undefined, ...links]) {
      expect(casesOf(usualCases(link)), link).to.deep.equal({ single: usualCases(link), scale: [] });
    }
  });

  it('set what they are named for', () => {
    expect(settingOf('none')).to.deep.equal({ keys: {} });
    expect(settingOf('stream').compressor).to.equal('stream');
    expect(settingOf('xenguest-auto').keys).to.include({ 'migration-compression-level': 'auto' });
    expect(settingOf('xenguest:-5').keys).to.deep.equal({
      'migration-compressor': 'xenguest',
      'migration-compression-level': '-5',
    });
    expect(settingOf('scale:4').keys).to.include({ 'migration-outgoing-limit': '4', 'migration-incoming-limit': '4' });
  });

  for (const name of ['', 'xenguest:', 'scale:0', 'scale:many', 'pipes']) {
    it(`are refused where there is none of the name '${name}'`, () => {
      expect(() => casesOf(['none', name])).to.throw(`there is no case '${name}'; there are pipe, cat, none, stream,`);
    });
  }
});
