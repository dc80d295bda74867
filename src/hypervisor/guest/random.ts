/** Small numbers out of a seed: a hash of integers, and a generator whose state can travel. */

/** The state of a generator: four 32-bit words. */
export type RandomState = Uint32Array;

/** A well-mixed 32-bit number out of three 32-bit ones. */
export function mix(a: number, b: number, c: number): number {
  let h = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15) ^ b, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 13) ^ c, 0x27d4eb2f);
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
  return (h ^ (h >>> 16)) >>> 0;
}

/** The 32 bits that stand for a seed of up to 53 bits. */
export function foldSeed(seed: number): number {
  return mix(seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0, 0);
}

/** The first state of a generator. */
export function seedRandom(seed: number): RandomState {
  return Uint32Array.from([mix(seed, 1, 0), mix(seed, 2, 0), mix(seed, 3, 0), 1]);
}

/** The next number, from 0 up to but without `below` (at most 2^32); moves the state on (the sfc32 generator). */
export function nextRandom(state: RandomState, below: number): number {
  const a = state[0] as number;
  const b = state[1] as number;
  const c = state[2] as number;
  const out = (a + b + (state[3] as number)) >>> 0;
  state[3] = (state[3] as number) + 1;
  state[0] = b ^ (b >>> 9);
  state[1] = c + (c << 3);
  state[2] = ((c << 21) | (c >>> 11)) + out;
  return Math.floor((out / 2 ** 32) * below);
}
