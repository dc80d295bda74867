import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { expect } from 'chai';
import { defined } from '../../../src/base/defined.js';
import { type ChannelHead, channelUrl, openChannel } from '../../../src/wire/connection/channel.js';
import { createListener, type Listener } from '../../../src/wire/connection/listener.js';
import type { RawSocket } from '../../../src/wire/connection/raw-socket.js';
import { type CapturedLog, captureLog } from '../../support/log.js';
import { messageOfFailure, nothingOpenSince, openConnections, openDescriptors, readAll } from './connections.js';

const uuid = '01234567-89ab-cdef-0123-000000000001';

interface Arrived {
  readonly head: ChannelHead;
  readonly socket: RawSocket;
}

describe('the listener of the port', () => {
  const connections = openConnections();
  let listener: Listener;
  let port: number;
  let log: CapturedLog;
  let channels: Arrived[];
  let onArrival: () => void;

  /** Answers with what was asked: method, path, body. */
  const echo = async (request: http.IncomingMessage, response: http.ServerResponse) => {
    const body = await readAll(request);
    response.setHeader('x-asked', `${request.method} ${request.url}`);
    response.end(body);
  };

  beforeEach(async () => {
    log = captureLog();
    channels = [];
    onArrival = () => undefined;
    listener = createListener({
      log: log.log,
      onRequest: (request, response) => void echo(request, response).catch(() => response.destroy()),
      onChannel(head, socket) {
        channels.push({ head, socket: connections.keep(socket) });
        onArrival();
      },
    });
    port = await listener.listen(0, '127.0.0.1');
  });
  afterEach(async () => {
    connections.close();
    await listener.close();
  });

  const dial = async () => {
    const socket = connections.keep(net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }));
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    return socket;
  };
  const nextChannel = async (): Promise<Arrived> => {
    while (channels.length === 0) {
      await new Promise<void>((resolve) => {
        onArrival = resolve;
      });
    }
    return channels.shift() as Arrived;
  };
  const ask = (method: string, path: string, body = '', agent?: http.Agent) =>
    new Promise<{ asked: unknown; body: string; reused: boolean }>((resolve, reject) => {
      const request = http.request({
        port,
        host: '127.0.0.1',
        method,
        path,
        ...defined({ agent }),
      });
      request.once('error', reject);
      request.once('response', async (response) => {
        const text = String(await readAll(response));
        resolve({ asked: response.headers['x-asked'], body: text, reused: request.reusedSocket });
      });
      request.end(body);
    });

  for (const [method, path, body] of [
    ['GET', '/', ''],
    ['POST', '/jsonrpc', '{"a":1}'],
    ['PUT', '/import', 'a body'],
    ['PUT', '/import?to=/migrate/vm/', ''],
    ['OPTIONS', '/jsonrpc', ''],
    ['PATCH', `/migrate/vm/${uuid}`, 'x'],
    ['GET', `/services/xenops/migrate/vm/${uuid}`, ''],
  ] as const) {
    it(`gives ${method} ${path} to HTTP`, async () => {
      expect(await ask(method, path, body)).to.deep.equal({ asked: `${method} ${path}`, body, reused: false });
    });
  }

  it('gives a body of any length to HTTP, and its answer back', async () => {
    const body = 'memory '.repeat(500_000);
    expect((await ask('PUT', '/upload', body)).body).to.equal(body);
    expect((await ask('POST', '/jsonrpc', body)).body).to.equal(body);
  });

  it('keeps a connection alive over requests of every kind', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    try {
      const rows = [
        ['PUT', 'one'],
        ['POST', 'two '.repeat(50_000)],
        ['GET', ''],
        ['PUT', 'four'],
      ] as const;
      for (const [index, [method, body]] of rows.entries()) {
        expect(await ask(method, `/${index}`, body, agent)).to.deep.equal({
          asked: `${method} /${index}`,
          body,
          reused: index > 0,
        });
      }
    } finally {
      agent.destroy();
    }
  });

  it('gives requests that come one byte at a time, and one behind the other, to HTTP', async () => {
    const socket = await dial();
    const body = (text: string) => `content-length: ${text.length}\r\n\r\n${text}`;
    const requests = `PUT /a HTTP/1.1\r\nhost: x\r\n${body('first')}POST /b HTTP/1.1\r\nhost: x\r\n${body('second')}`;
    for (const byte of Buffer.from(requests)) {
      socket.write(Buffer.of(byte));
      await setImmediate();
    }
    socket.write('GET /c HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
    const text = String(await readAll(socket));
    expect(text.match(/x-asked: .*/g)).to.deep.equal(['x-asked: PUT /a', 'x-asked: POST /b', 'x-asked: GET /c']);
    expect(text).to.match(/\r\nfirst.*\r\nsecond/s);
  });

  it('answers requests that come all at once, in their order', async () => {
    const socket = await dial();
    const request = (index: number) => `PUT /${index} HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody`;
    socket.write(Array.from({ length: 50 }, (_, index) => request(index)).join(''));
    socket.end('GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
    const text = String(await readAll(socket));
    expect(text.match(/x-asked: .*/g)).to.have.length(51);
    expect(text.match(/x-asked: PUT \/(\d+)/g)).to.deep.equal(
      Array.from({ length: 50 }, (_, index) => `x-asked: PUT /${index}`),
    );
  });

  it('gives a PUT that asks for no channel to HTTP as soon as it has come to the end of its first line', async () => {
    const socket = await dial();
    socket.write('PUT /file HTTP/1.1\r\nno header\r\n');
    expect(String(await readAll(socket))).to.match(/^HTTP\/1\.1 400 /);
  });

  it('gives what is no HTTP to HTTP as well, which says so', async () => {
    const socket = await dial();
    // No more than is looked at: a server that closes with bytes unread resets, and its answer may be lost.
    socket.end('HELO');
    expect(String(await readAll(socket))).to.match(/^HTTP\/1\.1 400 /);
  });

  it('makes a raw channel of a PUT to .../migrate/, both ways, with the bytes behind the head of a control channel', async () => {
    const socket = await dial();
    const target = `/services/xenops/migrate/vm/${uuid}?session_id=t`;
    socket.write(`PUT ${target} HTTP/1.1\r\ncookie: migration_id=7; compress=zstd\r\n\r\nraw bytes`);
    const { head, socket: raw } = await nextChannel();
    expect(head).to.deep.equal({
      kind: 'vm',
      uuid,
      sessionId: 't',
      cookies: { migration_id: '7', compress: 'zstd' },
    });
    expect(String(await raw.read(9))).to.equal('raw bytes');
    await raw.write(Buffer.from([0, 0]));
    raw.destroy();
    expect(await readAll(socket)).to.deep.equal(Buffer.from([0, 0]));
  });

  it('makes a channel of a head that comes one byte at a time', async () => {
    const socket = await dial();
    for (const byte of Buffer.from(`PUT /migrate/vgpu/${uuid}.3 HTTP/1.1\r\nhost: x\r\n\r\n`)) {
      socket.write(Buffer.of(byte));
      await setImmediate();
    }
    expect((await nextChannel()).head).to.include({ kind: 'vgpu', uuid, device: '3' });
  });

  it('answers who asks for a tunnel, and ends the connection', async () => {
    const socket = net.connect(port, '127.0.0.1');
    socket.write('CONNECT console:80 HTTP/1.1\r\nHost: x\r\n\r\n');
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(socket, 'close');
    expect(Buffer.concat(chunks).toString()).to.match(/^HTTP\/1.1 \d+ /);
  });

  it('goes on where who asked for a tunnel resets the connection', async () => {
    const before = openDescriptors();
    const socket = await dial();
    socket.write('CONNECT console:80 HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(socket, 'data');
    socket.resetAndDestroy();
    await nothingOpenSince(before);
    expect((await ask('GET', '/after')).asked).to.equal('GET /after');
  });

  it('makes channels of what openChannel opens, several at once', async () => {
    const base = `http://127.0.0.1:${port}/services/xenops`;
    const opened = await Promise.all(
      Array.from({ length: 10 }, async (_, index) => {
        const raw = await openChannel(channelUrl(base, 'vm', uuid), 'token', { index: String(index) }, 5000);
        connections.keep(raw);
        await raw.write(Buffer.of(index));
        return raw;
      }),
    );
    for (const _ of opened) {
      const { head, socket } = await nextChannel();
      expect(await socket.read(1)).to.deep.equal(Buffer.of(Number(head.cookies.index)));
    }
  });

  const refused: [what: string, bytes: string, reason: string][] = [
    ['a head that is too long', `PUT /migrate/vm/${'x'.repeat(20_000)}`, 'longer than 16384 bytes'],
    ['a connection that ends at once', '', 'the peer closed the connection'],
    ['a connection that ends within its head', 'PUT /migrate/', 'the peer closed the connection'],
  ];
  for (const [what, bytes, reason] of refused) {
    it(`closes ${what}, without an answer, and goes on`, async () => {
      const socket = await dial();
      socket.end(bytes);
      expect(String(await readAll(socket).catch(() => ''))).to.equal('');
      const refusals = log.records.filter(({ message }) => message === 'connection refused');
      expect(refusals.map(({ level, fields }) => [level, String(fields.reason).includes(reason)])).to.deep.equal([
        ['debug', true],
      ]);
      expect(channels).to.deep.equal([]);
      expect((await ask('GET', '/')).asked).to.equal('GET /');
    });
  }

  for (const [what, target, reason, behind = ''] of [
    ['of no known kind', `/migrate/disk/${uuid}`, 'no migration channel'],
    ['without a uuid', '/migrate/vm/x', 'no migration channel'],
    ['for a vGPU without a device', `/migrate/vgpu/${uuid}`, 'a vgpu channel, and only that, names a device'],
    ['for memory that does not wait for its first point', `/migrate/mem/${uuid}`, 'bytes on a mem channel before', 'x'],
    ['for a vGPU that does not either', `/migrate/vgpu/${uuid}.0`, 'bytes on a vgpu channel before', '\0\0'],
  ] as const) {
    it(`says to a channel ${what}, in an Error, why it is refused`, async () => {
      const socket = await dial();
      socket.end(`PUT ${target} HTTP/1.1\r\n\r\n${behind}`);
      const answer = await readAll(socket);
      expect(answer.readUInt16BE()).to.equal(answer.length - 2);
      expect(String(answer.subarray(2))).to.contain(reason);
      expect(channels).to.deep.equal([]);
    });
  }

  it('survives a peer that resets before it has said anything', async () => {
    (await dial()).resetAndDestroy();
    (await dial()).write('PU');
    expect((await ask('GET', '/')).asked).to.equal('GET /');
  });

  it('survives a peer that resets while it is answered', async () => {
    const socket = await dial();
    socket.write('PUT /a HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nonly this');
    await setImmediate();
    socket.resetAndDestroy();
    expect((await ask('GET', '/')).asked).to.equal('GET /');
  });

  it('leaves nothing open when it closes: connections that have said nothing, or half a head, or wait between requests', async () => {
    const before = openDescriptors();
    const other = createListener({
      log: log.log,
      onRequest: (_, response) => void response.end(),
      onChannel: (_, socket) => socket.destroy(),
    });
    port = await other.listen(0, '127.0.0.1');
    const [silent, half, waiting] = [await dial(), await dial(), await dial()];
    half.write('PUT /migrate/vm/');
    waiting.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    await once(waiting, 'data');
    const ends = [silent, half, waiting].map((socket) => once(socket.resume(), 'close'));
    await other.close();
    for (const socket of [silent, half, waiting]) socket.end();
    await Promise.all(ends);
    await nothingOpenSince(before);
  });

  it('lets those that connect wait until it is ready, channels too, and closes those that wait with itself', async () => {
    let begin = () => undefined as unknown;
    const served: string[] = [];
    const other = createListener({
      log: log.log,
      ready: new Promise<void>((resolve) => {
        begin = resolve;
      }),
      onRequest: (request, response) => {
        served.push(request.url ?? '');
        response.end();
      },
      onChannel: (head, socket) => {
        served.push(head.uuid);
        socket.destroy();
      },
    });
    const at = { port: await other.listen(0, '127.0.0.1'), host: '127.0.0.1' };
    const asked = [0, 1].map(() => fetch(`http://127.0.0.1:${at.port}/asked`));
    const channel = connections.keep(net.connect(at));
    channel.end(`PUT /services/xenops/migrate/vm/${uuid} HTTP/1.1\r\nhost: x\r\n\r\n`);
    const gone = connections.keep(net.connect(at));
    await once(gone, 'connect');
    gone.resetAndDestroy();
    // Long enough for this process to have served them too.
    for (let turn = 0; turn < 20; turn += 1) await (await fetch(`http://127.0.0.1:${port}/`)).text();
    expect(served).to.deep.equal([]);
    begin();
    expect((await Promise.all(asked)).map(({ status }) => status)).to.deep.equal([200, 200]);
    await once(channel.resume(), 'close');
    expect(served.sort()).to.deep.equal(['/asked', '/asked', uuid]);
    await other.close();

    const never = createListener({
      log: log.log,
      ready: new Promise<void>(() => undefined),
      onRequest: () => undefined,
      onChannel: () => undefined,
    });
    const waiting = connections.keep(net.connect(await never.listen(0, '127.0.0.1'), '127.0.0.1'));
    waiting.on('error', () => undefined);
    await once(waiting, 'connect');
    await never.close();
    await once(waiting.resume(), 'close');
  });

  it('says why it cannot listen', async () => {
    const other = createListener({ log: log.log, onRequest: () => undefined, onChannel: () => undefined });
    expect(await messageOfFailure(other.listen(port, '127.0.0.1'))).to.contain(`EADDRINUSE: address already in use`);
    await other.close();
  });
});
