/**
 * What pages are made of: the bytes of a real program, text, and random bytes. Every piece is decided by a number, so that the
 * same domain gets the same memory on hosts that run the same program.
 */
import { createCipheriv } from 'node:crypto';
import fs from 'node:fs';
import type { SimulatedSpec } from '../../base/protocol/hypervisor-protocol.js';
import { createText } from './text.js';

export type Kind = 'zero' | 'program' | 'text' | 'random';

/** What the pages of one domain are made of. */
export interface Material {
  /** Fill a target with a piece of a kind; pieces of the same kind, number and length are equal. */
  fill(target: Buffer, kind: Kind, number: number): void;
  /** Resolves when the text is made that `fill` needs. */
  ready(): Promise<void>;
}

export interface MaterialStore {
  /** The material for a domain; the text for it is made from now on. */
  forDomain(spec: Pick<SimulatedSpec, 'memoryBytes' | 'profile'>): Material;
}

/** The most text that is made, in bytes: enough that a compressor's window rarely holds the same piece twice. */
const mostText = 16 * 1024 * 1024;
const leastText = 256 * 1024;

/** Open the program whose bytes are used. */
export function openMaterial(): MaterialStore {
  const program = openProgram();
  const text = createText(mostText);
  return {
    forDomain: ({ memoryBytes, profile }) => {
      const wanted = Math.min(mostText, Math.max(leastText, Math.ceil(memoryBytes * profile.text)));
      const ready = profile.text > 0 ? text.extendTo(wanted) : Promise.resolve();
      return {
        ready: () => ready,
        fill: (target, kind, number) => {
          if (kind === 'zero') target.fill(0);
          if (kind === 'program')
            fs.readSync(program.fd, target, 0, target.length, place(program.bytes, target, number));
          if (kind === 'text') {
            const at = place(wanted, target, number);
            text.bytes.copy(target, 0, at, at + target.length);
          }
          if (kind === 'random') fillRandom(target, number);
        },
      };
    },
  };
}

/** Where the piece of a number begins: at a multiple of the piece's length, so that pieces do not overlap in part. */
function place(bytes: number, target: Buffer, number: number): number {
  return (number % Math.floor(bytes / target.length)) * target.length;
}

function fillRandom(target: Buffer, number: number): void {
  target.fill(0);
  const key = Buffer.alloc(16);
  key.writeUInt32LE(number);
  createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(target).copy(target);
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
