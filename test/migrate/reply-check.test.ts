import { expect } from 'chai';
import type { ReceiveReply } from '../../src/migrate/metadata.js';
import { checkReply } from '../../src/migrate/reply-check.js';
import { refusalOf } from '../support/refusal.js';

const uuid = '01234567-89ab-cdef-0123-456789abcdef';
const temporary = '01234567-89ab-cdef-0123-000000000001';

/** What a destination at `base` replies. */
function replyOf(base: string, changes: Partial<ReceiveReply> = {}): ReceiveReply {
  return {
    control: `${base}/migrate/vm/${temporary}`,
    memory: `${base}/migrate/mem/${temporary}`,
    vgpu: { 3: `${base}/migrate/vgpu/${temporary}.3` },
    token: 'token',
    accepts: [],
    restoredAck: false,
    ...changes,
  };
}

const check = (reply: ReceiveReply, asked = 'http://192.0.2.1:8480') =>
  checkReply(reply, asked, { uuid, vgpus: ['3'] });

describe('What a destination agrees to', () => {
  for (const [what, base, asked] of [
    ['where it was asked', 'http://192.0.2.1:8480/services/xenops', 'http://192.0.2.1:8480'],
    [
      'at another host and port, as of a member of another pool',
      'http://192.0.2.7:99/services/xenops',
      'http://192.0.2.1:8480',
    ],
    ['at a name', 'http://member.example/services/xenops', 'http://coordinator.example'],
    ['at an address of IPv6', 'http://[2001:db8::1]:8480/services/xenops', 'http://192.0.2.1:8480'],
    ['on the loopback, where it was asked there', 'http://127.0.0.1:1/services/xenops', 'http://127.0.0.1:2'],
  ] as const) {
    it(`may be ${what}`, () => {
      const reply = replyOf(base);
      expect(check(reply, asked)).to.equal(reply);
    });
  }

  const base = 'http://192.0.2.1:8480/services/xenops';
  const other = 'http://192.0.2.2:22';
  const rows: [what: string, reply: ReceiveReply, names: RegExp][] = [
    ['memory at another host', replyOf(base, { memory: `${other}/migrate/mem/${temporary}` }), /memory.*allowed: http/],
    ['memory on another path', replyOf(base, { memory: `${base}/import/${temporary}` }), /memory/],
    ['a vGPU at another host', replyOf(base, { vgpu: { 3: `${other}/migrate/vgpu/${temporary}.3` } }), /vgpu 3/],
    ['no URL for a vGPU', replyOf(base, { vgpu: {} }), /vgpu 3.*absent/],
    ['the channels of another VM', replyOf(base, { control: `${base}/migrate/vm/${uuid}` }), /control/],
    ['no path of a channel', replyOf(base, { control: 'http://192.0.2.1/' }), /control/],
    ['a user', replyOf('http://root:x@192.0.2.1/services/xenops'), /no user/],
    ['another path', replyOf('http://192.0.2.1/admin'), /a path below/],
    ['a query', replyOf(base, { control: `${base}/migrate/vm/${temporary}?x=1` }), /control/],
    ['a base that is a query', replyOf('http://192.0.2.1/services/xenops/?x='), /a path below/],
    ...[
      'http://127.0.0.1:22',
      'http://127.9.9.9',
      'http://0.0.0.0',
      'http://localhost',
      'http://x.localhost',
      'http://[::1]:80',
      'http://[::]',
      'http://[::ffff:127.0.0.1]',
      'http://169.254.169.254',
      'http://[fe80::1]',
      'http://2130706433',
      'http://0x7f.1',
    ].map((own): [string, ReceiveReply, RegExp] => [
      `${own}, our own machine`,
      replyOf(`${own}/services/xenops`),
      /leads from here/,
    ]),
  ];
  for (const [what, reply, names] of rows) {
    it(`is refused with ${what}`, () => {
      const error = refusalOf(() => check(reply));
      expect(error.code).to.equal('INVALID_VALUE');
      expect(`${error.params.join(' ')}; ${error.cause}`).to.match(names);
    });
  }
});
