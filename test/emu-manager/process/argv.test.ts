import { expect } from 'chai';
import { parseArguments, UsageError } from '../../../src/emu-manager/process/argv.js';

const base = '-controlinfd 3 -controloutfd 4 -fd 5 -mode hvm_save -domid 6';
const parse = (line: string) => parseArguments(line.split(' '));

describe('command line of emu-manager', () => {
  it('takes all that the real one takes', () => {
    const line = `${base} -live true -dm qemu -dm vgpu:7 -store_port 8 -console_port 9 -debuglog true -compress true`;
    expect(parse(line)).to.deep.equal({
      kind: 'run',
      mode: 'save',
      controlIn: 3,
      controlOut: 4,
      fd: 5,
      domid: 6,
      live: true,
      vgpuFds: [7],
      storePort: 8,
      consolePort: 9,
      debugLog: true,
      compress: true,
      checksum: true,
      compressionLevel: 'auto',
      compressVgpu: true,
    });
  });

  for (const [flags, compress, compressVgpu] of [
    ['', false, false],
    ['-compress true', true, true],
    ['-compress false', false, false],
    ['-compress true -compress_vgpu true', true, true],
    ['-compress true -compress_vgpu false', true, false],
    ['-compress_vgpu true', false, false],
  ] as const) {
    it(`compresses ${compress ? 'memory' : 'no memory'} and ${compressVgpu ? 'vGPUs' : 'no vGPU'} by "${flags}"`, () => {
      expect(parse(`${base} ${flags}`.trim())).to.include({ compress, compressVgpu });
    });
  }

  for (const [flags, checksum] of [
    ['', false],
    ['-compress true', true],
    ['-compress true -compress_format 3', true],
    ['-compress true -compress_format 2', false],
    ['-compress false -compress_format 3', false],
  ] as const) {
    it(`puts ${checksum ? 'a' : 'no'} checksum at the end by "${flags}"`, () => {
      expect(parse(`${base} ${flags}`.trim())).to.include({ checksum });
    });
  }

  for (const [flags, compressionLevel] of [
    ['', 'auto'],
    ['-compress_level auto', 'auto'],
    ['-compress_level -7', -7],
    ['-compress_level 0', 0],
    ['-compress_level 9', 9],
  ] as const) {
    it(`has the level ${compressionLevel} by "${flags}"`, () => {
      expect(parse(`${base} ${flags}`.trim())).to.include({ compressionLevel });
    });
  }

  it('has everything off that is not asked for', () => {
    expect(parse(base)).to.include({ live: false, compress: false, debugLog: false, storePort: 0, consolePort: 0 });
  });

  for (const [flags, convergence] of [
    ['', undefined],
    ['-convergence fail', { maxDowntimeMs: 0, maxRounds: 4, strategy: 'fail' }],
    ['-max_downtime 300', { maxDowntimeMs: 300, maxRounds: 4, strategy: 'proceed' }],
    ['-max_downtime 50 -max_rounds 7 -convergence throttle', { maxDowntimeMs: 50, maxRounds: 7, strategy: 'throttle' }],
  ] as const) {
    it(`has the rule of convergence of "${flags}"`, () => {
      const args = parse(`${base} ${flags}`.trim());
      expect(args.kind === 'run' ? args.convergence : args).to.deep.equal(convergence);
    });
  }

  for (const [mode, meaning] of [
    ['hvm_save', 'save'],
    ['save', 'save'],
    ['hvm_restore', 'restore'],
    ['restore', 'restore'],
  ] as const) {
    it(`takes the mode ${mode}`, () => {
      expect(parse(base.replace('hvm_save', mode))).to.have.property('mode', meaning);
    });
  }

  for (const [line, message] of [
    [`${base} -live yes`, '-live "yes"; allowed: true, false'],
    [`${base} -compress 1`, '-compress "1"; allowed: true, false'],
    [`${base} -compress_format 1`, '-compress_format "1"; allowed: 2, 3'],
    [`${base} -domid -1`, '-domid "-1"; allowed: a whole number'],
    [`${base} -fd 5x`, '-fd "5x"; allowed: a whole number'],
    [`${base} -convergence hope`, '-convergence "hope"; allowed: proceed, throttle, fail'],
    [`${base} -max_downtime 1.5`, '-max_downtime "1.5"; allowed: a whole number'],
    [`${base} -mode sideways`, '-mode "sideways"; allowed: hvm_save, save, hvm_restore, restore'],
    [`${base} -mode toString`, '-mode "toString"; allowed'],
    [`${base} -dm vgpu`, '-dm "vgpu"; allowed: qemu, vgpu:<descriptor>'],
    [`${base} -fork true`, 'unknown argument "-fork"; allowed: -mode'],
    [`${base} -live`, '-live needs a value: true, false'],
    ['-fd 5', 'missing: -controlinfd a whole number'],
  ] as const) {
    it(`refuses ${line.replace(base, '...')}`, () => {
      expect(() => parse(line)).to.throw(UsageError, message);
    });
  }

  it('knows where to report what it refuses', () => {
    const refused = (line: string) => {
      try {
        parse(line);
      } catch (error) {
        return (error as UsageError).controlOut;
      }
      return 'accepted';
    };
    expect(refused('-mode sideways -controloutfd 4')).to.equal(4);
    expect(refused('-controloutfd four')).to.equal(undefined);
  });
});
