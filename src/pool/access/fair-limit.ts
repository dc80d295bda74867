/** Work that so many may do at once, and who waits by turns: whoever asks a lot holds up nobody but himself. */
import { isIPv6 } from 'node:net';

export interface FairLimit {
  /**
   * Do the work when it is the turn of this asker.
   * @returns what the work comes to; undefined, at once, where too much of the same asker's waits already
   */
  run<T>(asker: string, work: () => Promise<T>): Promise<T | undefined>;
}

/**
 * @param atOnce how much is done at once
 * @param mostWaiting how much may wait for one asker
 */
export function createFairLimit(atOnce: number, mostWaiting: number): FairLimit {
  /** Who has waited the longest for a turn comes first. */
  const waiting = new Map<string, (() => void)[]>();
  let running = 0;
  const next = (): void => {
    const [first] = waiting;
    if (first === undefined || running >= atOnce) return;
    const [asker, [start, ...rest]] = first;
    waiting.delete(asker);
    if (rest.length > 0) waiting.set(asker, rest);
    running += 1;
    start?.();
  };
  return {
    async run(asker, work) {
      const own = waiting.get(asker) ?? [];
      if (own.length >= mostWaiting) return undefined;
      await new Promise<void>((resolve) => {
        waiting.set(asker, [...own, resolve]);
        next();
      });
      try {
        return await work();
      } finally {
        running -= 1;
        next();
      }
    },
  };
}

/** Whose an address is: of IPv6 a whole network of 64 bits, as one machine has that many addresses. */
export function askerOf(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');
  if (!isIPv6(plain)) return plain;
  const [head = '', tail] = plain.toLowerCase().split('::');
  const groups = head === '' ? [] : head.split(':');
  const behind = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : 8 - groups.length - behind.length;
  return [...groups, ...Array<string>(Math.max(0, zeros)).fill('0'), ...behind].slice(0, 4).join(':');
}
