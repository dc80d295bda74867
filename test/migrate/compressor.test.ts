import { expect } from 'chai';
import { defined } from '../../src/base/defined.js';
import { libxcFormats } from '../../src/base/protocol/stream-formats.js';
import {
  type Compressor,
  type ConfiguredCompressor,
  chooseCompressor,
  compressionPlan,
  type Effect,
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

  const plans: [Effect, zstdPipe: boolean, cookies: object, compression: object | undefined][] = [
    [{ used: 'none' }, false, {}, undefined],
    [{ used: 'stream' }, true, { compress: 'zstd' }, undefined],
    [{ used: 'xenguest' }, false, {}, {}],
    [{ used: 'xenguest', level: -5 }, false, {}, { level: -5 }],
    [{ used: 'xenguest', unchecked: true }, false, {}, { unchecked: true }],
    [{ used: 'xenguest', plainVgpus: true }, false, {}, { plainVgpus: true }],
  ];
  for (const [effect, zstdPipe, cookies, compression] of plans) {
    it(`${effect.used}: ${zstdPipe ? 'a' : 'no'} pipe, inside the streams ${JSON.stringify(compression)}`, () => {
      expect(compressionPlan(effect)).to.deep.equal({ zstdPipe, cookies, ...defined({ compression }) });
    });
  }

  const older = ['inline-zstd/2'];
  const memory = ['inline-zstd/3', 'inline-zstd/2'];
  const both = [...memory, 'inline-zstd-vgpu/1'];
  const knowsBoth = ['compress', 'compress_vgpu'];
  const plain = { plainVgpus: true } as const;
  const unchecked = { unchecked: true } as const;
  const effects: [
    Compressor,
    vgpus: boolean,
    accepts: string[],
    emu: string[],
    effect: Omit<Effect, 'fallback'>,
    fallback: RegExp | undefined,
  ][] = [
    ['none', true, [], [], { used: 'none' }, undefined],
    ['stream', true, [], [], { used: 'stream' }, undefined],
    ['xenguest', false, memory, ['compress'], { used: 'xenguest' }, undefined],
    ['xenguest', false, [], ['compress'], { used: 'stream' }, /destination does not accept/],
    ['xenguest', false, ['inline-zstd/1'], ['compress'], { used: 'stream' }, /destination does not accept/],
    ['xenguest', true, ['inline-zstd-vgpu/1'], ['compress'], { used: 'stream' }, /destination does not accept/],
    ['xenguest', false, older, ['compress'], { used: 'xenguest' }, undefined],
    ['xenguest', false, memory, ['compress', 'compress_format'], { used: 'xenguest' }, undefined],
    [
      'xenguest',
      false,
      older,
      ['compress', 'compress_format'],
      { used: 'xenguest', ...unchecked },
      /no checksum of the/,
    ],
    ['xenguest', false, memory, [], { used: 'stream' }, /emu-manager .* does not support/],
    ['xenguest', true, both, [], { used: 'stream' }, /emu-manager .* does not support/],
    ['xenguest', true, both, knowsBoth, { used: 'xenguest' }, undefined],
    ['xenguest', true, memory, ['compress'], { used: 'xenguest' }, undefined],
    ['xenguest', true, memory, knowsBoth, { used: 'xenguest', ...plain }, /vGPU stream: it stays plain/],
    ['xenguest', true, ['inline-zstd/3', 'inline-zstd-vgpu/2'], knowsBoth, { used: 'xenguest', ...plain }, /vGPU/],
  ];
  for (const [chosen, vgpus, destinationAccepts, emu, expected, reason] of effects) {
    const sides = `destination accepts [${destinationAccepts}], emu-manager supports [${emu}]`;
    it(`${chosen} becomes ${JSON.stringify(expected)} with${vgpus ? '' : 'out'} vGPUs where the ${sides}`, async () => {
      const emuSupports = async (feature: string) => emu.includes(feature);
      const { fallback, ...effect } = await effectiveCompressor(
        { compressor: chosen, level: 'auto', hasVgpus: vgpus },
        { formats: libxcFormats, destinationAccepts, emuSupports },
      );
      expect(effect).to.deep.equal(expected);
      if (reason === undefined) expect(fallback).to.equal(undefined);
      else expect(fallback).to.match(reason);
    });
  }

  for (const [level, emu, expected, reason] of [
    ['auto', ['compress', 'compress_level'], { used: 'xenguest' }, undefined],
    [-5, ['compress', 'compress_level'], { used: 'xenguest', level: -5 }, undefined],
    [0, ['compress', 'compress_level'], { used: 'xenguest', level: 0 }, undefined],
    [-5, ['compress'], { used: 'xenguest' }, 'the emu-manager of the source does not support -compress_level'],
  ] as const) {
    it(`takes level ${level} where emu-manager supports [${emu}] as ${JSON.stringify(expected)}`, async () => {
      const { fallback, ...effect } = await effectiveCompressor(
        { compressor: 'xenguest', level, hasVgpus: false },
        {
          formats: libxcFormats,
          destinationAccepts: memory,
          emuSupports: async (feature) => emu.some((known) => known === feature),
        },
      );
      expect(effect).to.deep.equal(expected);
      expect(fallback).to.equal(reason);
    });
  }

  it('asks emu-manager nothing unless its answer matters', async () => {
    const asked: string[] = [];
    const emuSupports = async (feature: string) => asked.push(feature) > 0;
    for (const [compressor, hasVgpus, destinationAccepts, questions] of [
      ['stream', true, memory, []],
      ['xenguest', true, [], []],
      ['xenguest', false, memory, ['compress']],
      ['xenguest', false, older, ['compress', 'compress_format']],
      ['xenguest', true, both, ['compress']],
      ['xenguest', true, memory, ['compress', 'compress_vgpu']],
    ] as const) {
      await effectiveCompressor(
        { compressor, level: 'auto', hasVgpus },
        { formats: libxcFormats, destinationAccepts, emuSupports },
      );
      expect(asked.splice(0)).to.deep.equal(questions);
    }
  });
});
