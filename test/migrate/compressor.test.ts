import { expect } from 'chai';
import {
  type Compressor,
  type ConfiguredCompressor,
  chooseCompressor,
  compressionPlan,
  effectiveCompressor,
} from '../../src/migrate/compressor.js';

describe('migrate/compressor: what a migration does with compression', () => {
  const choices: [asked: boolean, configured: ConfiguredCompressor, chosen: Compressor][] = [
    [false, 'stream', 'none'],
    [false, 'xenguest', 'none'],
    [true, 'stream', 'stream'],
    [true, 'xenguest', 'xenguest'],
  ];
  for (const [asked, configured, chosen] of choices) {
    it(`${asked ? 'asked for' : 'not asked for'} with ${configured} configured gives ${chosen}`, () => {
      expect(chooseCompressor(asked, configured)).to.equal(chosen);
    });
  }

  const plans: [Compressor, zstdPipe: boolean, cookies: object, flags: string[]][] = [
    ['none', false, {}, []],
    ['stream', true, { compress: 'zstd' }, []],
    ['xenguest', false, {}, ['-compress', 'true']],
  ];
  for (const [compressor, zstdPipe, cookies, emuFlags] of plans) {
    it(`${compressor}: ${zstdPipe ? 'a' : 'no'} pipe, flags [${emuFlags.join(' ')}]`, () => {
      expect(compressionPlan(compressor)).to.deep.equal({ zstdPipe, cookies, emuFlags });
    });
  }

  const inline = ['inline-zstd/1'];
  const effects: [Compressor, accepts: string[], emu: boolean, used: Compressor, fallback: RegExp | undefined][] = [
    ['none', [], false, 'none', undefined],
    ['stream', [], false, 'stream', undefined],
    ['xenguest', inline, true, 'xenguest', undefined],
    ['xenguest', [], true, 'stream', /destination does not accept/],
    ['xenguest', ['inline-zstd/2'], true, 'stream', /destination does not accept/],
    ['xenguest', inline, false, 'stream', /emu-manager .* does not support/],
  ];
  for (const [chosen, destinationAccepts, emu, used, fallback] of effects) {
    const sides = `destination accepts [${destinationAccepts}], emu-manager ${emu ? 'supports' : 'lacks'} -compress`;
    it(`${chosen} becomes ${used} where the ${sides}`, async () => {
      const effect = await effectiveCompressor(chosen, { destinationAccepts, emuSupportsCompress: async () => emu });
      expect(effect.used).to.equal(used);
      if (fallback === undefined) expect(effect).to.not.have.property('fallback');
      else expect(effect.fallback).to.match(fallback);
    });
  }

  it('asks emu-manager nothing unless its answer matters', async () => {
    const emuSupportsCompress = () => Promise.reject(new Error('asked'));
    await effectiveCompressor('stream', { destinationAccepts: inline, emuSupportsCompress });
    await effectiveCompressor('xenguest', { destinationAccepts: [], emuSupportsCompress });
  });
});
