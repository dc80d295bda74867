import { expect } from 'chai';
import fc from 'fast-check';
import { formatSExpression, parseSExpression } from '../../../src/wire/stream/s-expression.js';
import {
  decodeHeader,
  decodeXenops,
  encodeHeader,
  encodeSignature,
  encodeXenops,
  type HeaderType,
  headerBytes,
  signatureBytes,
  verifySignature,
} from '../../../src/wire/stream/suspend-image.js';

const headers: readonly (readonly [HeaderType, number, string])[] = [
  ['xenops', 300, '0f000000000000002c01000000000000'],
  ['libxc', 0, 'f0000000000000000000000000000000'],
  ['device-model', 1 << 20, '000f0000000000000000100000000000'],
  ['vgpu', 0, '100f0000000000000000000000000000'],
  ['end', 0, 'ffff0000000000000000000000000000'],
];

describe('suspend image', () => {
  it('begins with its signature', () => {
    expect(encodeSignature().toString('hex')).to.equal('58656e5361766564446f6d76322d0a');
    expect(signatureBytes).to.equal(15);
    verifySignature(encodeSignature());
    expect(() => verifySignature(Buffer.from('XenSavedDomv1-\n'))).to.throw(
      'not a suspend image: it begins with "XenSavedDomv1-',
    );
  });

  for (const [type, length, hex] of headers) {
    it(`has a header ${type} of two little-endian 64-bit integers`, () => {
      expect(encodeHeader(type, length).toString('hex')).to.equal(hex);
      expect(decodeHeader(Buffer.from(hex, 'hex'))).to.deep.equal({ type, length });
    });
  }

  for (const [what, hex, message] of [
    ['an unknown type', '01000000000000000000000000000000', 'unknown type 0x1'],
    ['a type that is known but for its high half', 'f0000000010000000000000000000000', 'unknown type 0x1000000f0'],
    ['a negative length', '0f00000000000000ffffffffffffffff', 'xenops header with length -1'],
    ['an absurd length', '0f00000000000000ffffffffffffff7f', 'allowed: 0 to 1048576'],
    ['a device model beyond 1 MiB', '000f0000000000000100100000000000', 'allowed: 0 to 1048576'],
    ['a memory stream with a length', 'f0000000000000000800000000000000', 'allowed: 0'],
    ['an end with a length', 'ffff0000000000000800000000000000', 'allowed: 0'],
    ['half a header', 'f000000000000000', `instead of ${headerBytes}`],
  ] as const) {
    it(`refuses ${what}`, () => {
      expect(() => decodeHeader(Buffer.from(hex, 'hex')))
        .to.throw(message)
        .with.property('code', 'INTERNAL_ERROR');
    });
  }

  it('writes the Xenops record as an s-expression', () => {
    const body = encodeXenops('{"name":"a \\"b\\""}', new Date('2026-01-02T03:04:05.678Z'));
    expect(body.toString()).to.equal(
      '((time 2026-01-02T03:04:05Z)(word_size 64)(vm_str "{\\"name\\":\\"a \\\\\\"b\\\\\\"\\"}"))',
    );
  });

  it('gives back any text of a VM', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (vmStr) => {
        expect(decodeXenops(encodeXenops(vmStr)).vmStr).to.equal(vmStr);
      }),
    );
  });

  it('reads a record in another layout', () => {
    const body = Buffer.from(' ( (word_size 64)\n (vm_str "a\\032b\\x63\\\n   d") (extra (1 2)) (time now) ) ');
    expect(decodeXenops(body)).to.deep.equal({ time: 'now', wordSize: 64, vmStr: 'a bcd' });
  });

  for (const [body, message] of [
    ['((time t)(word_size 64))', 'has no vm_str'],
    ['((time t)(word_size 63)(vm_str x))', 'a word_size of 63'],
    ['((time (t))(word_size 64)(vm_str x))', 'has no time'],
    ['((time t)(word_size 64)(vm_str x)', 'it ends early'],
    ['((time t)(word_size 64)(vm_str "x', 'a quoted atom without its end'],
    ['((time t)(word_size 64)(vm_str "\\999"))', 'above \\255'],
    ['((time t)) x', 'text behind the expression'],
    [')', 'unexpected ")"'],
    ['', 'it ends early'],
    ['('.repeat(1000), 'nested deeper than 16'],
    [`(${'()'.repeat(500_000)})`, 'more than 1000 atoms and lists'],
    [`(${'a '.repeat(500_000)})`, 'more than 1000 atoms and lists'],
    ['atom', 'has no word_size'],
  ] as const) {
    it(`refuses the record ${body.slice(0, 40)}`, () => {
      expect(() => decodeXenops(Buffer.from(body)))
        .to.throw(message)
        .with.property('code', 'INTERNAL_ERROR');
    });
  }

  it('gives back any s-expression', () => {
    const expressions = fc.letrec<{ any: string | readonly unknown[] }>((tie) => ({
      any: fc.oneof({ maxDepth: 4 }, fc.string({ unit: 'binary' }), fc.array(tie('any'), { maxLength: 5 })),
    }));
    fc.assert(
      fc.property(expressions.any, (expression) => {
        const text = formatSExpression(expression as string);
        expect(parseSExpression(Buffer.from(text, 'latin1'))).to.deep.equal(expression);
      }),
    );
  });
});
