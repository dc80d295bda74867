/**
 * Lanes: operations of one lane run one after the other in the order in which they were queued; lanes run side by side, as many
 * as there are workers. Receives have a queue of their own, so that two hosts that send to each other, or a host that sends to
 * itself, never wait for one another.
 */
import pLimit, { type LimitFunction } from 'p-limit';

export interface Queue {
  run<T>(lane: string, operation: () => Promise<T>): Promise<T>;
}

/** @param workers how many lanes may be at work at once */
export function createQueue(workers: number): Queue {
  const atWork = pLimit(workers);
  const lanes = new Map<string, LimitFunction>();
  return {
    async run(lane, operation) {
      const turn = lanes.get(lane) ?? pLimit(1);
      lanes.set(lane, turn);
      try {
        return await turn(() => atWork(operation));
      } finally {
        if (turn.activeCount + turn.pendingCount === 0) lanes.delete(lane);
      }
    },
  };
}
