/** What decides the faults of a soak: numbers that a seed determines, and the rules that they choose. */
import { type Place, places } from '../faults/cases.js';

export interface Dice {
  /** True with this probability, 0 to 1. */
  chance(probability: number): boolean;
  /** A whole number from `least` to `most`. */
  between(least: number, most: number): number;
  pick<T>(from: readonly T[]): T;
}

/** The same numbers for the same seed (mulberry32, public domain). */
export function createDice(seed: number): Dice {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    chance: (probability) => next() < probability,
    between: (least, most) => least + Math.floor(next() * (most - least + 1)),
    pick: (from) => from[Math.floor(next() * from.length)] as (typeof from)[number],
  };
}

export interface RandomRule {
  /** Its kind, for the count. */
  readonly name: string;
  readonly place: Place;
  readonly action: Readonly<Record<string, string>>;
}

type Action = RandomRule['action'];

/** Kinds of faults: each gives a rule's arguments. */
const kinds: readonly (readonly [name: string, make: (dice: Dice) => Action])[] = [
  ['fail', () => ({ action: 'fail', message: 'broken by the soak' })],
  ['stall', (dice) => ({ action: 'stall', delay: String(dice.between(1, 30) / 10) })],
  ['kill daemon', () => ({ action: 'kill', target: 'daemon', signal: 'KILL' })],
  ...(['emu-manager', 'zstd'] as const).flatMap((target) =>
    (['KILL', 'STOP'] as const).map(
      (signal) => [`${signal.toLowerCase()} ${target}`, () => ({ action: 'kill', target, signal })] as const,
    ),
  ),
  ...(['reset', 'close', 'silent', 'slow'] as const).map(
    (how) =>
      [`channel ${how}`, (dice: Dice) => ({ action: 'cut', channel: dice.pick(['control', 'memory']), how })] as const,
  ),
  ...(['flip', 'truncate', 'trailing'] as const).map(
    (how) => [`stream ${how}`, () => ({ action: 'corrupt', channel: 'memory', how })] as const,
  ),
];

/** Some rule at some step. It may find nothing to break there; then the migration goes on. */
export function pickRule(dice: Dice): RandomRule {
  const [name, make] = dice.pick(kinds);
  return { name, place: dice.pick(places), action: make(dice) };
}
