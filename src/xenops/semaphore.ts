/** A semaphore whose limit can change: it gives turns, in the order in which they were asked for. */

export interface Semaphore {
  /**
   * Wait for a turn.
   * @param signal gives up the place in the line
   * @param again whether the caller had a turn and gave it back: such callers go before those that had none
   * @returns a function that ends the turn
   * @throws the signal's reason
   */
  take(signal?: AbortSignal, again?: boolean): Promise<() => void>;
  /** Whether a caller of `take` would have to wait. */
  isFull(): boolean;
  /** Whether nobody has a turn, or waits for one. */
  isIdle(): boolean;
  /** Give turns anew, after the limit may have been raised. */
  recheck(): void;
}

/** @param limit how many may have a turn at once; called whenever a turn is asked for or ends */
export function createSemaphore(limit: () => number): Semaphore {
  const first = new Set<() => void>();
  const waiting = new Set<() => void>();
  let taken = 0;
  const giveTurns = (): void => {
    for (const line of [first, waiting]) {
      for (const begin of line) {
        if (taken >= limit()) return;
        line.delete(begin);
        taken += 1;
        begin();
      }
    }
  };
  const end = (): void => {
    taken -= 1;
    giveTurns();
  };
  return {
    take: (signal, again = false) =>
      new Promise((resolve, reject) => {
        signal?.throwIfAborted();
        const line = again ? first : waiting;
        const giveUp = (): void => {
          line.delete(begin);
          reject(signal?.reason);
        };
        const begin = (): void => {
          signal?.removeEventListener('abort', giveUp);
          resolve(end);
        };
        signal?.addEventListener('abort', giveUp, { once: true });
        line.add(begin);
        giveTurns();
      }),
    isFull: () => taken + first.size + waiting.size >= limit(),
    isIdle: () => taken + first.size + waiting.size === 0,
    recheck: giveTurns,
  };
}
