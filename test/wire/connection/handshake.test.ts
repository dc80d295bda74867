import { expect } from 'chai';
import fc from 'fast-check';
import {
  cutUtf8,
  encodeError,
  encodeSuccess,
  PeerError,
  recvHandshake,
  sendError,
  sendSuccess,
} from '../../../src/wire/connection/handshake.js';
import { choppedReader } from '../../support/chopped.js';
import { messageOfFailure, openConnections } from './connections.js';

/** What the receiver makes of bytes that come in pieces, short ones two at a time: its error, or undefined for Success. */
async function received(bytes: Uint8Array): Promise<PeerError | undefined> {
  const read = choppedReader(bytes, bytes.length < 1000 ? 2 : 4099);
  try {
    await recvHandshake({ read });
    return undefined;
  } catch (error) {
    if (!(error instanceof PeerError)) throw error;
    return error;
  } finally {
    expect(read.left()).to.equal(0);
  }
}

describe('a handshake', () => {
  const connections = openConnections();
  afterEach(connections.close);

  it('is two zero bytes for Success', async () => {
    expect(encodeSuccess()).to.deep.equal(Buffer.of(0, 0));
    expect(await received(encodeSuccess())).to.equal(undefined);
  });

  const rows: [what: string, message: string, bytes: number, read: string][] = [
    ['a word', 'no', 2, 'no'],
    ['several bytes a character', 'Grün €uro 🚢', 17, 'Grün €uro 🚢'],
    ['an empty message', '', 17, 'unspecified error'],
    ['255 bytes', 'x'.repeat(255), 255, 'x'.repeat(255)],
    ['256 bytes', 'x'.repeat(256), 256, 'x'.repeat(256)],
    ['65535 bytes', 'x'.repeat(65535), 65535, 'x'.repeat(65535)],
    ['65536 bytes', 'x'.repeat(65536), 65535, 'x'.repeat(65535)],
    ['131072 bytes', 'x'.repeat(131_072), 65535, 'x'.repeat(65535)],
    ['a character of 2 bytes at the cut', `${'x'.repeat(65534)}ü`, 65534, 'x'.repeat(65534)],
    ['a character of 3 bytes at the cut', `${'x'.repeat(65534)}€`, 65534, 'x'.repeat(65534)],
    ['a character of 4 bytes at the cut', `${'x'.repeat(65532)}🚢`, 65532, 'x'.repeat(65532)],
    ['a character that just fits', `${'x'.repeat(65531)}🚢!`, 65535, `${'x'.repeat(65531)}🚢`],
    ['a byte order mark in front', '\u{feff}x', 4, '\u{feff}x'],
  ];
  for (const [what, message, bytes, read] of rows) {
    it(`carries an Error with ${what}`, async () => {
      const encoded = encodeError(message);
      expect(encoded.readUInt16BE()).to.equal(bytes);
      expect(encoded.length).to.equal(2 + bytes);
      expect((await received(encoded))?.message).to.equal(read);
    });
  }

  it('never makes a Success, or half a character, of an Error', async () => {
    const character = fc.constantFrom('x', 'ü', '€', '🚢');
    const message = fc
      .tuple(fc.string({ unit: 'grapheme' }), character, fc.integer({ min: 0, max: 66_000 }))
      .map(([start, repeated, times]) => start + repeated.repeat(times));
    await fc.assert(
      fc.asyncProperty(message, async (text) => {
        const error = await received(encodeError(text));
        expect(text === '' || text.startsWith(error?.message ?? ' ')).to.equal(true);
        expect(error?.message).not.to.equal('');
      }),
      { numRuns: 50 },
    );
  });

  it('cuts bytes at any limit without half a character', () => {
    const text = Buffer.from('aü€🚢');
    const cuts = Array.from({ length: text.length + 2 }, (_, limit) => String(cutUtf8(text, limit)));
    const expected = ['', 'a', 'a', 'aü', 'aü', 'aü', 'aü€', 'aü€', 'aü€', 'aü€', 'aü€🚢', 'aü€🚢'];
    expect(cuts).to.deep.equal(expected);
  });

  it('shows what is no UTF-8 as well as it can', async () => {
    const bytes = Buffer.from([0, 3, 0x61, 0xff, 0x62]);
    expect((await received(bytes))?.message).to.equal('a\u{fffd}b');
  });

  it('crosses a connection, one after the other, and leaves what follows', async () => {
    const [a, b] = await connections.rawPair();
    await sendSuccess(a);
    await sendSuccess(a);
    await sendError(a, 'it broke');
    await a.write(Buffer.from('rest'));
    await recvHandshake(b);
    await recvHandshake(b, 1000);
    const failure = recvHandshake(b);
    expect(await failure.catch((error: unknown) => error)).to.be.instanceOf(PeerError);
    expect(await messageOfFailure(failure)).to.equal('it broke');
    expect(String(await b.read(4))).to.equal('rest');
  });

  const broken: [what: string, bytes: Buffer][] = [
    ['before it', Buffer.alloc(0)],
    ['within its length', Buffer.of(0)],
    ['within its text', Buffer.from([0, 5, 0x61])],
  ];
  for (const [what, bytes] of broken) {
    it(`is no Success, nor an Error of the peer, when the connection ends ${what}`, async () => {
      const [a, b] = await connections.rawPair();
      await a.write(bytes);
      a.destroy();
      const error = await recvHandshake(b).catch((thrown: unknown) => thrown);
      expect(error).to.be.instanceOf(Error);
      expect(error).not.to.be.instanceOf(PeerError);
    });
  }

  it('is waited for as long as is said', async () => {
    const [, b] = await connections.rawPair();
    expect(await messageOfFailure(recvHandshake(b, 20))).to.contain('no answer from the peer within 0.02 s');
  });

  it('tells of an Error as well as it can: a peer that is gone is no failure', async () => {
    const [a, b] = await connections.rawPair();
    b.destroy();
    a.destroy();
    await a.closed;
    await sendError(a, 'nobody hears');
    expect(await messageOfFailure(sendSuccess(a))).to.contain('closed');
  });
});
