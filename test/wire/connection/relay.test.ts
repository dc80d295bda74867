import { once } from 'node:events';
import net from 'node:net';
import { expect } from 'chai';
import { adoptRaw, connectRaw, type RawSocket } from '../../../src/wire/connection/raw-socket.js';
import { type Damage, openRelay, type Relay } from '../../../src/wire/connection/relay.js';
import { nothingOpenSince, openConnections, openDescriptors } from './connections.js';

/** Each side of a channel as it has it: of the two one is an end of the pair, the other an end of the connection. */
interface Ends {
  readonly source: RawSocket;
  readonly destination: RawSocket;
  readonly relay: Relay;
}

for (const at of ['source', 'destination'] as const) {
  describe(`a relay at the ${at}`, function () {
    this.timeout(10_000);
    const connections = openConnections();
    let before: ReadonlySet<string>;
    beforeEach(() => {
      before = openDescriptors();
    });
    afterEach(async () => {
      connections.close();
      await nothingOpenSince(before);
    });

    async function open(): Promise<Ends> {
      const [mine, other] = await connections.rawPair();
      const [near, far] = await connections.socketPair();
      const sends = at === 'source';
      const relay = openRelay({ network: connections.keep(mine.handOver()), near, sends, slowMs: 20 });
      return { ...(sends ? { source: far, destination: other } : { source: other, destination: far }), relay };
    }
    /** Everything that comes, and how it ends. */
    const drain = async (socket: RawSocket): Promise<[bytes: string, end: string]> => {
      const chunks: Buffer[] = [];
      const end = await socket
        .flow(async (bytes) => void chunks.push(Buffer.from(bytes)))
        .then(
          () => 'end',
          (error: Error) => error.message,
        );
      return [Buffer.concat(chunks).toString('latin1'), end];
    };
    const send = async (socket: RawSocket, text: string) => {
      await socket.write(Buffer.from(text, 'latin1'));
      await socket.end();
    };

    it('passes bytes and their end on, both ways, each on its own', async () => {
      const { source, destination, relay } = await open();
      await source.write(Buffer.from('forth'));
      expect((await destination.read(5)).toString()).to.equal('forth');
      await source.end();
      await destination.readEnd();
      await destination.write(Buffer.from('back'));
      expect((await source.read(4)).toString()).to.equal('back');
      await destination.end();
      await source.readEnd();
      await relay.closed;
    });

    it('passes much on, with a slow reader, and holds little of it', async () => {
      const { source, destination } = await open();
      const piece = Buffer.alloc(1 << 20, 'abc');
      let written = 0;
      const writing = (async () => {
        for (; written < 32; written += 1) await source.write(piece);
        await source.end();
      })();
      await destination.read(1);
      expect(written).to.be.lessThan(31);
      const hash = (await drain(destination))[0];
      await writing;
      expect(hash.length).to.equal(32 * piece.length - 1);
      expect(hash.slice(-6)).to.equal(piece.toString().slice(-6));
    });

    it('closes one side where the other is closed', async () => {
      const { source, destination, relay } = await open();
      destination.destroy();
      await source.readEnd().catch(() => undefined);
      const failed = async () => {
        for (;;) await source.write(Buffer.alloc(1000));
      };
      await failed().catch(() => undefined);
      await relay.closed;
    });

    const streams: [damage: Damage, comes: string][] = [
      [{ how: 'flip', after: 0 }, 'Qbcdefghij'],
      [{ how: 'flip', after: 4 }, 'abcdufghij'],
      [{ how: 'flip', after: 10 }, 'abcdefghij'],
      [{ how: 'truncate', after: 0 }, ''],
      [{ how: 'truncate', after: 6 }, 'abcdef'],
      [{ how: 'trailing', after: 0 }, 'abcdefghijbytes behind the end'],
      [{ how: 'slow', after: 7 }, 'abcdefghij'],
    ];
    for (const [damage, comes] of streams) {
      it(`does ${damage.how} after ${damage.after} bytes, and the stream ends properly`, async () => {
        const { source, destination, relay } = await open();
        relay.damage(damage);
        const sent = send(source, comes.startsWith('Q') ? 'Abcdefghij' : 'abcdefghij');
        expect(await drain(destination)).to.deep.equal([comes, 'end']);
        await sent;
        await destination.write(Buffer.from('ok'));
        expect((await source.read(2)).toString()).to.equal('ok');
      });
    }

    it('counts the bytes from when it is told, and does several things', async () => {
      const { source, destination, relay } = await open();
      await source.write(Buffer.from('abc'));
      await destination.read(3);
      relay.damage({ how: 'flip', after: 1 });
      relay.damage({ how: 'flip', after: 3 });
      await source.write(Buffer.from('AAAAA'));
      expect((await destination.read(5)).toString()).to.equal('AQAQA');
    });

    for (const how of ['close', 'reset'] as const) {
      it(`does ${how}: both ends see it at once, with nothing sent`, async () => {
        const { source, destination, relay } = await open();
        const seen = Promise.all([drain(source), drain(destination)]);
        relay.damage({ how, after: 0 });
        const ends = (await seen).map(([, end]) => end);
        const far = at === 'source' ? ends[1] : ends[0];
        expect(far).to.match(how === 'close' ? /^end$/ : /ECONNRESET/);
        expect(at === 'source' ? ends[0] : ends[1]).to.equal('end');
        await relay.closed;
      });

      it(`does ${how} behind so many bytes`, async () => {
        const { source, destination, relay } = await open();
        relay.damage({ how, after: 3 });
        await source.write(Buffer.from('abcdef'));
        const [bytes] = await drain(destination);
        expect('abc'.startsWith(bytes)).to.equal(true);
        await relay.closed;
      });
    }

    it('is silent both ways, ends included, until it is closed', async () => {
      const { source, destination, relay } = await open();
      relay.damage({ how: 'silent', after: 2 });
      await source.write(Buffer.from('abc'));
      expect((await destination.read(2)).toString()).to.equal('ab');
      await destination.write(Buffer.from('x'));
      const nothing = await Promise.allSettled([source.read(1, 100), destination.read(1, 100)]);
      expect(nothing.map((each) => each.status === 'rejected' && each.reason.message)).to.deep.equal(
        Array(2).fill('INTERNAL_ERROR no answer from the peer within 0.1 s'),
      );
      relay.close();
      await relay.closed;
    });

    it('passes on what was sent before it is closed', async () => {
      const { source, destination, relay } = await open();
      const mine = at === 'source' ? source : destination;
      const other = at === 'source' ? destination : source;
      await mine.write(Buffer.from('the reason'));
      mine.destroy();
      relay.close();
      expect(await drain(other)).to.deep.equal(['the reason', 'end']);
      await relay.closed;
    });

    it('closes in bounded time where the other end reads nothing', async () => {
      const { source, destination, relay } = await open();
      const mine = at === 'source' ? source : destination;
      void mine.write(Buffer.alloc(64 << 20)).catch(() => undefined);
      relay.close();
      await relay.closed;
    });
  });
}

describe('a connection that is handed over', () => {
  it('goes on in the other object, whatever becomes of the first', async () => {
    const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const accepted = once(server, 'connection').then(([socket]) => adoptRaw(socket as net.Socket).raw);
    const client = await connectRaw({ port: (server.address() as net.AddressInfo).port, host: '127.0.0.1' });
    const first = await accepted;
    await client.write(Buffer.from('12345'));
    expect((await first.read(2)).toString()).to.equal('12');
    const second = first.handOver();
    first.destroy();
    await first.closed;
    expect(first.fd).to.equal(-1);
    expect((await second.read(3)).toString()).to.equal('345');
    second.destroy();
    await client.readEnd();
    client.destroy();
    server.close();
    await once(server, 'close');
  });
});
