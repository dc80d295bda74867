import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import { expect } from 'chai';
import { openSocketPair } from '../../../src/wire/connection/socket-pair.js';
import { nothingOpenSince, openConnections, openDescriptors, readAll } from './connections.js';

describe('a pair of sockets', () => {
  const connections = openConnections();
  afterEach(connections.close);

  it('carries bytes both ways, and the end of each side', async () => {
    const [a, b] = await connections.socketPair();
    await a.write(Buffer.from('to b'));
    await b.write(Buffer.from('to a'));
    expect(String(await a.read(4))).to.equal('to a');
    expect(String(await b.read(4))).to.equal('to b');
    a.destroy();
    await b.readEnd();
  });

  for (const end of [0, 1]) {
    it(`keeps what is written before the other end is read (end ${end})`, async () => {
      const pair = await connections.socketPair();
      await pair[1 - end]?.write(Buffer.from('0123456789'));
      for (let turn = 0; turn < 3; turn += 1) await setImmediate();
      expect(String(await pair[end]?.read(10))).to.equal('0123456789');
    });
  }

  it('gives either end to a child', async () => {
    const [a, b] = await connections.socketPair();
    const [c, d] = await connections.socketPair();
    const child = spawn('cat', { stdio: [b.fd, c.fd, 'inherit'] });
    b.destroy();
    c.destroy();
    await a.write(Buffer.from('through cat'));
    expect(String(await d.read(11))).to.equal('through cat');
    a.destroy();
    await d.readEnd();
    await once(child, 'exit');
  });

  it('gives both ends to children, and then has nothing left of them', async () => {
    const before = openDescriptors();
    const [a, b] = await openSocketPair();
    const writer = spawn('echo', ['from child to child'], { stdio: ['ignore', a.fd, 'inherit'] });
    const reader = spawn('cat', { stdio: [b.fd, 'pipe', 'inherit'] });
    const exits = [once(writer, 'exit'), once(reader, 'exit')];
    a.destroy();
    b.destroy();
    expect(String(await readAll(reader.stdout as AsyncIterable<unknown>))).to.equal('from child to child\n');
    await Promise.all(exits);
    await nothingOpenSince(before);
  });

  it('opens many at once, each with its own peer, and leaves no files behind', async () => {
    const files = () => fs.readdirSync(tmpdir()).filter((name) => /^xenferry-.{6}$/.test(name));
    const before = new Set(files());
    const pairs = await Promise.all(Array.from({ length: 20 }, connections.socketPair));
    for (const [index, [a]] of pairs.entries()) await a.write(Buffer.of(index));
    for (const [index, [, b]] of pairs.entries()) expect(await b.read(1)).to.deep.equal(Buffer.of(index));
    expect(files().filter((name) => !before.has(name))).to.deep.equal([]);
  });
});
