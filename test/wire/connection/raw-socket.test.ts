import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import type { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { expect } from 'chai';
import { connectRaw, type RawSocket } from '../../../src/wire/connection/raw-socket.js';
import { randomBytes } from '../../support/random.js';
import {
  messageOfFailure,
  nothingOpenSince,
  openConnections,
  openDescriptors,
  type Pair,
  readAll,
} from './connections.js';

const mebibyte = 1 << 20;

/**
 * Hand the descriptor to a child as its standard input.
 * @returns all that the child wrote
 */
async function childReads(raw: RawSocket, command: string, ...args: string[]): Promise<Buffer> {
  raw.setBlocking(true);
  const child = spawn(command, args, { stdio: [raw.fd, 'pipe', 'inherit'] });
  const exit = once(child, 'exit');
  const output = await readAll(child.stdout as Readable);
  await exit;
  raw.setBlocking(false);
  return output;
}

describe('a raw socket', () => {
  const connections = openConnections();
  afterEach(connections.close);

  const ways: [way: string, open: () => Promise<Pair>][] = [
    ['connected', connections.connected],
    ['accepted', connections.adopted],
  ];
  for (const [way, open] of ways) {
    describe(`that was ${way}`, () => {
      it('reads exactly so many bytes, in any sizes', async () => {
        const { raw, peer } = await open();
        const sizes = [1, 2, 16, 15, 0, 4096, 65536, 65537, mebibyte, 1];
        const sent = randomBytes(sizes.reduce((sum, size) => sum + size, 0));
        peer.end(sent);
        const read: Buffer[] = [];
        for (const size of sizes) {
          const bytes = await raw.read(size);
          expect(bytes.length).to.equal(size);
          read.push(bytes);
        }
        expect(Buffer.concat(read).equals(sent)).to.equal(true);
        await raw.readEnd();
      });

      it('leaves what lies behind for a child that gets the descriptor (cat)', async () => {
        const { raw, peer } = await open();
        const sent = randomBytes(300_000);
        peer.end(sent);
        expect(await raw.read(15)).to.deep.equal(sent.subarray(0, 15));
        expect((await childReads(raw, 'cat')).equals(sent.subarray(15))).to.equal(true);
      });

      it('goes on exactly where a child stopped (head -c)', async () => {
        const { raw, peer } = await open();
        const sent = randomBytes(100_000);
        peer.end(sent);
        expect((await childReads(raw, 'head', '-c', '7')).equals(sent.subarray(0, 7))).to.equal(true);
        expect(await raw.read(16)).to.deep.equal(sent.subarray(7, 23));
        expect((await childReads(raw, 'head', '-c', '70000')).equals(sent.subarray(23, 70_023))).to.equal(true);
        expect(await raw.read(29_977)).to.deep.equal(sent.subarray(70_023));
        await raw.readEnd();
      });

      it('keeps what came before the first read', async () => {
        const { raw, peer } = await open();
        peer.write('early bird');
        await arrived(peer);
        expect(String(await raw.read(5))).to.equal('early');
        await setImmediate();
        expect(String(await childReads(raw, 'head', '-c', '5'))).to.equal(' bird');
      });

      it('takes nothing between two reads', async () => {
        const { raw, peer } = await open();
        peer.write('ab');
        expect(String(await raw.read(2))).to.equal('ab');
        peer.write('cdefgh');
        await arrived(peer);
        expect(String(await childReads(raw, 'head', '-c', '3'))).to.equal('cde');
        expect(String(await raw.read(3))).to.equal('fgh');
      });

      it('reads as much as comes, between a least and a most, and goes on exactly from there', async () => {
        const { raw, peer } = await open();
        const sent = randomBytes(100_000);
        const write = (bytes: Buffer) => new Promise((resolve) => peer.write(bytes, resolve));
        await write(sent.subarray(0, 10));
        const first = await raw.readSome(4, 1000);
        expect(first.equals(sent.subarray(0, first.length))).to.equal(true);
        expect(first.length).to.be.within(4, 10);
        await write(sent.subarray(10));
        const second = await raw.readSome(2000, 2000);
        expect(second.length).to.equal(2000);
        const third = await raw.read(sent.length - first.length - second.length);
        expect(Buffer.concat([first, second, third]).equals(sent)).to.equal(true);
      });

      const back = Buffer.from('given back');
      const afterwards: [what: string, read: (raw: RawSocket) => Promise<string>][] = [
        ['in parts, and over its end', async (raw) => `${await raw.read(3)}${await raw.read(12)}${await raw.read(3)}`],
        ['with some more', async (raw) => `${await raw.readSome(1, 5)}${await raw.readSome(11, 13)}`],
        ['to one that it is handed over to', async (raw) => String(await raw.handOver().read(18))],
        [
          'to whom it flows',
          async (raw) => {
            const pieces: Uint8Array[] = [];
            await raw.flow(async (bytes) => void pieces.push(Uint8Array.from(bytes)));
            return String(Buffer.concat(pieces));
          },
        ],
      ];
      for (const [what, read] of afterwards) {
        it(`gives what was given back once more, before what comes: ${what}`, async () => {
          const { raw, peer } = await open();
          peer.end('and more');
          raw.unread(back);
          expect(await read(raw)).to.equal('given backand more');
        });
      }

      it('gives what was given back also after the end, and does not take it for the end', async () => {
        const { raw, peer } = await open();
        peer.end('x');
        await raw.read(1);
        await raw.readEnd();
        raw.unread(back);
        expect(await messageOfFailure(raw.readEnd())).to.contain('bytes behind the end');
        expect(String(await raw.read(back.length))).to.equal('given back');
        await raw.readEnd();
      });

      it('waits for bytes that come one at a time', async () => {
        const { raw, peer } = await open();
        peer.setNoDelay(true);
        const read = raw.read(20);
        for (const byte of Buffer.from('twenty bytes, slowly')) {
          peer.write(Buffer.of(byte));
          await setImmediate();
        }
        expect(String(await read)).to.equal('twenty bytes, slowly');
      });

      it('writes, also after the peer has closed its side', async () => {
        const { raw, peer } = await open();
        const all = readAll(peer);
        await raw.write(Buffer.from('one '));
        peer.end();
        await raw.readEnd();
        await raw.write(Buffer.from('two'));
        raw.destroy();
        expect(String(await all)).to.equal('one two');
      });

      it('says that the peer has closed in place of bytes, then and later', async () => {
        const { raw, peer } = await open();
        peer.end('12');
        expect(await messageOfFailure(raw.read(3))).to.contain('the peer closed the connection');
        expect(await messageOfFailure(raw.read(1))).to.contain('the peer closed the connection');
        await raw.readEnd();
      });

      it('does not take a byte for the end', async () => {
        const { raw, peer } = await open();
        peer.write('x');
        expect(await messageOfFailure(raw.readEnd())).to.contain('bytes behind the end of the stream');
      });

      it('fails what waits when the peer resets, and is closed then', async () => {
        const { raw, peer } = await open();
        const read = messageOfFailure(raw.read(1));
        peer.resetAndDestroy();
        expect(await read).to.match(/ECONNRESET/);
        await raw.closed;
        expect(await messageOfFailure(raw.write(Buffer.of(1)))).to.match(/ECONNRESET/);
        expect(raw.fd).to.equal(-1);
      });

      for (const wait of ['read', 'readEnd'] as const) {
        it(`does not wait longer than it was told (${wait})`, async () => {
          const { raw } = await open();
          const failure = wait === 'read' ? raw.read(1, 20) : raw.readEnd(20);
          expect(await messageOfFailure(failure)).to.match(/within 0\.02 s$/);
          await raw.closed;
        });
      }

      it('fails what waits when it is destroyed, and leaves nothing open', async () => {
        const before = openDescriptors();
        const { raw, peer } = await open();
        const read = messageOfFailure(raw.read(1));
        raw.destroy();
        raw.destroy();
        expect(await read).to.contain('the connection is closed');
        await raw.closed;
        expect(await messageOfFailure(raw.read(1))).to.contain('the connection is closed');
        expect(await messageOfFailure(raw.write(Buffer.of(1)))).to.contain('the connection is closed');
        peer.destroy();
        await nothingOpenSince(before);
      });

      it('closes our copy alone while a child holds another', async () => {
        const { raw, peer } = await open();
        const child = spawn('cat', { stdio: ['pipe', raw.fd, 'inherit'] });
        raw.destroy();
        await raw.closed;
        child.stdin?.end('from the child');
        expect(String(await readAll(peer))).to.equal('from the child');
      });
    });
  }

  it('brings 256 MiB through a child between two exact reads', async function () {
    this.timeout(60_000);
    const { raw, peer } = await connections.adopted();
    const block = randomBytes(mebibyte);
    const send = async () => {
      peer.write('fifteen bytes..');
      for (let count = 0; count < 256; count += 1) if (!peer.write(block)) await once(peer, 'drain');
      peer.end('sixteen bytes...');
    };
    const sent = send();
    expect(String(await raw.read(15))).to.equal('fifteen bytes..');
    raw.setBlocking(true);
    const child = spawn('head', ['-c', String(256 * mebibyte)], { stdio: [raw.fd, 'pipe', 'inherit'] });
    const exit = once(child, 'exit');
    let count = 0;
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
      const at = count % mebibyte;
      const first = chunk.subarray(0, mebibyte - at);
      expect(first.equals(block.subarray(at, at + first.length))).to.equal(true);
      count += chunk.length;
    }
    await exit;
    raw.setBlocking(false);
    expect(count).to.equal(256 * mebibyte);
    expect(String(await raw.read(16))).to.equal('sixteen bytes...');
    await raw.readEnd();
    await sent;
  });

  it('lets a child write in blocking mode to a peer that is slow', async () => {
    const [ours, theirs] = await connections.socketPair();
    ours.setBlocking(true);
    const child = spawn('head', ['-c', String(4 * mebibyte), '/dev/zero'], { stdio: ['ignore', ours.fd, 'inherit'] });
    const exit = once(child, 'exit');
    for (let count = 0; count < 64; count += 1) {
      expect((await theirs.read(65536)).length).to.equal(65536);
      await setImmediate();
    }
    expect(await exit).to.deep.equal([0, null]);
    ours.setBlocking(false);
    await ours.write(Buffer.from('and on'));
    expect(String(await theirs.read(6))).to.equal('and on');
  });

  it('does not stop the event loop when it writes to a peer that does not read, also after a child had it blocking', async () => {
    const [ours, theirs] = await connections.socketPair();
    expect(await childReads(ours, 'true')).to.deep.equal(Buffer.alloc(0));
    const big = randomBytes(8 * mebibyte);
    const written = ours.write(big);
    await setImmediate();
    expect((await theirs.read(big.length)).equals(big)).to.equal(true);
    await written;
  });

  it('says why nobody can be reached', async () => {
    const server = net.createServer();
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as net.AddressInfo;
    server.close();
    expect(await messageOfFailure(connectRaw({ port, host: '127.0.0.1' }))).to.contain(
      `ECONNREFUSED 127.0.0.1:${port}`,
    );
    expect(await messageOfFailure(connectRaw({ path: '/nowhere/socket' }))).to.contain('ENOENT');
  });
});

/** What the socket has written is with its peer, and the event loop has had the time to see it. */
async function arrived(socket: net.Socket): Promise<void> {
  await new Promise((resolve) => socket.write('', resolve));
  for (let turn = 0; turn < 3; turn += 1) await setImmediate();
}
