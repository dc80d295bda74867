/**
 * Synchronisation points, the same at both sides: a handshake that one side sends and the other waits for. On the control channel each
 * side listens for the other's next handshake all the time; until that point is allowed only an Error can come, and a Success is
 * early: no side can have reached a point that depends on what the other has not done.
 */
import { within } from '../base/deadline.js';
import type { Log } from '../base/log.js';
import { sendSuccess } from '../wire/connection/handshake.js';
import type { RawSocket } from '../wire/connection/raw-socket.js';
import { hear } from './peer-text.js';
import type { SynchronisationPoint } from './protocol.js';

/** What differs between the sides. */
export interface PointsInit {
  /** How long to wait for a point, in milliseconds. */
  readonly timeoutMs: () => number;
  readonly log: () => Log;
  /** Do what needs the other side, for as long as the attempt goes on. */
  readonly during: <T>(work: () => Promise<T>) => Promise<T>;
  /** Make the error of a point that came before it was allowed. */
  readonly early: (why: string) => Error;
}

export interface Points {
  /** Tell the other side that this one has reached a point. */
  send(point: SynchronisationPoint, to: RawSocket): Promise<void>;
  /**
   * Wait until the other side has reached a point.
   *
   * @param handshake
   * reads the handshake; absent for the one that is listened for
   * @throws
   * the other side's Error, an early point's error, and what `within` throws when the time is over
   */
  wait(point: SynchronisationPoint, handshake?: () => Promise<void>): Promise<void>;
  /**
   * Listen for the other side's next point, which is not allowed yet.
   *
   * @returns
   * the handshake; who does not look at it is told of its failure by `wait`
   */
  listen(point: SynchronisationPoint, on: RawSocket): Promise<void>;
  /** Let the point come that is listened for. */
  allow(): void;
  /** The handshake that is listened for; undefined before the first. */
  heard(): Promise<void> | undefined;
}

/** Begin without a point. */
export function createPoints({ timeoutMs, log, during, early }: PointsInit): Points {
  let heard: Promise<void> | undefined;
  let isAllowed = false;
  const next = () => heard ?? Promise.reject(new Error('the control channel is gone'));
  return {
    send: (point, to) => during(() => sendPoint(log(), point, to)),
    async wait(point, handshake = next) {
      await during(() => within(handshake(), timeoutMs(), `no synchronisation point ${point}`));
      log().info(`synchronisation point ${point}: received`);
    },
    listen(point, on) {
      isAllowed = false;
      heard = hear(on).then(() => {
        if (!isAllowed) throw early(`synchronisation point ${point} came before it was due`);
      });
      heard.catch(() => undefined);
      return heard;
    },
    allow() {
      isAllowed = true;
    },
    heard: () => heard,
  };
}

/** Send a point, whatever becomes of the attempt meanwhile. */
export async function sendPoint(log: Log, point: SynchronisationPoint, to: RawSocket): Promise<void> {
  await sendSuccess(to);
  log.info(`synchronisation point ${point}: sent`);
}
