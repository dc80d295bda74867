/** Sizes as people write them, the same wherever one is taken. */

/** Bits by which a unit shifts; `kb` and `kib` are `k`, and so on. */
const units: Readonly<Record<string, number>> = { '': 0, b: 0, bytes: 0, k: 10, m: 20, g: 30, t: 40 };

/** Allowed texts, for messages. */
export const sizeForms = 'a size in bytes, or with the unit KiB, MiB, GiB or TiB';

/**
 * A size: bytes, KiB, MiB, GiB or TiB, in any case, and without `iB` or `B` too: `512MiB`, `1.5 TiB`, `4g`, `1048576`. Every
 * unit is a power of 1024.
 * @returns bytes, which may be more than a number holds exactly; undefined where the text is no size
 */
export function bytesOf(text: string): number | undefined {
  const [, number, unit] = /^(\d+(?:\.\d+)?) *([a-z]*)$/i.exec(text.trim()) ?? [];
  const shift = units[unit?.toLowerCase().replace(/^([kmgt])i?b$/, '$1') ?? '?'];
  if (number === undefined || shift === undefined || (shift === 0 && number.includes('.'))) return undefined;
  return Math.floor(Number(number) * 2 ** shift);
}
