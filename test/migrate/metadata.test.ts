import { expect } from 'chai';
import { XapiError } from '../../src/base/errors.js';
import {
  decodeMetadata,
  decodeReply,
  encodeMetadata,
  encodeReply,
  type ReceiveReply,
} from '../../src/migrate/metadata.js';
import { testDomain } from '../support/hosts.js';
import { refusalOf } from '../support/refusal.js';

const metadata = { version: 1 as const, domain: testDomain({ vgpus: ['0'] }), vifs: [] };
const vif = { uuid: 'x', device: '0', mac: '00:00:00:00:00:00', network: 'x' };
const reply: ReceiveReply = {
  control: 'http://192.0.2.1:8480/services/xenops/migrate/vm/x',
  memory: 'http://192.0.2.1:8480/services/xenops/migrate/mem/x',
  vgpu: { 0: 'http://192.0.2.1:8480/services/xenops/migrate/vgpu/x.0' },
  token: 'secret',
  accepts: ['inline-zstd/3', 'inline-zstd/2'],
  restoredAck: true,
};

describe('migrate/metadata: what the source tells of a VM', () => {
  it('comes out as it went in', () => {
    expect(decodeMetadata(encodeMetadata(metadata))).to.deep.equal(metadata);
  });

  const bad: [what: string, text: string, names: RegExp][] = [
    ['no JSON', '{', /^metadata; allowed: JSON/],
    ['another version', JSON.stringify({ ...metadata, version: 3 }), /version/],
    ['the version of a VM that does not run', JSON.stringify({ ...metadata, version: 2 }), /version/],
    [
      'a VM that does not run in the version of one that does',
      JSON.stringify({ ...metadata, rest: 'halted' }),
      /version/,
    ],
    ['a state that does not go', JSON.stringify({ ...metadata, version: 2, rest: 'paused' }), /rest/],
    ['no domain', JSON.stringify({ version: 1, vifs: [] }), /domain/],
    [
      'a uuid that is none',
      JSON.stringify({ ...metadata, domain: { ...metadata.domain, uuid: '../x' } }),
      /domain.uuid/,
    ],
    ['half a page', JSON.stringify({ ...metadata, domain: { ...metadata.domain, memoryBytes: 2048 } }), /memoryBytes/],
    [
      'negative memory',
      JSON.stringify({ ...metadata, domain: { ...metadata.domain, memoryBytes: -4096 } }),
      /memoryBytes/,
    ],
    [
      'the uuid of a copy under way',
      JSON.stringify({ ...metadata, domain: { ...metadata.domain, uuid: '01234567-89ab-cdef-0123-000000000001' } }),
      /that of a copy under way/,
    ],
    [
      'memory beyond what numbers can count',
      JSON.stringify({ ...metadata, domain: { ...metadata.domain, memoryBytes: 2 ** 60 } }),
      /memoryBytes/,
    ],
    [
      'ten thousand vGPUs',
      JSON.stringify({ ...metadata, domain: { ...metadata.domain, vgpus: Array.from({ length: 10_000 }, String) } }),
      /vgpus/,
    ],
    [
      'a vGPU that is named twice',
      JSON.stringify({ ...metadata, domain: { ...metadata.domain, vgpus: ['0', '0'] } }),
      /named twice/,
    ],
    ['ten thousand VIFs', JSON.stringify({ ...metadata, vifs: Array(10_000).fill(vif) }), /vifs/],
    ['a VIF of any length', JSON.stringify({ ...metadata, vifs: [{ ...vif, mac: 'x'.repeat(300) }] }), /mac/],
    ['nothing but brackets', '['.repeat(100_000) + ']'.repeat(100_000), /metadata/],
    [
      'a vGPU that is a path',
      JSON.stringify({ ...metadata, domain: { ...metadata.domain, vgpus: ['0/..'] } }),
      /vgpus/,
    ],
  ];
  for (const [what, text, names] of bad) {
    it(`is refused with ${what}`, () => {
      const error = refusalOf(() => decodeMetadata(text));
      expect(error.code).to.equal('INVALID_VALUE');
      expect(`${error.params[0]}; ${error.cause}`).to.match(names);
    });
  }
});

describe("migrate/metadata: VM.receive's reply", () => {
  it('is a map of strings, and comes out as it went in', () => {
    const map = encodeReply(reply);
    expect(Object.values(map).every((value) => typeof value === 'string')).to.equal(true);
    expect(decodeReply(map)).to.deep.equal(reply);
  });

  it('of a destination that announces nothing means plain streams, the zstd pipe, and no 2-restored', () => {
    const map = encodeReply({ ...reply, accepts: [], restoredAck: false });
    expect(map).to.not.have.any.keys('accepts', 'restored_ack');
    expect(decodeReply(map)).to.deep.include({ accepts: [], restoredAck: false });
  });

  for (const [what, map] of [
    ['no map', 'text'],
    ['no token', { control: reply.control, memory: reply.memory }],
    ['a URL that is none', { ...encodeReply(reply), control: 'nowhere' }],
    ['a URL of another scheme', { ...encodeReply(reply), memory: 'file:///etc/passwd' }],
    ['a URL without end', { ...encodeReply(reply), control: `http://x/${'x'.repeat(3000)}` }],
    ['a token without end', { ...encodeReply(reply), token: 'x'.repeat(2000) }],
    ['a token that is a head', { ...encodeReply(reply), token: 'x\r\ncookie: a' }],
    ['formats without end', { ...encodeReply(reply), accepts: 'x '.repeat(4000) }],
    ['restored_ack that is neither', { ...encodeReply(reply), restored_ack: 'yes' }],
    ['vgpu that is no JSON', { ...encodeReply(reply), vgpu: '{' }],
  ] as const) {
    it(`is refused with ${what}`, () => {
      expect(() => decodeReply(map))
        .to.throw(XapiError)
        .with.property('code', 'INVALID_VALUE');
    });
  }
});
