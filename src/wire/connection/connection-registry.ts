/**
 * The connections of the port, and which of them goes when there are too many. One that waits for nothing goes before
 * one that takes long to say what it wants, and that before one whose request is still coming; among those of a kind
 * the one that has been so for longest. What is being worked on, a channel above all, is never closed for another.
 */
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Log } from '../../base/log.js';

/**
 * `idle` between two requests; `headless` without a whole head since it was accepted; `body` while the body of its request is
 * still coming; `busy` while it is a channel or a request of it is being answered.
 */
type ConnectionState = 'idle' | 'headless' | 'body' | 'busy';

export interface ConnectionLimits {
  /** Connections that have not sent a whole head yet. One more, and the oldest of them is closed. */
  readonly headless: number;
  /** Connections in all. One more, and another is closed for it; where all are busy, it is closed itself. */
  readonly connections: number;
  /**
   * A connection whose descriptor has this number or a higher one is one too many as well. The system gives the lowest number
   * that is free, so all below are in use, whatever for.
   */
  readonly descriptors: number;
}

interface Closable {
  destroy(): unknown;
}

export interface Connection {
  readonly state: ConnectionState;
  /** Close the connection by this object from now on. */
  closedBy(closable: Closable): void;
  become(state: ConnectionState): void;
  /** Follow a request to the end of its answer. */
  follow(request: IncomingMessage, response: ServerResponse): void;
  /** Take the connection, which is closed, out of the registry. */
  leave(): void;
}

export interface ConnectionRegistry {
  /** @returns undefined where there is no room: the newcomer has been closed */
  enter(closable: Closable, descriptor: number): Connection | undefined;
  /** Close those without a whole head. */
  closeHeadless(): void;
}

/** States whose connections are closed for others, in this order. */
const closedForOthers = ['idle', 'headless', 'body'] as const;
/** A warning is not said again before that. */
const warningPauseMs = 600_000;
/** Most of the descriptors that are kept for helpers, channels and the store. */
const mostReserved = 1024;

/**
 * @returns how many descriptors connections may use up: three quarters of what this process may open, or all but 1024. Infinity
 *   where the system does not tell.
 */
export function descriptorsForConnections(limitsFile = '/proc/self/limits'): number {
  const soft = Number(/^Max open files +(\d+)/m.exec(readLimits(limitsFile))?.[1] ?? Number.POSITIVE_INFINITY);
  return soft - Math.min(mostReserved, Math.ceil(soft / 4));
}

function readLimits(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}

/** Make the registry of a port's connections. */
export function createConnectionRegistry(limits: ConnectionLimits, log: Log): ConnectionRegistry {
  const byState = {
    idle: new Set<Entry>(),
    headless: new Set<Entry>(),
    body: new Set<Entry>(),
    busy: new Set<Entry>(),
  };
  const warned = new Map<string, number>();
  const warn = (message: string): void => {
    const last = warned.get(message);
    if (last !== undefined && performance.now() - last < warningPauseMs) return;
    warned.set(message, performance.now());
    log.warn(message);
  };
  const count = () => Object.values(byState).reduce((sum, { size }) => sum + size, 0);
  const closeFirst = (states: readonly ConnectionState[]): boolean => {
    for (const state of states) {
      for (const first of byState[state]) {
        first.close();
        return true;
      }
    }
    return false;
  };
  /** Two go where descriptors run out, so that there are fewer in use than before. */
  const makeRoom = (descriptor: number): boolean => {
    const full = count() >= limits.connections;
    if (!full && descriptor < limits.descriptors) return true;
    const why = full ? `there are ${limits.connections}` : 'descriptors run out';
    if (!closeFirst(closedForOthers)) {
      warn(`connections are refused: ${why}, and all are being worked on`);
      return false;
    }
    warn(`connections are closed for newer ones, those that have been idle for longest first: ${why}`);
    if (!full) closeFirst(closedForOthers);
    return true;
  };
  return {
    enter(closable, descriptor) {
      if (!makeRoom(descriptor)) {
        closable.destroy();
        return undefined;
      }
      const entry = openEntry(closable, byState);
      if (byState.headless.size > limits.headless) {
        log.debug(`connection closed: ${limits.headless} newer ones have sent no whole head either`);
        closeFirst(['headless']);
      }
      return entry;
    },
    closeHeadless() {
      for (const entry of byState.headless) entry.close();
    },
  };
}

interface Entry extends Connection {
  close(): void;
}

function openEntry(accepted: Closable, byState: Readonly<Record<ConnectionState, Set<Entry>>>): Entry {
  let state: ConnectionState = 'headless';
  let closable = accepted;
  let requests = 0;
  let bodies = 0;
  let gone = false;
  /** Of several requests, the first is being answered. */
  const settle = (): void => {
    if (requests === 0) entry.become('idle');
    else entry.become(requests === 1 && bodies === 1 ? 'body' : 'busy');
  };
  const entry: Entry = {
    get state() {
      return state;
    },
    closedBy(other) {
      closable = other;
    },
    become(next) {
      if (gone || next === state) return;
      byState[state].delete(entry);
      state = next;
      byState[state].add(entry);
    },
    follow(request, response) {
      requests += 1;
      response.once('close', () => {
        requests -= 1;
        settle();
      });
      if (hasBody(request)) {
        bodies += 1;
        request.once('end', () => {
          bodies -= 1;
          settle();
        });
      }
      settle();
    },
    leave() {
      gone = true;
      byState[state].delete(entry);
    },
    close() {
      entry.leave();
      closable.destroy();
    },
  };
  byState.headless.add(entry);
  return entry;
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}
