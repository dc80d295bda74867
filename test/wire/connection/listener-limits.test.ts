import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import type http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setInterval } from 'node:timers/promises';
import { expect } from 'chai';
import { descriptorsForConnections } from '../../../src/wire/connection/connection-registry.js';
import { createListener, type Listener, type ListenerLimits } from '../../../src/wire/connection/listener.js';
import type { RawSocket } from '../../../src/wire/connection/raw-socket.js';
import { type CapturedLog, captureLog } from '../../support/log.js';
import { openConnections, readAll } from './connections.js';

const uuid = '01234567-89ab-cdef-0123-000000000001';
const wholeHead = `PUT /migrate/vm/${uuid} HTTP/1.1\r\n\r\n`;

describe('the limits of the port', function () {
  this.timeout(20_000);
  const connections = openConnections();
  let listener: Listener;
  let port: number;
  let channels: RawSocket[];
  let log: CapturedLog;
  /** Answers that are to come. */
  let waiting: http.ServerResponse[];
  let largeClosed: Promise<unknown>;

  const open = async (limits: Partial<ListenerLimits>) => {
    channels = [];
    waiting = [];
    log = captureLog();
    listener = createListener({
      log: log.log,
      onRequest: (request, response) => {
        const whole = () => void response.end('answered');
        if (request.url === '/wait') waiting.push(response);
        else if (request.url === '/body') request.once('end', whole).resume();
        else if (request.url === '/large') {
          largeClosed = once(response, 'close');
          response.end(Buffer.alloc(64 << 20));
        } else whole();
      },
      onChannel: (_, socket) => void channels.push(connections.keep(socket)),
      limits,
    });
    port = await listener.listen(0, '127.0.0.1');
  };
  afterEach(async () => {
    connections.close();
    await listener.close();
  });
  const dial = async (first = '') => {
    const socket = connections.keep(net.connect({ port, host: '127.0.0.1' }));
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    socket.write(first);
    return socket;
  };
  const ended = (socket: net.Socket) => readAll(socket).catch(() => Buffer.alloc(0));
  const answers = async () => {
    const socket = await dial('GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
    expect(String(await readAll(socket))).to.contain('answered');
  };

  for (const [what, start, more] of [
    ['says nothing', '', ''],
    ['sends half a word', 'PU', ''],
    ['sends half a head', 'PUT /migrate/vm/', ''],
    ['sends a byte now and then of its first word', 'P', 'P'],
    ['sends a byte now and then of a head without end', 'PUT /migrate/vm/', 'x'],
  ] as const) {
    it(`close one that ${what}, in time for the whole head`, async () => {
      await open({ headTimeoutMs: 100 });
      const socket = await dial(start);
      const end = new AbortController();
      const slowly = (async () => {
        for await (const _ of setInterval(30, undefined, { signal: end.signal })) if (more !== '') socket.write(more);
      })().catch(() => undefined);
      await ended(socket);
      end.abort();
      await slowly;
      await answers();
    });
  }

  it('close one that asked for a tunnel and goes on sending, in time for the whole head', async () => {
    await open({ headTimeoutMs: 100 });
    const socket = connections.keep(net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }));
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', () => undefined);
    socket.write('CONNECT console:80 HTTP/1.1\r\nhost: x\r\n\r\n');
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await once(socket, 'end');
    const end = new AbortController();
    const slowly = (async () => {
      for await (const _ of setInterval(30, undefined, { signal: end.signal })) socket.write('x');
    })().catch(() => undefined);
    await closed;
    end.abort();
    await slowly;
    expect(String(Buffer.concat(chunks))).to.contain('answered');
  });

  it('let the port close while one that asked for a tunnel keeps its side open', async () => {
    await open({});
    const socket = connections.keep(net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }));
    socket.on('error', () => undefined);
    socket.write('CONNECT console:80 HTTP/1.1\r\nhost: x\r\n\r\n');
    await once(socket, 'data');
    await listener.close();
  });

  for (const [what, first] of [
    ['that say nothing', ''],
    ['that begin a channel', 'PUT /migrate/'],
    ['that begin a request', 'GET / HTTP/1.1\r\n'],
  ] as const) {
    it(`close the oldest of the connections ${what}, and let in who says what it wants`, async () => {
      await open({ headless: 50 });
      const idle: net.Socket[] = [];
      for (let count = 0; count < 200; count += 1) idle.push(await dial(first));
      await Promise.all(idle.slice(0, 149).map(ended));
      expect(idle.slice(151).every((socket) => !socket.destroyed && !socket.readableEnded)).to.equal(true);
      await answers();
      await dial(wholeHead);
      while (channels.length === 0) await new Promise((resolve) => setImmediate(resolve));
    });
  }

  it('do not count connections that have said what they want', async () => {
    await open({ headless: 2 });
    const told: net.Socket[] = [];
    for (let count = 0; count < 10; count += 1) {
      told.push(await dial(wholeHead));
      while (channels.length <= count) await new Promise((resolve) => setImmediate(resolve));
    }
    await answers();
    expect(channels).to.have.length(10);
    expect(told.some((socket) => socket.readableEnded || socket.destroyed)).to.equal(false);
  });

  const bodyStart = 'POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf';
  const idle = async () => {
    const socket = await dial('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    await once(socket, 'data');
    return socket.resume();
  };
  const channel = async () => {
    const count = channels.length;
    const socket = await dial(wholeHead);
    while (channels.length === count) await new Promise((resolve) => setImmediate(resolve));
    return socket;
  };
  const isOpen = (socket: net.Socket) => !socket.destroyed && !socket.readableEnded;

  it('close those that have been idle for longest, for newer ones, with one warning', async () => {
    await open({ connections: 50 });
    const sockets: net.Socket[] = [];
    for (let count = 0; count < 50; count += 1) sockets.push(await idle());
    const again = sockets[0] as net.Socket;
    again.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    await once(again, 'data');
    const gone = sockets.slice(1, 31).map(ended);
    for (let count = 0; count < 30; count += 1) sockets.push(await idle());
    await Promise.all(gone);
    expect([again, ...sockets.slice(31)].every(isOpen)).to.equal(true);
    expect(log.messages('warn')).to.deep.equal([
      'connections are closed for newer ones, those that have been idle for longest first: there are 50',
    ]);
  });

  it('close one that is idle before one without a head, and that before one whose body is still coming', async () => {
    await open({ connections: 4 });
    const sockets = [await dial(bodyStart), await dial('GET'), await idle(), await channel()] as const;
    for (const each of [2, 1, 0] as const) {
      const end = ended(sockets[each]);
      await channel();
      await end;
      expect(sockets.slice(0, each).every(isOpen)).to.equal(true);
    }
    expect(isOpen(sockets[3])).to.equal(true);
  });

  it('refuse a new one where all are being worked on, with one warning', async () => {
    await open({ connections: 5 });
    const held = [await dial('GET /wait HTTP/1.1\r\nhost: x\r\n\r\n')];
    while (waiting.length === 0) await new Promise((resolve) => setImmediate(resolve));
    for (let count = 0; count < 4; count += 1) held.push(await channel());
    await ended(await dial());
    await ended(await dial());
    expect(held.every(isOpen)).to.equal(true);
    expect(log.messages('warn')).to.deep.equal(['connections are refused: there are 5, and all are being worked on']);
    for (const socket of channels) socket.destroy();
    await Promise.all(held.slice(1).map(ended));
    await answers();
  });

  it('close idle ones where descriptors run out, and leave the rest of them to what runs', async () => {
    // As many as there are, not the highest one: that one can have been inherited, and be anywhere.
    await open({ descriptors: 100 + readdirSync('/proc/self/fd').length });
    const held = await channel();
    // Both ends are in this process.
    for (let count = 0; count < 200; count += 1) await idle();
    expect(readdirSync('/proc/self/fd').length).to.be.lessThan(500);
    expect(isOpen(held)).to.equal(true);
    await answers();
    expect(log.messages('warn')).to.deep.equal([
      'connections are closed for newer ones, those that have been idle for longest first: descriptors run out',
    ]);
  });

  it('refuse new ones where descriptors run out and all are being worked on', async () => {
    await open({ descriptors: 0 });
    await ended(await dial());
    expect(log.messages('warn')).to.deep.equal([
      'connections are refused: descriptors run out, and all are being worked on',
    ]);
  });

  it('close a body that gets no further, and an answer that nobody reads on, but no answer that takes long', async () => {
    await open({ stallMs: 100 });
    const slow = await dial('GET /wait HTTP/1.1\r\nhost: x\r\n\r\n');
    const unread = await dial('GET /large HTTP/1.1\r\nhost: x\r\n\r\n');
    unread.pause();
    await ended(await dial(bodyStart));
    await largeClosed;
    (waiting[0] as http.ServerResponse).end('at last');
    expect(String((await once(slow, 'data'))[0])).to.contain('at last');
  });

  for (const [open, expected] of [
    ['1024                 524288', 768],
    ['20000                20000 ', 20000 - 1024],
    ['unlimited            unlimited', Number.POSITIVE_INFINITY],
  ] as const) {
    it(`leave connections ${expected} descriptors where the system says ${open}`, () => {
      const directory = mkdtempSync(join(tmpdir(), 'xenferry-'));
      const file = join(directory, 'limits');
      writeFileSync(file, `Max processes  7  7  processes\nMax open files            ${open}                files\n`);
      const descriptors = descriptorsForConnections(file);
      rmSync(directory, { recursive: true });
      expect(descriptors).to.equal(expected);
    });
  }
});
