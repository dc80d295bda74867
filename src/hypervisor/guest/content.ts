/**
 * The content of a domain's pages: decided by seed, profile, page number and generation (how often the guest wrote it), and
 * checkable without making it again. A page that is not zero begins with 16 bytes: the folded seed, the page number, the
 * generation, and the CRC-32 of the rest, so a lost, stale, misplaced or damaged page is found out.
 */
import { crc32 } from 'node:zlib';
import { pageSize } from '../../base/domain.js';
import type { MemoryProfile, SimulatedSpec } from '../../base/protocol/hypervisor-protocol.js';
import type { Kind, Material } from './material.js';
import { foldSeed, mix } from './random.js';

/** Pages of an extent, the unit in which a profile is laid out: 64 KiB. */
export const extentPages = 16;

export interface Content {
  /** What an extent holds after boot. */
  kindOf(extent: number): Kind;
  /** Put the boot content of an extent that is not zero into `target`, which may be shorter for the last extent. */
  fillExtent(target: Buffer, extent: number): void;
  /** Put a page as the guest writes it in a generation above 0 into `target`. */
  fillPage(target: Buffer, pfn: number, generation: number): void;
  /** Whether a page is what it must be. */
  check(page: Buffer, pfn: number, generation: number): boolean;
}

const stampBytes = 16;
const kinds = ['zero', 'program', 'text', 'random'] as const;
const zeroPage = Buffer.alloc(pageSize);

/** Make the content of a domain of this specification. */
export function createContent({ seed, profile }: Pick<SimulatedSpec, 'seed' | 'profile'>, material: Material): Content {
  const folded = foldSeed(seed);
  const written = { ...profile, zero: 0 };
  // Steps of the golden ratio spread the kinds evenly, so that a small memory has the profile's shares too.
  const kindOf = (extent: number): Kind =>
    pick(profile, (extent * 0.6180339887498949 + folded / 2 ** 32) % 1) ?? 'zero';
  const stamp = (page: Buffer, pfn: number, generation: number): void => {
    page.writeUInt32LE(folded, 0);
    page.writeUInt32LE(pfn, 4);
    page.writeUInt32LE(generation, 8);
    page.writeUInt32LE(crc32(page.subarray(stampBytes)), 12);
  };
  return {
    kindOf,
    fillExtent: (target, extent) => {
      material.fill(target, kindOf(extent), mix(folded, extent, 0));
      for (let i = 0; i * pageSize < target.length; i++) {
        stamp(target.subarray(i * pageSize, (i + 1) * pageSize), extent * extentPages + i, 0);
      }
    },
    fillPage: (target, pfn, generation) => {
      const extent = Math.floor(pfn / extentPages);
      const boot = kindOf(extent);
      const kind = boot === 'zero' ? pick(written, mix(folded, extent, 1) / 2 ** 32) : boot;
      material.fill(target, kind ?? 'program', mix(folded, pfn, generation));
      stamp(target, pfn, generation);
    },
    check: (page, pfn, generation) => {
      if (generation === 0 && kindOf(Math.floor(pfn / extentPages)) === 'zero') return isZeroPage(page);
      return (
        page.readUInt32LE(0) === folded &&
        page.readUInt32LE(4) === pfn &&
        page.readUInt32LE(8) === generation &&
        page.readUInt32LE(12) === crc32(page.subarray(stampBytes))
      );
    },
  };
}

/** Whether a page holds nothing but zeros. */
export function isZeroPage(page: Buffer): boolean {
  return zeroPage.equals(page);
}

/** The kind that a number from 0 to 1 falls on when the shares are laid end to end; none where all are zero. */
function pick(profile: MemoryProfile, at: number): Kind | undefined {
  const total = kinds.reduce((sum, kind) => sum + profile[kind], 0);
  let end = 0;
  let last: Kind | undefined;
  for (const kind of kinds) {
    if (profile[kind] === 0) continue;
    end += profile[kind];
    last = kind;
    if (at * total < end) return kind;
  }
  return last;
}
