import { once } from 'node:events';
import net from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import { expect } from 'chai';
import fc from 'fast-check';
import { defined } from '../../../src/base/defined.js';
import {
  type ChannelHead,
  channelUrl,
  decodeHead,
  encodeHead,
  isChannelRequest,
  maxHeadBytes,
  openChannel,
  readHead,
} from '../../../src/wire/connection/channel.js';
import type { RawSocket } from '../../../src/wire/connection/raw-socket.js';
import { chop } from '../../support/chopped.js';
import { messageOfFailure, openConnections } from './connections.js';

const uuid = '01234567-89ab-cdef-0123-000000000001';
const xenops = 'http://192.0.2.1:8480/services/xenops';

/** A head as text, its lines given. */
function head(...lines: string[]): Buffer {
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`);
}

describe('the head of a channel', () => {
  it('has the URL that VM.receive names', () => {
    expect(channelUrl(xenops, 'vm', uuid)).to.equal(`${xenops}/migrate/vm/${uuid}`);
    expect(channelUrl(xenops, 'mem', uuid)).to.equal(`${xenops}/migrate/mem/${uuid}`);
    expect(channelUrl(xenops, 'vgpu', uuid, '11')).to.equal(`${xenops}/migrate/vgpu/${uuid}.11`);
  });

  it('is a PUT with the session in the query and the rest in a cookie, without a body length', () => {
    const encoded = encodeHead(new URL(channelUrl(xenops, 'vm', uuid)), 'a token', {
      dbg: 'VM.migrate',
      compress: 'zstd',
    });
    expect(String(encoded).split('\r\n')).to.deep.equal([
      `PUT /services/xenops/migrate/vm/${uuid}?session_id=a%20token HTTP/1.1`,
      'host: 192.0.2.1:8480',
      'user-agent: xenferry',
      'cookie: dbg=VM.migrate; compress=zstd',
      'connection: keep-alive',
      '',
      '',
    ]);
  });

  it('comes out as it went in, whatever the values are', () => {
    const kind = fc.constantFrom(['vm', undefined], ['mem', undefined], ['vgpu', '0'], ['vgpu', '11']);
    const key = fc.stringMatching(/^[a-z_]{1,12}$/);
    const value = fc.string({ unit: 'grapheme' });
    fc.assert(
      fc.property(kind, fc.uuid(), value, fc.dictionary(key, value), ([name, device], id, sessionId, cookies) => {
        const url = new URL(channelUrl(xenops, name as ChannelHead['kind'], id, device));
        expect(decodeHead(encodeHead(url, sessionId, cookies))).to.deep.equal({
          kind: name,
          uuid: id,
          sessionId,
          cookies: { ...cookies },
          ...defined({ device }),
        });
      }),
    );
  });

  const good: [what: string, bytes: Buffer, expected: ChannelHead][] = [
    [
      'of xapi, with session and cookies',
      head(
        `PUT /services/xenops/migrate/mem/${uuid}?session_id=OpaqueRef:1 HTTP/1.0`,
        'Cookie: instance_id=1; final_id=2; dbg=Async.VM.pool_migrate R:1',
        'User-agent: xenopsd',
      ),
      {
        kind: 'mem',
        uuid,
        sessionId: 'OpaqueRef:1',
        cookies: { instance_id: '1', final_id: '2', dbg: 'Async.VM.pool_migrate R:1' },
      },
    ],
    [
      'with the shortest path',
      head(`PUT /migrate/vm/${uuid} HTTP/1.1`),
      { kind: 'vm', uuid, sessionId: '', cookies: {} },
    ],
    [
      'with a uuid in upper case',
      head(`PUT /x/migrate/vm/${uuid.toUpperCase()} HTTP/1.1`),
      { kind: 'vm', uuid, sessionId: '', cookies: {} },
    ],
    [
      'with several cookie headers of any case and spacing',
      head(`PUT /migrate/vm/${uuid} HTTP/1.1`, 'COOKIE:a=1;b=2', 'cookie:   c = 3 ;; d', 'x-cookie: e=5'),
      { kind: 'vm', uuid, sessionId: '', cookies: { a: '1', b: '2', c: '3', d: '' } },
    ],
    [
      'with a cookie that holds = and a broken escape',
      head(`PUT /migrate/vm/${uuid}?a=b&session_id=s+1&session_id=2 HTTP/1.1`, 'cookie: a=b=c; p=100%'),
      { kind: 'vm', uuid, sessionId: 's 1', cookies: { a: 'b=c', p: '100%' } },
    ],
    [
      'of a vGPU',
      head(`PUT /services/xenops/migrate/vgpu/${uuid}.0?session_id=s HTTP/1.1`),
      { kind: 'vgpu', uuid, device: '0', sessionId: 's', cookies: {} },
    ],
  ];
  for (const [what, bytes, expected] of good) {
    it(`is understood: one ${what}`, () => {
      expect(decodeHead(bytes)).to.deep.equal(expected);
    });
  }

  const bad: [target: string, why: string][] = [
    [`/migrate/disk/${uuid}`, 'no migration channel'],
    [`/migrate/VM/${uuid}x`, 'no migration channel'],
    ['/migrate/vm/', 'no migration channel'],
    ['/migrate/vm/not-a-uuid', 'no migration channel'],
    [`/migrate/vm/${uuid}/more`, 'no migration channel'],
    [`/migrate/vgpu/${uuid}.`, 'no migration channel'],
    [`/migrate/vgpu/${uuid}.x`, 'no migration channel'],
    [`/migrate/vgpu/${uuid}.12345`, 'no migration channel'],
    [`/emigrate/vm/${uuid}`, 'no migration channel'],
    [`/?/migrate/vm/${uuid}`, 'no migration channel'],
    [`/migrate/vgpu/${uuid}`, 'a vgpu channel, and only that, names a device'],
    [`/migrate/vm/${uuid}.0`, 'a vgpu channel, and only that, names a device'],
    [`/migrate/mem/${uuid}.0`, 'a vgpu channel, and only that, names a device'],
  ];
  for (const [target, why] of bad) {
    it(`is refused: ${target}`, () => {
      expect(() => decodeHead(head(`PUT ${target} HTTP/1.1`))).to.throw(`${why}: PUT ${target}`);
    });
  }

  for (const bytes of [Buffer.alloc(0), head(''), head('PUT'), Buffer.from([0xff, 0xfe, 0x0d, 0x0a])]) {
    it(`is refused: ${JSON.stringify(bytes.toString('latin1'))}`, () => {
      expect(() => decodeHead(bytes)).to.throw('no migration channel');
    });
  }

  it('is refused in few words when its first line is long', () => {
    const decode = () => decodeHead(head(`PUT /migrate/vm/${'x'.repeat(9000)} HTTP/1.1`));
    expect(decode).to.throw().with.property('message').with.length.below(300);
  });

  const requests: [line: string, isChannel: boolean][] = [
    [`PUT /services/xenops/migrate/vm/${uuid} HTTP/1.1`, true],
    ['PUT /migrate/anything HTTP/1.1', true],
    ['PUT /file?to=/migrate/vm HTTP/1.1', false],
    ['PUT /file HTTP/1.1', false],
    [`GET /services/xenops/migrate/vm/${uuid} HTTP/1.1`, false],
    [`POST /migrate/vm/${uuid} HTTP/1.1`, false],
    ['PUT', false],
    ['', false],
  ];
  for (const [line, isChannel] of requests) {
    it(`${isChannel ? 'is asked for' : 'is not asked for'} by ${JSON.stringify(line)}`, () => {
      expect(isChannelRequest(line)).to.equal(isChannel);
    });
  }
});

describe('reading the head of a request', () => {
  const connections = openConnections();
  afterEach(connections.close);
  const whole = head('PUT /migrate/vm/1 HTTP/1.1', 'cookie: a=1');
  const fill = (bytes: number) => Buffer.concat([Buffer.alloc(bytes - 4, 'x'), Buffer.from('\r\n\r\n')]);

  /** Bytes that come so many at a time, and how often was read. */
  const comingBy = (bytes: Buffer, size: number) => {
    const pieces = chop(bytes, size);
    const reader = {
      reads: 0,
      readSome: async () => {
        reader.reads += 1;
        const next = pieces.next();
        if (next.done === true) throw new Error('the stream ended early');
        return next.value;
      },
    };
    return reader;
  };

  it('loses not a byte of what is behind it, wherever it is cut and however it comes', async () => {
    const all = Buffer.concat([whole, Buffer.from('\r\n\r\nraw bytes \r\n\r\n')]);
    for (let start = 0; start <= all.length; start += 1) {
      for (const size of [1, 3, all.length]) {
        const reader = comingBy(all.subarray(start), size);
        const { head: read, behind } = await readHead(reader, all.subarray(0, start), 1000);
        expect(read).to.deep.equal(whole);
        const taken = Math.min(all.length, start + reader.reads * size);
        expect(behind).to.deep.equal(all.subarray(whole.length, taken));
        expect(taken).to.be.lessThan(Math.max(start, whole.length + size) + 1);
      }
    }
  });

  const ends: [what: string, bytes: string][] = [
    ['only a blank line', '\r\n\r\n'],
    ['carriage returns before it', 'a\r\r\r\n\r\n'],
    ['a line feed in between', 'a\r\n\n\r\n\r\n'],
    ['another text within its end', 'a\r\n\rb\r\n\r\n'],
  ];
  for (const [what, bytes] of ends) {
    it(`finds the end of a head with ${what}`, async () => {
      const { head: read, behind } = await readHead(
        comingBy(Buffer.from(`${bytes}behind`), 1),
        Buffer.alloc(0),
        10_000,
      );
      expect([String(read), String(behind)]).to.deep.equal([bytes, '']);
    });
  }

  it('reads no further than the first line where that asks for nothing that is meant', async () => {
    const all = head('PUT /file HTTP/1.1', 'cookie: a=1');
    const lines: string[] = [];
    const refuse = (line: string) => lines.push(line) === 0;
    const { head: read, behind } = await readHead(comingBy(all, 1), Buffer.alloc(0), 1000, refuse);
    expect([String(read), String(behind), lines]).to.deep.equal(['', 'PUT /file HTTP/1.1\r\n', ['PUT /file HTTP/1.1']]);
  });

  it('takes the longest head that has come in a few reads', async () => {
    const { raw, peer } = await connections.adopted();
    await new Promise((resolve) => peer.write(fill(maxHeadBytes), resolve));
    let reads = 0;
    const readSome: RawSocket['readSome'] = (least, most, timeoutMs) => {
      reads += 1;
      return raw.readSome(least, most, timeoutMs);
    };
    expect((await readHead({ readSome }, Buffer.alloc(0), 10_000)).head).to.have.length(maxHeadBytes);
    expect(reads).to.be.lessThan(5);
  });

  it('comes to its end one byte at a time, and leaves the bytes behind', async () => {
    const { raw, peer } = await connections.adopted();
    const read = readHead(raw, Buffer.alloc(0), 10_000);
    for (const byte of whole) {
      peer.write(Buffer.of(byte));
      await setImmediate();
    }
    const { head: got, behind } = await read;
    expect(got).to.deep.equal(whole);
    raw.unread(behind);
    peer.write('raw');
    expect(String(await raw.read(3))).to.equal('raw');
  });

  it('accepts the longest head and refuses one that is a byte longer', async () => {
    expect((await readHead(comingBy(fill(maxHeadBytes), 1024), Buffer.alloc(0), 10_000)).head).to.have.length(
      maxHeadBytes,
    );
    expect(await messageOfFailure(readHead(comingBy(fill(maxHeadBytes + 1), 1024), Buffer.alloc(0), 1000))).to.contain(
      `the head of the request is longer than ${maxHeadBytes} bytes`,
    );
  });

  it('refuses a writer that never stops', async () => {
    const { raw, peer } = await connections.adopted();
    peer.write(Buffer.alloc(200_000, 'x'));
    expect(await messageOfFailure(readHead(raw, Buffer.alloc(0), 10_000))).to.contain('longer than');
  });

  it('refuses a writer that is slow, however often it writes', async () => {
    const { raw, peer } = await connections.adopted();
    const ended = new Promise((resolve) => peer.once('close', resolve));
    const writing = setInterval(() => peer.write('x'), 10);
    try {
      expect(await messageOfFailure(readHead(raw, Buffer.alloc(0), 100))).to.contain('no answer from the peer within');
      peer.resume();
      await ended;
    } finally {
      clearInterval(writing);
    }
  });

  it('ends with the connection', async () => {
    const { raw, peer } = await connections.adopted();
    peer.end('PUT /migr');
    expect(await messageOfFailure(readHead(raw, Buffer.alloc(0), 10_000))).to.contain('the peer closed the connection');
  });
});

describe('opening a channel', () => {
  const connections = openConnections();
  const servers: net.Server[] = [];
  afterEach(() => {
    connections.close();
    for (const server of servers.splice(0)) server.close();
  });
  const listen = async (address: string) => {
    const server = net.createServer((socket) => connections.keep(socket));
    servers.push(server);
    await once(server.listen(0, address), 'listening');
    return { server, port: (server.address() as net.AddressInfo).port };
  };

  const loopback = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  for (const [host, address] of [
    ['127.0.0.1', '127.0.0.1'],
    ['[::1]', '::1'],
  ] as const) {
    if (!loopback.some((one) => one.address === address)) continue;
    it(`sends the head and is raw both ways from then on, to ${host}`, async () => {
      const { server, port } = await listen(address);
      const accepted = once(server, 'connection');
      const url = `http://${host}:${port}/services/xenops/migrate/mem/${uuid}`;
      const raw = connections.keep(await openChannel(url, 'the token', { compress: 'zstd' }, 1000));
      const [peer] = (await accepted) as [net.Socket];
      const sent = encodeHead(new URL(url), 'the token', { compress: 'zstd' });
      await raw.write(Buffer.from('raw'));
      let got = Buffer.alloc(0);
      while (got.length < sent.length + 3) got = Buffer.concat([got, ...((await once(peer, 'data')) as Buffer[])]);
      expect(String(got)).to.equal(`${sent}raw`);
      peer.write(Buffer.from([0, 0]));
      expect(await raw.read(2)).to.deep.equal(Buffer.alloc(2));
    });
  }

  it('refuses another protocol than http', async () => {
    expect(await messageOfFailure(openChannel(`https://127.0.0.1/migrate/vm/${uuid}`, '', {}, 1000))).to.contain(
      'https is not spoken; allowed: http',
    );
  });

  it('says who did not answer', async () => {
    const { server, port } = await listen('127.0.0.1');
    server.close();
    await delay(0);
    expect(await messageOfFailure(openChannel(`http://127.0.0.1:${port}/`, '', {}, 1000))).to.contain(
      `ECONNREFUSED 127.0.0.1:${port}`,
    );
  });
});
