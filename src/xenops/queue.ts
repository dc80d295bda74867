/**
 * Lanes: operations of one lane run one after the other in the order in which they were queued; lanes run side by side, as many
 * as there are workers. Receives have a queue of their own, so that two hosts that send to each other, or a host that sends to
 * itself, never wait for one another.
 *
 * An operation that waits holds no worker: an operation takes its lane first, then a turn of the semaphore of its kind, then a worker.
 * An operation that has begun and has to wait for a turn at another host stands aside meanwhile: it keeps its lane alone, and is the
 * next that goes on.
 */
import { createSemaphore, type Semaphore } from './semaphore.js';

/** Wait for something without a turn and a worker, and take both again. Where the wait fails they are not taken again. */
export type StandAside = (wait: () => Promise<void>) => Promise<void>;

interface QueueOptions {
  /** Gives up while the operation waits, and leaves the lane; not heard once it has begun. */
  readonly signal?: AbortSignal;
  /** Limits how many operations of this kind run at once. */
  readonly semaphore?: Semaphore;
  /** Called where the operation cannot begin at once. */
  onWait?(): void;
}

export interface Queue {
  /** @throws what the operation throws, or the signal's reason */
  run<T>(lane: string, operation: (standAside: StandAside) => Promise<T>, options?: QueueOptions): Promise<T>;
}

/** Make a queue without lanes. @param workers how many lanes may be at work at once */
export function createQueue(workers: number): Queue {
  const atWork = createSemaphore(() => workers);
  const lanes = new Map<string, Semaphore>();
  return {
    async run(lane, operation, { signal, semaphore, onWait } = {}) {
      const turn = lanes.get(lane) ?? createSemaphore(() => 1);
      lanes.set(lane, turn);
      const needed = [turn, ...(semaphore === undefined ? [] : [semaphore]), atWork];
      const ends: (() => void)[] = [];
      const standAside: StandAside = async (wait) => {
        for (const end of ends.splice(1).toReversed()) end();
        await wait();
        for (const each of needed.slice(1)) ends.push(await each.take(signal, true));
      };
      let tell = onWait;
      try {
        for (const each of needed) {
          if (each.isFull()) {
            tell?.();
            tell = undefined;
          }
          ends.push(await each.take(signal));
        }
        return await operation(standAside);
      } finally {
        for (const end of ends.toReversed()) end();
        if (turn.isIdle()) lanes.delete(lane);
      }
    },
  };
}
