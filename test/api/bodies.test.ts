import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect } from 'chai';
import { createBodies } from '../../src/api/bodies.js';
import { type ApiServer, startApi } from './api-server.js';
import { fakeDeps, rootSession } from './fake-deps.js';

const call = `{"id":1,"method":"VM.get_all_where","params":["${rootSession}","false"]}`;
const answer = '{"result":[],"error":null,"id":1}';

describe('bodies of requests that are not whole', () => {
  let api: ApiServer;
  const sockets: Socket[] = [];
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await api.close();
  });

  const start = async (length: number) => {
    const socket = connect(api.port, '127.0.0.1').setNoDelay(true);
    sockets.push(socket.on('error', () => undefined));
    socket.write(`POST /jsonrpc HTTP/1.1\r\nhost: x\r\ncontent-length: ${length}\r\n\r\n`);
    return socket;
  };
  const put = (socket: Socket, bytes: string) => new Promise((resolve) => socket.write(bytes, resolve));
  const serve = (limit?: number) => startApi(fakeDeps(), {}, createBodies(limit));
  /** When this is answered, what was sent before has been read. */
  const served = async () => {
    for (let turn = 0; turn < 3; turn += 1) expect(await api.post(call)).to.equal(answer);
  };

  it('take so much together, and the one that got no further for longest goes first', async () => {
    api = await serve(100_000);
    const [first, second, third] = [await start(90_000), await start(90_000), await start(90_000)];
    for (const socket of [first, second, third]) {
      await put(socket, 'x'.repeat(30_000));
      await served();
    }
    await put(first, 'x');
    await Promise.all([once(second, 'close'), served()]);
    expect([first.destroyed, third.destroyed]).to.deep.equal([false, false]);
  });

  it('count no more once they are whole, or their callers have gone', async () => {
    api = await serve(1000);
    for (let turn = 0; turn < 20; turn += 1) {
      expect(await api.post(call.padEnd(900))).to.equal(answer);
      const socket = await start(900);
      await put(socket, 'x'.repeat(800));
      socket.destroy();
      await served();
    }
    const kept = await start(900);
    await put(kept, 'x'.repeat(800));
    await served();
    expect(kept.destroyed).to.equal(false);
  });

  it('come out as they were sent, in whatever pieces', async () => {
    api = await serve();
    const socket = await start(call.length + 3000);
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    const whole = call.padEnd(call.length + 3000);
    for (let at = 0, size = 1; at < whole.length; at += size, size = (size % 37) + 1) {
      await put(socket, whole.slice(at, at + size));
    }
    while (Buffer.concat(chunks).indexOf('\r\n\r\n') < 0) await once(socket, 'data');
    expect(String(Buffer.concat(chunks))).to.contain(answer);
  });
});
