import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import { expect } from 'chai';
import type { RawSocket } from '../../../src/wire/connection/raw-socket.js';
import {
  findZstd,
  openCompressor,
  openDecompressor,
  type ZstdCommand,
  type ZstdPipe,
} from '../../../src/wire/connection/zstd-pipe.js';
import { testLimits } from '../../support/limits.js';
import { randomBytes } from '../../support/random.js';
import { messageOfFailure, nothingOpenSince, openConnections, openDescriptors, processExists } from './connections.js';

const mebibyte = 1 << 20;

/** Content as memory has it: zeros, text and random bytes by turns. */
function content(length: number): Buffer {
  const text = Buffer.from('the quick brown fox jumps over the lazy dog; '.repeat(1000));
  const parts: Buffer[] = [];
  for (let at = 0; at < length; at += 100_000) parts.push(randomBytes(20_000), text, Buffer.alloc(35_000));
  return Buffer.concat(parts).subarray(0, length);
}

/** What the process runs in the end, behind nice and ionice. */
async function programOf({ pid }: ZstdPipe, command: readonly string[]): Promise<void> {
  const last = command.slice(-2).join('\0');
  while (!fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(last)) await delay(5);
  while (/\0-c\0(idle|3)\0/.test(fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1'))) await delay(5);
}

/** The nice value of a process: field 19 of its stat. */
function niceOf(pid: number): number {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16]);
}

describe('the zstd pipe', function () {
  this.timeout(60_000);
  const connections = openConnections();
  const pipes: ZstdPipe[] = [];
  let real: ZstdCommand;
  let standIn: ZstdCommand;

  before(async () => {
    real = await findZstd('zstd');
    standIn = await findZstd('zstd', '');
    if (real.standIn) throw new Error('these tests need the real zstd program, and none is in PATH');
  });
  afterEach(async () => {
    connections.close();
    for (const pipe of pipes.splice(0)) {
      pipe.plain.destroy();
      await pipe.stop();
    }
  });
  const keep = (pipe: ZstdPipe) => {
    pipes.push(pipe);
    return pipe;
  };
  const compressor = async (command: ZstdCommand, channel: RawSocket) =>
    keep(await openCompressor(command, channel, testLimits));
  const decompressor = async (command: ZstdCommand, channel: RawSocket) =>
    keep(await openDecompressor(command, channel, testLimits));
  const commands = { real: () => real, 'stand-in': () => standIn };
  const names = ['real', 'stand-in'] as const;

  for (const out of names) {
    for (const back of names) {
      for (const length of [0, 1, 70_000, 5 * mebibyte]) {
        it(`brings ${length} bytes from the ${out} to the ${back} one`, async () => {
          const [near, far] = await connections.rawPair();
          const sent = content(length);
          const sender = await compressor(commands[out](), near);
          const receiver = await decompressor(commands[back](), far);
          const writing = sender.plain.write(sent).then(() => sender.plain.destroy());
          const received = await receiver.plain.read(length);
          await receiver.plain.readEnd();
          await writing;
          expect(received.equals(sent)).to.equal(true);
          const { bytesIn, bytesOut } = await sender.done;
          expect(bytesIn).to.equal(length);
          expect(bytesOut).to.be.within(1, 100 + length);
          await receiver.done;
          expect([sender, receiver].filter(({ pid }) => processExists(pid))).to.deep.equal([]);
        });
      }
    }
  }

  for (const name of names) {
    describe(`(${name})`, () => {
      const compressed = (bytes: Buffer) =>
        spawnSync('zstd', ['--fast', '-q'], { input: bytes, maxBuffer: 64 * mebibyte }).stdout;

      it('counts the bytes on the channel', async () => {
        const [near, far] = await connections.rawPair();
        const sender = await compressor(commands[name](), near);
        await sender.plain.write(content(100_000));
        sender.plain.destroy();
        const { bytesIn, bytesOut } = await sender.done;
        expect(bytesIn).to.equal(100_000);
        expect((await far.read(bytesOut as number)).readUInt32LE()).to.equal(0xfd2fb528);
        await far.readEnd();
      });

      it('passes the daemon by: it keeps the plain end alone, and nothing when the process is done', async () => {
        const [near, far] = await connections.rawPair();
        const before = openDescriptors();
        const sender = await compressor(commands[name](), near);
        expect(near.fd).to.equal(-1);
        await near.closed;
        while ([...openDescriptors()].filter((each) => /^socket:/.test(each) && !before.has(each)).length > 2) {
          await delay(5);
        }
        sender.plain.destroy();
        const { bytesOut } = await sender.done;
        await far.read(bytesOut as number);
        await far.readEnd();
        await nothingOpenSince(before);
      });

      it('lets the process hold up a sender whose receiver stalls, and not the event loop', async () => {
        const [near] = await connections.rawPair();
        const sender = await compressor(commands[name](), near);
        let written = false;
        const writing = sender.plain.write(randomBytes(64 * mebibyte)).then(
          () => {
            written = true;
          },
          () => undefined,
        );
        for (let turn = 0; turn < 100; turn += 1) await setImmediate();
        expect(written).to.equal(false);
        void sender.stop();
        await writing;
        expect(await messageOfFailure(sender.done)).to.match(/ --fast\b.*: SIGTERM$/);
        expect(processExists(sender.pid)).to.equal(false);
      });

      const damage: [what: string, change: (frame: Buffer) => Buffer][] = [
        ['a byte is flipped', (frame) => flipped(frame, frame.length >> 1)],
        ['the checksum is wrong', (frame) => flipped(frame, frame.length - 1)],
        ['the end is missing', (frame) => frame.subarray(0, frame.length - 1)],
        ['half is missing', (frame) => frame.subarray(0, frame.length >> 1)],
        ['something follows', (frame) => Buffer.concat([frame, Buffer.from('something')])],
        ['it is no frame', () => Buffer.from('no frame at all')],
      ];
      for (const [what, change] of damage) {
        it(`fails when ${what}, with the reason`, async () => {
          const [near, far] = await connections.rawPair();
          const receiver = await decompressor(commands[name](), far);
          await near.write(change(compressed(content(50_000))));
          near.destroy();
          expect(await messageOfFailure(receiver.done)).to.match(/ -d\b.*: exit status 1: (zstd:|.* error) .*\w/);
          expect(processExists(receiver.pid)).to.equal(false);
        });
      }

      it('does not take the end of the stream for an end of the image when nothing was sent', async () => {
        const [near, far] = await connections.rawPair();
        const receiver = await decompressor(commands[name](), far);
        near.destroy();
        await receiver.plain.readEnd();
        await receiver.done.catch(() => undefined);
        expect(processExists(receiver.pid)).to.equal(false);
      });

      it('ends when who reads or writes the plain side has gone', async () => {
        const [near, far] = await connections.rawPair();
        const receiver = await decompressor(commands[name](), far);
        receiver.plain.destroy();
        const writing = near.write(compressed(randomBytes(mebibyte))).catch(() => undefined);
        expect(await messageOfFailure(receiver.done)).to.match(/SIGPIPE|exit status 1/);
        near.destroy();
        await writing;
      });

      it('takes no signal that is meant for the daemon: it has a process group of its own', async () => {
        const [near] = await connections.rawPair();
        const { pid } = await compressor(commands[name](), near);
        expect(Number(execFileSync('ps', ['-o', 'pgid=', '-p', String(pid)], { encoding: 'utf8' }))).to.equal(pid);
      });
    });
  }

  it('runs at the lowest priority, the idle one for I/O, where nice and ionice are there', async () => {
    for (const command of [real, await findZstd('no-such-zstd')]) {
      const [near] = await connections.rawPair();
      const sender = await compressor(command, near);
      await programOf(sender, command.compress);
      expect(niceOf(sender.pid)).to.equal(19);
      expect(execFileSync('ionice', ['-p', String(sender.pid)], { encoding: 'utf8' }).trim()).to.equal('idle');
    }
  });

  it('says what could not be started', async () => {
    const before = openDescriptors();
    const [near, far] = await connections.rawPair();
    const missing: ZstdCommand = { compress: ['/nowhere/zstd', '-x'], decompress: ['/nowhere/zstd'], standIn: false };
    const sender = await compressor(missing, near);
    expect(await messageOfFailure(sender.done)).to.match(/\/nowhere\/zstd -x: .*ENOENT/s);
    await far.readEnd();
    await sender.plain.readEnd();
    sender.plain.destroy();
    far.destroy();
    await nothingOpenSince(before);
  });

  it('fails on a channel that is closed already, and leaves nothing open', async () => {
    const before = openDescriptors();
    const [near, far] = await connections.rawPair();
    near.destroy();
    far.destroy();
    await near.closed;
    for (const open of [openCompressor, openDecompressor]) {
      expect(await messageOfFailure(open(real, near, testLimits))).to.contain('the connection is closed');
    }
    await nothingOpenSince(before);
  });

  describe('finds its programs', () => {
    let directory: string;
    const program = async (name: string, mode = 0o755) => {
      const at = path.join(directory, name);
      await mkdir(path.dirname(at), { recursive: true });
      await writeFile(at, '#!/bin/sh\n');
      await chmod(at, mode);
      return at;
    };
    beforeEach(async () => {
      directory = await mkdtemp(path.join(tmpdir(), 'xenferry-zstd-'));
    });
    afterEach(() => rm(directory, { recursive: true }));

    it('by name in the search path, the first that can be run', async () => {
      const first = path.join(directory, 'a');
      await program('a/zstd', 0o644);
      const second = await program('b/zstd');
      await program('c/zstd');
      const { compress, decompress, standIn } = await findZstd('zstd', `${first}:${directory}/b:${directory}/c`);
      expect({ compress, decompress, standIn }).to.deep.equal({
        compress: [second, '--fast', '--no-progress', '-vv'],
        decompress: [second, '-d', '--no-progress', '-q'],
        standIn: false,
      });
    });

    it('by path', async () => {
      const at = await program('my-zstd');
      expect(await findZstd(at, '')).to.deep.include({ decompress: [at, '-d', '--no-progress', '-q'], standIn: false });
    });

    it('and puts nice and ionice before them where they are', async () => {
      const [zstd, nice] = [await program('zstd'), await program('nice')];
      expect((await findZstd('zstd', directory)).compress.slice(0, 4)).to.deep.equal([nice, '-n', '19', zstd]);
      const ionice = await program('ionice');
      const { compress } = await findZstd('zstd', directory);
      expect(compress.slice(0, 7)).to.deep.equal([nice, '-n', '19', ionice, '-c', '3', zstd]);
    });

    const absent: [what: string, name: () => string][] = [
      ['there is none', () => 'zstd'],
      ['the path leads nowhere', () => path.join(directory, 'nowhere', 'zstd')],
      ['the path is that of a directory', () => directory],
    ];
    for (const [what, name] of absent) {
      it(`or lets its own program stand in where ${what}`, async () => {
        const found = await findZstd(name(), directory);
        expect(found.standIn).to.equal(true);
        expect(found.compress).to.have.length(3);
        expect(found.compress[0]).to.equal(process.execPath);
        expect(fs.existsSync(found.compress[1] ?? '')).to.equal(true);
      });
    }

    it('and passes by a directory of that name', async () => {
      await mkdir(path.join(directory, 'a', 'zstd'), { recursive: true });
      const zstd = await program('b/zstd');
      expect((await findZstd('zstd', `${directory}/a:${directory}/b`)).compress[0]).to.equal(zstd);
    });
  });
});

function flipped(frame: Buffer, at: number): Buffer {
  const copy = Buffer.from(frame);
  copy.writeUInt8(copy.readUInt8(at) ^ 0x10, at);
  return copy;
}
