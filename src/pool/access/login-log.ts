/**
 * What the log has of logins and their like: who, quoted and cut, and from where. Of a flood the first ones of each minute from
 * one address are told one by one, and the others as a number.
 */
import type { Log } from '../../base/log.js';

export interface LoginLog {
  /**
   * @param what such as `login` or `login failed`
   */
  note(level: 'info' | 'warn', what: string, user: string, address: string): void;
  /** Tell the numbers of the floods whose minute is over; of all of them where `all` is given. */
  flush(all?: boolean): void;
}

const windowMs = 60_000;
/** How many of a kind are told one by one. */
const toldOneByOne = 5;
const longestUser = 64;
/** How many addresses are counted each by itself. */
const mostCounted = 1000;

interface Flood {
  readonly level: 'info' | 'warn';
  readonly what: string;
  readonly address: string;
  readonly began: number;
  count: number;
}

/**
 * Make a log of logins.
 * @param elapsed milliseconds that have passed, whatever is done to the clock
 */
export function createLoginLog(log: Log, elapsed: () => number): LoginLog {
  /** The oldest first. */
  const floods = new Map<string, Flood>();
  const flush = (all = false): void => {
    for (const [key, { level, what, address, began, count }] of floods) {
      if (!all && elapsed() - began < windowMs) return;
      floods.delete(key);
      if (count > toldOneByOne) log[level](`${what}: ${count - toldOneByOne} more from ${address} within a minute`);
    }
  };
  return {
    flush,
    note(level, what, user, from) {
      flush();
      const known = floods.has(`${what} ${from}`) || floods.size < mostCounted;
      const address = known ? from : 'other addresses';
      const key = `${what} ${address}`;
      const flood = floods.get(key) ?? { level, what, address, began: elapsed(), count: 0 };
      floods.set(key, flood);
      flood.count += 1;
      if (flood.count > toldOneByOne) return;
      const shown = JSON.stringify([...user.slice(0, 2 * longestUser)].slice(0, longestUser).join(''));
      log[level](`${what}: user ${shown} from ${from}`);
    },
  };
}
