/** A limit on how much happens at once: turns, given in the order in which they were asked for. */

export interface Turns {
  /**
   * Resolves when it is the caller's turn.
   * @param signal gives up the place in the line
   * @returns what ends the turn
   * @throws the signal's reason
   */
  take(signal?: AbortSignal): Promise<() => void>;
  /** Whether who asks now has to wait. */
  isFull(): boolean;
  /** Whether nobody has a turn, or waits for one. */
  isIdle(): boolean;
  /** The limit may have been raised. */
  recheck(): void;
}

/** @param limit how many may have a turn at once; asked whenever one is asked for or ends */
export function createTurns(limit: () => number): Turns {
  const waiting = new Set<() => void>();
  let taken = 0;
  const giveTurns = (): void => {
    for (const begin of waiting) {
      if (taken >= limit()) return;
      waiting.delete(begin);
      taken += 1;
      begin();
    }
  };
  const end = (): void => {
    taken -= 1;
    giveTurns();
  };
  return {
    take: (signal) =>
      new Promise((resolve, reject) => {
        signal?.throwIfAborted();
        const giveUp = (): void => {
          waiting.delete(begin);
          reject(signal?.reason);
        };
        const begin = (): void => {
          signal?.removeEventListener('abort', giveUp);
          resolve(end);
        };
        signal?.addEventListener('abort', giveUp, { once: true });
        waiting.add(begin);
        giveTurns();
      }),
    isFull: () => taken + waiting.size >= limit(),
    isIdle: () => taken + waiting.size === 0,
    recheck: giveTurns,
  };
}
