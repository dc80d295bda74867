import { once } from 'node:events';
import net from 'node:net';
import { setInterval } from 'node:timers/promises';
import { expect } from 'chai';
import { createFront, type Front, type FrontLimits } from '../../src/wire/front.js';
import type { RawSocket } from '../../src/wire/raw-socket.js';
import { captureLog } from '../support/log.js';
import { openConnections, readAll } from './connections.js';

const uuid = '01234567-89ab-cdef-0123-000000000001';
const wholeHead = `PUT /migrate/vm/${uuid} HTTP/1.1\r\n\r\n`;

describe('the limits of the port', function () {
  this.timeout(20_000);
  const connections = openConnections();
  let front: Front;
  let port: number;
  let channels: RawSocket[];

  const open = async (limits: Partial<FrontLimits>) => {
    channels = [];
    front = createFront({
      log: captureLog().log,
      onRequest: (_, response) => void response.end('answered'),
      onChannel: (_, socket) => void channels.push(connections.keep(socket)),
      limits,
    });
    port = await front.listen(0, '127.0.0.1');
  };
  afterEach(async () => {
    connections.close();
    await front.close();
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
    await front.close();
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

  it('close what is more than may be there in all', async () => {
    await open({ connections: 5 });
    const held: net.Socket[] = [];
    for (let count = 0; count < 5; count += 1) held.push(await dial(wholeHead));
    await ended(await dial());
    while (channels.length < 5) await new Promise((resolve) => setImmediate(resolve));
    for (const socket of channels) socket.destroy();
    await Promise.all(held.map(ended));
    await answers();
  });
});
