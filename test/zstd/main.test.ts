import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { randomBytes } from '../support/random.js';

const STAND_IN = fileURLToPath(new URL('../../src/zstd/main.js', import.meta.url));
const MIB = 1024 * 1024;
const PEAK_LIMIT_KIB = 256 * 1024;

/** Makes Node write its peak memory in KiB to descriptor 3 when it exits. */
const PEAK_HOOK = `data:text/javascript,${encodeURIComponent(
  'import { writeSync } from "node:fs"; process.on("exit", () => writeSync(3, String(process.resourceUsage().maxRSS)));',
)}`;

interface Result {
  status: number | null;
  output: Buffer;
  message: string;
}

function run(program: string, args: readonly string[], input: Buffer): Result {
  const ran = spawnSync(program, args, { input, maxBuffer: 64 * MIB });
  if (ran.error) throw new Error(`${program} cannot be started: ${ran.error.message}`);
  return { status: ran.status, output: ran.stdout, message: ran.stderr.toString() };
}

function standIn(option: string, input: Buffer): Result {
  return run(process.execPath, [STAND_IN, option], input);
}

/** The real program: these tests are about speaking its format, so they fail where it is missing. */
function real(option: string, input: Buffer): Result {
  if (spawnSync('zstd', ['--version']).error) {
    throw new Error('this test compares with the real zstd program, and none is on PATH: install the package zstd');
  }
  return run('zstd', [option], input);
}

/** Content as memory has it: zeros, text and random bytes by turns. */
function content(length: number): Buffer {
  const text = Buffer.from('the quick brown fox jumps over the lazy dog; '.repeat(40));
  const parts: Buffer[] = [];
  for (let at = 0; at < length; at += 3000) parts.push(randomBytes(200), text, Buffer.alloc(1000));
  return Buffer.concat(parts).subarray(0, length);
}

function* repeated(block: Buffer, times: number): Generator<Buffer> {
  for (let count = 0; count < times; count += 1) yield block;
}

function damaged(frame: Buffer, at: number): Buffer {
  const copy = Buffer.from(frame);
  copy.writeUInt8(copy.readUInt8(at) ^ 0x10, at);
  return copy;
}

describe('the stand-in for the zstd program', function () {
  this.timeout(120_000);

  describe('and the real program', () => {
    for (const length of [0, 1, 31, 32, 33, 1000, 128 * 1024, 3 * MIB + 5]) {
      it(`understand each other on ${length} bytes`, () => {
        const original = content(length);
        const compressed = standIn('--fast', original);
        expect(compressed.status).to.equal(0);
        expect(compressed.message).to.equal(`compressed ${length} => ${compressed.output.length} bytes\n`);
        expect(real('-d', compressed.output).output.equals(original), 'real -d').to.equal(true);
        expect(standIn('-d', real('--fast', original).output).output.equals(original), 'stand-in -d').to.equal(true);
        expect(standIn('-d', compressed.output).output.equals(original), 'stand-in both ways').to.equal(true);
      });
    }

    it('end a frame with the same checksum of the content', () => {
      const original = content(100_003);
      const ends = [standIn, real].map((program) => program('--fast', original).output.subarray(-4).toString('hex'));
      expect(ends[0]).to.equal(ends[1]);
    });
  });

  it('expands several frames, skippable ones among them', () => {
    const [first, second] = [content(5000), content(70_000)];
    const skippable = Buffer.from('502a4d1803000000616263', 'hex');
    const frames = [standIn('--fast', first).output, skippable, standIn('--fast', second).output];
    const expanded = standIn('-d', Buffer.concat(frames));
    expect(expanded.status).to.equal(0);
    expect(expanded.output.equals(Buffer.concat([first, second]))).to.equal(true);
  });

  describe('refuses with exit status 1 and a message', () => {
    const bad: [what: string, spoil: (frame: Buffer) => Buffer, message: RegExp][] = [
      ['an empty input', () => Buffer.alloc(0), /^zstd: the input is empty/],
      ['a frame without its last byte', (frame) => frame.subarray(0, -1), /^zstd: the input ends early: in a checksum/],
      ['half a frame', (frame) => frame.subarray(0, frame.length / 2), /^zstd: the input ends early: in a block/],
      ['a frame with a damaged checksum', (frame) => damaged(frame, frame.length - 1), /^zstd: .*checksum/],
      ['a frame with a damaged middle', (frame) => damaged(frame, frame.length >> 1), /^zstd: ./],
      ['what is no frame', () => Buffer.from('plain text'), /^zstd: not a zstd frame/],
      ['text behind a frame', (frame) => Buffer.concat([frame, Buffer.from('junk')]), /^zstd: not a zstd frame/],
      ['one byte behind a frame', (frame) => Buffer.concat([frame, Buffer.from('j')]), /^zstd: ./],
    ];
    for (const [what, spoil, message] of bad) {
      it(what, () => {
        const refused = standIn('-d', spoil(standIn('--fast', content(300_000)).output));
        expect(refused.status).to.equal(1);
        expect(refused.message).to.match(message);
      });
    }

    for (const args of [[], ['-d', '-q'], ['--ultra']]) {
      it(`the arguments [${args.join(' ')}]`, () => {
        const refused = run(process.execPath, [STAND_IN, ...args], Buffer.alloc(0));
        expect(refused.status).to.equal(1);
        expect(refused.message).to.match(/^zstd: usage:/);
      });
    }
  });

  it('goes on when a descriptor it reads turns non-blocking', async () => {
    const part = content(5000);
    const frame = standIn('--fast', part).output;
    const rounds = 20;
    const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no TCP port');
    const sender = connect(address.port, '127.0.0.1');
    const [receiver] = await once(server, 'connection');
    const child = spawn(process.execPath, [STAND_IN, '-d'], { stdio: [receiver._handle.fd, 'pipe', 'inherit'] });
    try {
      receiver._handle.setBlocking(false);
      const closed = once(child, 'close');
      let received = Buffer.alloc(0);
      sender.write(frame);
      for await (const piece of child.stdout ?? []) {
        received = Buffer.concat([received, piece]);
        if (received.length === rounds * part.length) sender.end();
        else if (received.length % part.length === 0) sender.write(frame);
      }
      expect((await closed)[0]).to.equal(0);
      expect(received.equals(Buffer.concat(Array(rounds).fill(part)))).to.equal(true);
    } finally {
      child.kill('SIGKILL');
      receiver.destroy();
      sender.destroy();
      server.close();
    }
  });

  describe('on one large frame', () => {
    let directory: string;
    const block = content(8 * MIB);

    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), 'zstd-stand-in-'));
    });
    afterEach(() => rmSync(directory, { recursive: true, force: true }));

    function realProgram(option: string, stdio: [number | 'pipe', number | 'pipe']): ChildProcess {
      real('--fast', Buffer.alloc(0));
      return spawn('zstd', [option, '-q', '-c'], { stdio: [...stdio, 'inherit'] });
    }

    function measured(option: string, stdio: [number | 'pipe', number | 'pipe']): ChildProcess {
      return spawn(process.execPath, ['--import', PEAK_HOOK, STAND_IN, option], { stdio: [...stdio, 'pipe', 'pipe'] });
    }

    async function peakOf(child: ChildProcess): Promise<number> {
      const peak = child.stdio[3];
      if (!(peak instanceof Readable)) throw new Error('no descriptor 3');
      const text: string[] = await peak.setEncoding('utf8').toArray();
      return Number(text.join(''));
    }

    /** Checks that the child's output is the block over and over, then its exit; returns its peak memory in KiB. */
    async function expectRepeated(child: ChildProcess, expected: Buffer, times: number): Promise<number> {
      const [peak, closed] = [peakOf(child), once(child, 'close')];
      let at = 0;
      for await (const piece of child.stdout ?? []) {
        for (let done = 0; done < piece.length; ) {
          const from = (at + done) % expected.length;
          const length = Math.min(piece.length - done, expected.length - from);
          if (expected.compare(piece, done, done + length, from, from + length) !== 0) {
            throw new Error(`the output differs near byte ${at + done}`);
          }
          done += length;
        }
        at += piece.length;
      }
      expect(at).to.equal(times * expected.length);
      expect((await closed)[0]).to.equal(0);
      return peak;
    }

    async function writeFrame(expected: Buffer, times: number, file: string): Promise<void> {
      const target = openSync(file, 'w');
      const child = realProgram('--fast', ['pipe', target]);
      closeSync(target);
      const closed = once(child, 'close');
      if (child.stdin) await pipeline(repeated(expected, times), child.stdin);
      expect((await closed)[0]).to.equal(0);
    }

    const frames: [what: string, block: Buffer, times: number][] = [
      ['640 MiB like memory', block, 80],
      ['2 GiB of zeros, which one read holds whole', Buffer.alloc(8 * MIB), 256],
    ];
    for (const [what, expected, times] of frames) {
      it(`from the real program, ${what}, keeps its memory bounded`, async () => {
        const file = join(directory, 'frame.zst');
        await writeFrame(expected, times, file);
        const source = openSync(file, 'r');
        const child = measured('-d', [source, 'pipe']);
        closeSync(source);
        expect(await expectRepeated(child, expected, times)).to.be.within(1024, PEAK_LIMIT_KIB);
      });
    }

    it('of its own, 640 MiB, keeps its memory bounded and reports exact counts', async () => {
      const file = join(directory, 'frame.zst');
      const target = openSync(file, 'w');
      const child = measured('--fast', ['pipe', target]);
      closeSync(target);
      const [peak, closed] = [peakOf(child), once(child, 'close')];
      const message: string[] = [];
      child.stderr?.setEncoding('utf8').on('data', (text: string) => message.push(text));
      if (child.stdin) await pipeline(repeated(block, 80), child.stdin);
      expect((await closed)[0]).to.equal(0);
      expect(message.join('')).to.equal(`compressed ${640 * MIB} => ${statSync(file).size} bytes\n`);
      expect(await peak).to.be.within(1024, PEAK_LIMIT_KIB);

      const source = openSync(file, 'r');
      const checker = realProgram('-d', [source, 'pipe']);
      closeSync(source);
      let length = 0;
      for await (const piece of checker.stdout ?? []) length += piece.length;
      expect(length).to.equal(640 * MIB);
    });
  });
});
