/** Which pages a guest has written, for one session at a time: opening a new one ends the one before it. */
import { XapiError } from '../base/errors.js';

export interface LogDirty {
  /** A new session, in which all pages are clean. */
  open(): number;
  /** The bitmap since the last call (one bit a page, least significant first) and how many bits are set. */
  readClear(session: number): { dirty: number; bitmap: Buffer };
  /** Fine for a session that has ended already. */
  close(session: number): void;
  /** To be called after each write. */
  mark(pfn: number): void;
}

/** Log-dirty of a domain of so many pages; no session is open at first. */
export function createLogDirty(pages: number): LogDirty {
  let last = 0;
  let open: { session: number; bitmap: Buffer; dirty: number } | undefined;
  const start = (session: number): void => {
    open = { session, bitmap: Buffer.alloc(Math.ceil(pages / 8)), dirty: 0 };
  };
  return {
    open: () => {
      start(++last);
      return last;
    },
    readClear: (session) => {
      if (open?.session !== session) throw ended(session, last);
      const { dirty, bitmap } = open;
      start(session);
      return { dirty, bitmap };
    },
    close: (session) => {
      if (open?.session === session) open = undefined;
    },
    mark: (pfn) => {
      if (open === undefined) return;
      const before = open.bitmap[pfn >> 3] as number;
      const after = before | (1 << (pfn & 7));
      if (after === before) return;
      open.bitmap[pfn >> 3] = after;
      open.dirty++;
    },
  };
}

function ended(session: number, last: number): XapiError {
  const why = session < last ? `was ended by session ${last}` : session === last ? 'was closed' : 'was never opened';
  return new XapiError('OPERATION_NOT_ALLOWED', [`log-dirty session ${session} ${why}`]);
}
