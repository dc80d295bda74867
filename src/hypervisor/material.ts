/**
 * What pages are made of: the bytes of a real program, text that reads like prose and logs, and random bytes. Every piece is
 * decided by a number, so that the same domain gets the same memory on hosts that run the same program.
 */
import { createCipheriv } from 'node:crypto';
import fs from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { nextRandom, type RandomState, seedRandom } from './random.js';

export type Kind = 'zero' | 'program' | 'text' | 'random';

export interface Material {
  /** Fill a target with a piece of a kind; pieces of the same kind, number and length are equal. */
  fill(target: Buffer, kind: Kind, number: number): void;
  /** Resolves when text can be had; the first call begins to make it. */
  ready(): Promise<void>;
}

/** Large enough that a compressor's window rarely holds the same piece twice. */
const textBytes = 16 * 1024 * 1024;

/** Opens the program text; text is there once `ready` has resolved. */
export function createMaterial(): Material {
  const program = openProgram();
  const text = Buffer.alloc(textBytes);
  let made: Promise<void> | undefined;
  return {
    ready: () => {
      made ??= writeText(text);
      return made;
    },
    fill: (target, kind, number) => {
      if (kind === 'zero') target.fill(0);
      if (kind === 'program') fs.readSync(program.fd, target, 0, target.length, place(program.bytes, target, number));
      if (kind === 'text') {
        const at = place(textBytes, target, number);
        text.copy(target, 0, at, at + target.length);
      }
      if (kind === 'random') {
        target.fill(0);
        const key = Buffer.alloc(16);
        key.writeUInt32LE(number);
        createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(target).copy(target);
      }
    },
  };
}

/** Where the piece of a number begins: on a boundary of its own length, so that pieces do not overlap in part. */
function place(bytes: number, target: Buffer, number: number): number {
  return (number % Math.floor(bytes / target.length)) * target.length;
}

/** The largest file that this process runs code from: Node itself, or the library that holds it. */
function openProgram(): { fd: number; bytes: number } {
  const mapped = fs.readFileSync('/proc/self/maps', 'utf8').matchAll(/ r-xp .* (\/.*)$/gm);
  const paths = new Set([process.execPath, ...Array.from(mapped, ([, path]) => path as string)]);
  const files = [...paths]
    .filter((path) => fs.existsSync(path))
    .map((path) => ({ path, bytes: fs.statSync(path).size }));
  const largest = files.reduce((a, b) => (b.bytes > a.bytes ? b : a));
  return { fd: fs.openSync(largest.path, 'r'), bytes: largest.bytes };
}

const syllables =
  'the of and to in con ter re pre er ing tion al en an is it at es or us ed ly be for with ment per'.split(' ');
const programs = ['kernel', 'sshd', 'systemd', 'cron', 'nginx', 'postgres'];

/** Fill a target with sentences, every fourth of them as a line of a log. */
async function writeText(target: Buffer): Promise<void> {
  const random = seedRandom(0x7e87);
  const words = makeWords(random);
  let at = 0;
  for (let line = 0; at < target.length; line++) {
    if (line % 4 === 0) {
      const time = new Date(1.7e12 + line * 1733).toISOString();
      const program = programs[nextRandom(random, programs.length)];
      at += target.write(`\n${time} ${program}[${nextRandom(random, 32768)}]: `, at, 'latin1');
    }
    for (let left = 6 + nextRandom(random, 10); left > 0; left--) {
      const word = words[nextRandom(random, words.length)] as Buffer;
      at += word.copy(target, at);
    }
    at += target.write(line % 4 === 0 ? '\n' : '. ', at, 'latin1');
    if (line % 1000 === 0) await setImmediate();
  }
}

/** Words to pick from, each with a space behind it. As in any language few are frequent and most are rare. */
function makeWords(random: RandomState): Buffer[] {
  const count = 6000;
  const words = Array.from({ length: count }, (_, rank) => {
    const parts = Array.from({ length: (rank > 60 ? 2 : 1) + nextRandom(random, 2) }, () =>
      nextRandom(random, syllables.length),
    );
    const ending = rank > 300 ? String.fromCharCode(97 + nextRandom(random, 26)) : '';
    return Buffer.from(`${parts.map((part) => syllables[part]).join('')}${ending} `);
  });
  return Array.from({ length: 65536 }, (_, i) => words[Math.floor(count ** (i / 65536)) - 1] as Buffer);
}
