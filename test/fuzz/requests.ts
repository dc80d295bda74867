/** What the fuzzer sends: calls that are right, calls that are nearly right, and heads that no client sends. A seed determines all. */
import fc from 'fast-check';
import { encodeJson } from '../../src/api/json-value.js';
import { encodeXml } from '../../src/api/xml-value.js';
import { type Message, surface } from '../../src/model/surface.js';
import type { Type } from '../../src/model/value.js';
import { channelUrl, encodeHead, xenopsPath } from '../../src/wire/connection/channel.js';
import { bodyLimit } from '../../src/wire/connection/rpc-client.js';
import { anyOf, anyType } from '../api/any-value.js';

/** What one connection sends. */
export interface FuzzRequest {
  readonly bytes: Buffer;
  /** Bytes at a time. */
  readonly pieces: number;
  /** What the client does when all is sent: waits for the answer, ends its side, or breaks the connection. */
  readonly finish: 'wait' | 'end' | 'reset';
}

/** What is there to be named, as it is when a request is made. */
export interface Known {
  readonly session: string;
  /** References by class. */
  readonly refs: ReadonlyMap<string, readonly string[]>;
}

/** Those that take the host out of service, or end the session with which the others are sent. */
const notSent: readonly string[] = [
  ...['pool.join', 'pool.join_force', 'pool.eject', 'pool.rotate_secret', 'host.destroy'],
  ...['session.logout', 'session.local_logout', 'session.logout_subject_identifier'],
];

const messages = [...surface.values()].filter(({ name }) => !notSent.includes(name));
const handled = messages.filter(({ action, implemented }) => action.kind === 'custom' && implemented);

/** What bodies break at, put into them. */
const tokens = [
  ...[
    '{',
    '}',
    '[',
    ']',
    '"',
    ',',
    ':',
    '\\',
    '\\u0000',
    '\\ud800',
    '1e999',
    '-0',
    '9007199254740993',
    'null',
    '__proto__',
  ],
  ...['<', '>', '&', '&amp;', '&x;', '&#0;', ']]>', '<![CDATA[', '<!DOCTYPE a [<!ENTITY x "y">]>', '<!--', '<?xml?>'],
  ...['<value>', '</value>', '<struct>', '<nil/>', '<i4>99999999999</i4>', '\u0000', '\r\n', ' '],
  ...['['.repeat(20_000), '{"a":'.repeat(5_000), '<value><array><data>'.repeat(200), 'x'.repeat(bodyLimit + 1)],
].map((token) => Buffer.from(token));
const badBytes = [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xef, 0xbb, 0xbf], [0xfe, 0xff]].map((each) =>
  Buffer.from(each),
);

const headerLines = [
  ...['Expect: 100-continue', 'Expect: x', 'Upgrade: websocket', 'Connection: Upgrade', 'Transfer-Encoding: chunked'],
  ...['Transfer-Encoding: gzip, chunked', 'Content-Length: 5', 'Content-Length: -1', 'Content-Encoding: gzip', 'Host:'],
  ...['Origin: http://web.example', 'Origin: null', 'Content-Type: text/xml; charset=utf-16', 'no header', ': none'],
  ...['Cookie: session_id=1', 'Authorization: Basic eDp5', ' folded', 'A: \u0000', `B: ${'b'.repeat(20_000)}`],
];
const methods = ['POST', 'GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'CONNECT', 'PATCH', 'PRI', 'post', ''];
const targets = [
  ...[
    '/jsonrpc',
    '/',
    '/RPC2',
    xenopsPath,
    '/pool/xmldbdump',
    '//jsonrpc//',
    'http://x/jsonrpc',
    '*',
    '/%ff?%zz=%',
    '?',
    'x:80',
  ],
  ...[
    '/pool/xmldbdump?session_id=1&task_id=2',
    `${xenopsPath}/migrate/vm/x`,
    '/../../etc/passwd',
    `/${'a'.repeat(9_000)}`,
  ],
];
const versions = ['HTTP/1.1', 'HTTP/1.0', 'HTTP/2.0', 'HTTP/0.9', 'HTTQ/1.1', ''];

/** `usual` nearly always: of several such choices all are usual often enough for a call to get through to its handler. */
function mostly<T>(usual: fc.Arbitrary<T>, other: fc.Arbitrary<T>): fc.Arbitrary<T> {
  return fc.oneof({ weight: 15, arbitrary: usual }, { weight: 1, arbitrary: other });
}

/** A value of a type as both protocols write it. */
function written(type: Type, known: () => Known): fc.Arbitrary<Record<'json' | 'xml', string>> {
  const refTo = (cls: string) =>
    mostly(
      fc.nat().map((index) => {
        const refs = known().refs.get(cls) ?? [];
        return refs[index % refs.length] ?? 'OpaqueRef:NULL';
      }),
      fc.constantFrom('OpaqueRef:NULL', 'OpaqueRef:', '', 'OpaqueRef:00000000-0000-4000-8000-000000000000'),
    );
  return anyOf(type, refTo).map((value) => ({ json: encodeJson(type, value), xml: encodeXml(type, value) }));
}

/** Keys that are added are few, so that no map grows with each call. */
const fewTexts = fc.constantFrom('a', 'b', '', 'c d', '<&>', '__proto__').map((value) => ({
  json: JSON.stringify(value),
  xml: encodeXml({ kind: 'string' }, value),
}));

type Written = Record<'json' | 'xml', string>;

function callOf(message: Message, known: () => Known): fc.Arbitrary<{ name: string; params: readonly Written[] }> {
  const adds = /^add/.test(message.method);
  const params = message.params.map(({ type }) =>
    mostly(
      adds && type.kind === 'string' ? fewTexts : written(type, known),
      anyType.chain((other) => written(other, known)),
    ),
  );
  const text = { kind: 'string' } as const;
  const session = mostly(
    fc.constant(0).map(() => ({ json: JSON.stringify(known().session), xml: encodeXml(text, known().session) })),
    fewTexts,
  );
  const all = message.session ? [session, ...params] : params;
  const longer = fc.array(fewTexts, { minLength: 1, maxLength: 3 });
  return fc.record({
    name: mostly(
      fc.constant(message.name),
      fc.constantFrom(`Async.${message.name}`, message.name.replace('.', '_'), `${message.name}x`, message.method),
    ),
    params: mostly(
      fc.tuple(...all),
      fc
        .tuple(fc.tuple(...all), fc.nat(all.length), longer)
        .map(([some, kept, more]) => [...some.slice(0, kept), ...more]),
    ),
  });
}

/** A call as the body of a POST, with where it goes. */
function bodyOf(known: () => Known): fc.Arbitrary<{ target: string; body: Buffer }> {
  const message = fc.oneof(fc.constantFrom(...handled), fc.constantFrom(...messages));
  const versionOf = mostly(
    fc.constantFrom('"jsonrpc":"2.0",', ''),
    fc.constantFrom('"jsonrpc":2,', '"jsonrpc":"1.0",'),
  );
  const id = mostly(fc.constantFrom('1', '"x"'), fc.constantFrom('null', '1.5', '[]', '{}', '-1e400'));
  return fc
    .tuple(
      message.chain((each) => callOf(each, known)),
      versionOf,
      id,
      fc.boolean(),
      fc.nat(19),
    )
    .map(([{ name, params }, version, number, xml, odd]) => {
      if (xml) {
        const values = params.map((each) => `<param>${each.xml}</param>`).join('');
        const body = `<?xml version="1.0"?><methodCall><methodName>${name}</methodName><params>${values}</params></methodCall>`;
        return { target: odd === 0 ? '/RPC2' : '/', body: Buffer.from(body) };
      }
      const values = params.map((each) => each.json).join();
      const list = odd === 1 ? `{"a":[${values}]}` : `[${values}]`;
      const call = `{${version}"id":${number},"method":${JSON.stringify(name)},"params":${list}}`;
      const body = Buffer.from(odd === 2 ? `[${call},${call}]` : call);
      return { target: odd === 0 ? xenopsPath : '/jsonrpc', body };
    });
}

/** A change of some bytes at a place. */
type Edit = (bytes: Buffer) => Buffer;

const edit: fc.Arbitrary<Edit> = fc
  .tuple(
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.constantFrom('insert', 'replace', 'remove', 'repeat', 'flip', 'cut'),
    fc.constantFrom(...tokens, ...badBytes),
    fc.integer({ min: 1, max: 40 }),
  )
  .map(([place, kind, token, length]) => (bytes) => {
    const at = Math.floor(place * bytes.length);
    const [before, here, behind] = [
      bytes.subarray(0, at),
      bytes.subarray(at, at + length),
      bytes.subarray(at + length),
    ];
    switch (kind) {
      case 'insert':
        return Buffer.concat([before, token, here, behind]);
      case 'replace':
        return Buffer.concat([before, token, behind]);
      case 'remove':
        return Buffer.concat([before, behind]);
      case 'repeat':
        return Buffer.concat([before, here, here, behind]);
      case 'flip':
        return Buffer.concat([before, here.map((byte) => byte ^ (1 << (length % 8))), behind]);
      case 'cut':
        return before;
    }
  });

function edited(bytes: Buffer, edits: readonly Edit[]): Buffer {
  return edits.reduce((sum, each) => each(sum), bytes);
}

const noEdits = fc.constant<Edit[]>([]);
const someEdits = fc.array(edit, { minLength: 1, maxLength: 3 });

/** One call as a whole request: its body is changed in one of four, its head in one of sixteen. */
function posted(known: () => Known, connection: 'close' | 'keep-alive'): fc.Arbitrary<Buffer> {
  return fc
    .tuple(
      bodyOf(known),
      fc.oneof({ weight: 3, arbitrary: noEdits }, someEdits),
      mostly(noEdits, someEdits),
      mostly(fc.constant<string[]>([]), fc.array(fc.constantFrom(...headerLines), { minLength: 1, maxLength: 3 })),
    )
    .map(([{ target, body }, ofBody, ofHead, more]) => {
      const sent = edited(body, ofBody);
      const lines = [
        `POST ${target} HTTP/1.1`,
        'Host: x',
        `Connection: ${connection}`,
        ...more,
        `Content-Length: ${sent.length}`,
      ];
      return Buffer.concat([edited(Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), ofHead), sent]);
    });
}

/** A request whose first line and headers are anything. */
const oddHead: fc.Arbitrary<Buffer> = fc
  .tuple(
    fc.constantFrom(...methods),
    fc.constantFrom(...targets),
    mostly(fc.constant('HTTP/1.1'), fc.constantFrom(...versions)),
    fc.array(fc.constantFrom(...headerLines), { maxLength: 5 }),
    mostly(noEdits, someEdits),
    fc.constantFrom('', '5\r\nhello\r\n0\r\n\r\n', 'ffffffffffffffffff\r\n', 'hello'),
  )
  .map(([method, target, version, lines, edits, body]) => {
    const head = [`${method} ${target} ${version}`, 'Host: x', ...lines].join('\r\n');
    return edited(Buffer.from(`${head}\r\n\r\n${body}`, 'latin1'), edits);
  });

/** The head of a channel that nobody waits for. */
const channel: fc.Arbitrary<Buffer> = fc
  .tuple(
    fc.constantFrom('vm', 'mem', 'vgpu'),
    fc.uuid(),
    fc.constantFrom(undefined, '0', '99999'),
    fc.dictionary(
      fc.constantFrom(
        'instance_id',
        'final_id',
        'dbg',
        'mem_migration',
        'compress',
        'memory_limit',
        'migration_id',
        '__proto__',
      ),
      fc.oneof(fc.uuid(), fc.string(), fc.constantFrom('zstd', '-1', '1e99', '')),
    ),
    fc.oneof(noEdits, someEdits),
    fc.constantFrom('', 'more'),
  )
  .map(([kind, uuid, device, cookies, edits, behind]) => {
    const url = new URL(channelUrl(`http://x${xenopsPath}`, kind as 'vm', uuid, device));
    return Buffer.concat([edited(encodeHead(url, 'x', cookies), edits), Buffer.from(behind)]);
  });

/**
 * Anything that a connection may send: some calls one after the other, an odd head, a channel, or no protocol at all.
 * @param known asked for each request, so that it names what is there then
 */
export function anyRequest(known: () => Known): fc.Arbitrary<FuzzRequest> {
  const before = fc.array(posted(known, 'keep-alive'), { maxLength: 2 });
  const calls = fc.tuple(before, posted(known, 'close')).map(([some, last]) => Buffer.concat([...some, last]));
  return fc.record({
    bytes: fc.oneof(
      { weight: 16, arbitrary: calls },
      { weight: 3, arbitrary: oddHead },
      { weight: 2, arbitrary: channel },
      { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
    ),
    pieces: mostly(fc.constant(Number.POSITIVE_INFINITY), fc.integer({ min: 1, max: 400 })),
    finish: mostly(fc.constant('wait' as const), fc.constantFrom('end' as const, 'reset' as const)),
  });
}
