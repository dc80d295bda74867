/** Servers that never answer, each in its way. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { createRpcClient, type RpcClientInit } from '../../../src/wire/connection/rpc-client.js';
import { type Connections, nothingOpenSince, openConnections, openDescriptors } from './connections.js';

describe('wire/rpc-client: a server that does not answer', () => {
  let connections: Connections;
  let server: net.Server;
  let stopped: ChildProcess | undefined;
  beforeEach(() => {
    connections = openConnections();
  });
  afterEach(async () => {
    connections.close();
    stopped?.kill('SIGKILL');
    stopped = undefined;
    if (server?.listening) await new Promise((resolve) => server.close(resolve));
  });

  async function listen(serve: (socket: net.Socket) => void): Promise<number> {
    server = net.createServer((socket) => {
      connections.keep(socket).on('error', () => undefined);
      serve(socket);
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return (server.address() as net.AddressInfo).port;
  }

  async function failure(port: number, init: RpcClientInit, method = 'state'): Promise<string> {
    const client = createRpcClient(`http://127.0.0.1:${port}/x`, init);
    try {
      return await client.call(method, []).then(
        () => expect.fail('there was an answer'),
        (error: Error) => error.message.replace(/^INTERNAL_ERROR \w+ at http:\S+: /, ''),
      );
    } finally {
      client.close();
    }
  }

  it('and lets nobody connect', async () => {
    // Its program accepts no more than the system has room for: two connections.
    const program = `const s = require('net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 },
      () => console.log(s.address().port))`;
    stopped = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'ignore'] });
    const [line] = await once(stopped.stdout as NonNullable<typeof stopped.stdout>, 'data');
    stopped.kill('SIGSTOP');
    const port = Number(String(line));
    for (let count = 0; count < 4; count += 1)
      connections.keep(net.connect(port, '127.0.0.1')).on('error', () => undefined);
    expect(await failure(port, { connectMs: 300 })).to.equal('no connection within 0.3 s');
  });

  const silent: [what: string, serve: (socket: net.Socket) => void][] = [
    ['with no byte at all', () => undefined],
    ['with no byte when it has the call', (socket) => socket.resume()],
    ['further than the head', (socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"js')],
  ];
  for (const [what, serve] of silent) {
    it(what, async () => {
      const port = await listen(serve);
      const before = openDescriptors();
      expect(await failure(port, { silenceMs: () => 200 })).to.equal('nothing was heard for 0.2 s');
      connections.close();
      await nothingOpenSince(before);
    });
  }

  it('and closes the connection', async () => {
    const port = await listen((socket) => socket.once('data', () => socket.end()));
    expect(await failure(port, {})).to.equal('the connection was closed without an answer');
  });

  it('and speaks something else than HTTP', async () => {
    const port = await listen((socket) => socket.once('data', () => socket.end('\x15\x03\x01\x00\x02\x02\x46')));
    expect(await failure(port, {})).to.equal('what answers there does not speak HTTP');
  });

  it('is waited for where the message may wait', async () => {
    const port = await listen((socket) =>
      socket.once('data', async () => {
        await delay(200);
        socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{"jsonrpc":"2.0","id":1,"result":"there"}');
      }),
    );
    const client = createRpcClient(`http://127.0.0.1:${port}/x`, {
      silenceMs: (method) => (method === 'event.from' ? undefined : 50),
    });
    expect(await client.call('event.from', [])).to.equal('there');
    client.close();
    expect(await failure(port, { silenceMs: () => 50 })).to.equal('nothing was heard for 0.05 s');
  });
});
