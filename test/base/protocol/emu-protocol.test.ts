import { expect } from 'chai';
import fc from 'fast-check';
import {
  createLineDecoder,
  decodeCommand,
  decodeMessage,
  type EmuCommand,
  type EmuMessage,
  encodeCommand,
  encodeMessage,
  formatFigures,
  formatStatistics,
  maxLineBytes,
  parseFigures,
  parseStatistics,
} from '../../../src/base/protocol/emu-protocol.js';
import { chop } from '../../support/chopped.js';

const messages: readonly (readonly [string, EmuMessage])[] = [
  ['info:\\b\\b\\b\\b7', { kind: 'progress', percent: 7 }],
  ['prepare:xenguest', { kind: 'prepare', emu: 'xenguest' }],
  ['prepare:vgpu', { kind: 'prepare', emu: 'vgpu' }],
  ['suspend:', { kind: 'suspend' }],
  ['result:0 0', { kind: 'result', result: { of: 'save' } }],
  ['result:xenguest 17 18', { kind: 'result', result: { of: 'xenguest', storeMfn: 17, consoleMfn: 18 } }],
  ['result:vgpu', { kind: 'result', result: { of: 'vgpu' } }],
  ['error:the peer: gone', { kind: 'error', text: 'the peer: gone' }],
  ['error:Broken pipe', { kind: 'error', text: 'Broken pipe' }],
  ['error:no-convergence: so many', { kind: 'error', failure: 'no-convergence', text: 'so many' }],
  ['error:broken-stream: write EPIPE', { kind: 'error', failure: 'broken-stream', text: 'write EPIPE' }],
  ['stdout:hello', { kind: 'stdout', text: 'hello' }],
  ['stderr:', { kind: 'stderr', text: '' }],
  ['info:round 2', { kind: 'info', text: 'round 2' }],
];
const commands: readonly (readonly [string, EmuCommand])[] = [
  ['done', { kind: 'done' }],
  ['abort', { kind: 'abort' }],
  ['restore:xenguest', { kind: 'restore', emu: 'xenguest' }],
  ['restore:vgpu', { kind: 'restore', emu: 'vgpu' }],
];

describe('emu protocol', () => {
  for (const [line, message] of messages) {
    it(`reads and writes ${line}`, () => {
      expect(encodeMessage(message).toString()).to.equal(`${line}\n`);
      expect(decodeMessage(line)).to.deep.equal(message);
    });
  }

  for (const [line, command] of commands) {
    it(`reads and writes ${line}`, () => {
      expect(encodeCommand(command).toString()).to.equal(`${line}\n`);
      expect(decodeCommand(line)).to.deep.equal(command);
    });
  }

  for (const line of [
    '',
    'hello',
    'prepare:',
    'prepare:qemu',
    'result:',
    'result:1',
    'result:xenguest 1',
    'result:xenguest a b',
    ':x',
  ]) {
    it(`refuses ${JSON.stringify(line)} from the helper`, () => {
      expect(() => decodeMessage(line))
        .to.throw('unexpected line from emu-manager')
        .with.property('code', 'INTERNAL_ERROR');
    });
  }

  for (const line of ['', 'Done', 'done ', 'restore:', 'restore:qemu']) {
    it(`refuses ${JSON.stringify(line)} from the daemon`, () => {
      expect(() => decodeCommand(line)).to.throw(/allowed: done, abort, restore:xenguest, restore:vgpu/);
    });
  }

  it('finds the lines in pieces of any size', () => {
    const all = Buffer.concat(messages.map(([, message]) => encodeMessage(message)));
    for (const size of [1, 2, 3, 1000]) {
      const decode = createLineDecoder();
      const lines = [...chop(all, size)].flatMap((piece) => decode(piece));
      expect(lines).to.deep.equal(messages.map(([line]) => line));
    }
  });

  it('accepts a line of 128 bytes and refuses a longer one, complete or not', () => {
    expect(createLineDecoder()(Buffer.from(`${'a'.repeat(128)}\n`))).to.deep.equal(['a'.repeat(128)]);
    expect(() => createLineDecoder()(Buffer.from(`${'a'.repeat(129)}\n`))).to.throw('a line longer than 128 bytes');
    const decode = createLineDecoder();
    decode(Buffer.alloc(100, 'a'));
    expect(() => decode(Buffer.alloc(100, 'a'))).to.throw('a line longer than 128 bytes');
  });

  it('writes any text as one line of at most 128 bytes, cut at a character', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 300 }), (text) => {
        const bytes = encodeMessage({ kind: 'error', text });
        expect(bytes.length).to.be.at.most(128);
        expect(bytes.indexOf('\n')).to.equal(bytes.length - 1);
        const [line] = createLineDecoder()(bytes);
        const wanted = `error:${text.replace(/[\r\n]+/g, ' ')}`;
        expect(wanted.startsWith(line as string)).to.equal(true);
      }),
    );
  });

  it('carries figures of a copy, the largest too, in a line of at most 128 bytes', () => {
    const figures = {
      round: 2,
      pagesLeft: 1234,
      pagesPerSecond: 98765,
      dirtyPagesPerSecond: 43210,
      expectedDowntimeMs: 77,
      throttlePercent: 20,
      level: '-2/1',
    };
    const text = 'copy round=2 left=1234 sent_per_s=98765 dirty_per_s=43210 downtime_ms=77 throttle=20 level=-2/1';
    expect(formatFigures(figures)).to.equal(text);
    expect(parseFigures(text)).to.deep.equal(figures);
    expect(parseFigures('copy round=2')).to.equal(undefined);
    const large = formatFigures({
      round: 20,
      pagesLeft: 2 ** 32,
      pagesPerSecond: 1e12,
      dirtyPagesPerSecond: 1e12,
      expectedDowntimeMs: 1e15,
      throttlePercent: 99,
      level: '-2/1',
    });
    expect(encodeMessage({ kind: 'stdout', text: large }).length).to.be.at.most(maxLineBytes);
    expect(encodeMessage({ kind: 'stdout', text: large }).toString()).to.equal(`stdout:${large}\n`);
    expect(parseFigures(large)).to.include({ pagesPerSecond: 9_999_999_999, expectedDowntimeMs: 9_999_999_999 });
  });

  it('carries statistics in a line that other daemons just log', () => {
    const statistics = { rounds: 3, guestBytes: 1 << 30, streamBytes: 123 };
    expect(formatStatistics(statistics)).to.equal('stats rounds=3 guest_bytes=1073741824 stream_bytes=123');
    expect(parseStatistics(formatStatistics(statistics))).to.deep.equal(statistics);
    const withVgpus = { ...statistics, vgpuBytes: 99 };
    expect(formatStatistics(withVgpus)).to.equal(`${formatStatistics(statistics)} vgpu_bytes=99`);
    expect(parseStatistics(formatStatistics(withVgpus))).to.deep.equal(withVgpus);
    expect(parseStatistics('stats rounds=x')).to.equal(undefined);
  });
});
