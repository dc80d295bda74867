import { once } from 'node:events';
import net from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { expect } from 'chai';
import { connectRaw, type RawSocket, socketInode } from '../../../src/wire/connection/raw-socket.js';
import { openSendQueue } from '../../../src/wire/connection/send-queue.js';
import { openSocketPair } from '../../../src/wire/connection/socket-pair.js';
import { openConnections, readAll } from './connections.js';

describe('the send queue of a socket', () => {
  it('has what the peer does not take, and is empty when it did', async () => {
    const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
    const accepted = once(server, 'connection') as Promise<[net.Socket]>;
    let ours: RawSocket | undefined;
    try {
      await once(server, 'listening');
      const { port } = server.address() as net.AddressInfo;
      ours = await connectRaw({ host: '127.0.0.1', port });
      const queue = openSendQueue(socketInode(ours.fd) as string);
      expect(queue()).to.equal(0);
      // More than the buffers of both ends hold.
      const written = ours.write(Buffer.alloc(64 << 20));
      while (queue() < 64 << 10) await setImmediate();
      (await accepted)[0].resume();
      await written;
      while (queue() > 0) await setImmediate();
      ours.destroy();
      (await accepted)[0].destroy();
      expect(queue()).to.equal(0);
    } finally {
      ours?.destroy();
      server.close();
    }
  });

  it('has it also when the socket is closed and the system sends on', async () => {
    const connections = openConnections();
    const { raw, peer } = await connections.connected();
    const queue = openSendQueue(socketInode(raw.fd));
    await raw.write(Buffer.alloc(600_000));
    raw.destroy();
    await raw.closed;
    expect(queue()).to.be.greaterThan(100_000);
    expect(await readAll(peer)).to.have.length(600_000);
    while (queue() > 0) await setImmediate();
    connections.close();
  });

  it('is empty for what is no TCP socket, and for one that is not there', async () => {
    const [ours, theirs] = await openSocketPair();
    const inode = socketInode(ours.fd) as string;
    await ours.write(Buffer.from('waits'));
    expect(openSendQueue(inode)()).to.equal(0);
    expect(openSendQueue('99999999999')()).to.equal(0);
    expect(socketInode(-1)).to.equal(undefined);
    ours.destroy();
    theirs.destroy();
  });
});
