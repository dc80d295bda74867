/** Which pages a guest has written, for one session at a time: opening a new one ends the one before it. */
import { XapiError } from '../../base/errors.js';

/** Pages written (one bit a page, least significant first), and how many bits are set. */
interface Written {
  readonly dirty: number;
  readonly bitmap: Buffer;
}

export interface LogDirty {
  /** Open a session, in which all pages are clean. @returns its number */
  open(): number;
  /** Read which pages were written since the last call of `readClear`, and forget them. */
  readClear(session: number): Written;
  /** Read which pages were written without forgetting them. The bitmap changes as the guest writes. */
  peek(session: number): Written;
  /** End a session; fine for one that has ended already. */
  close(session: number): void;
  /** @throws OPERATION_NOT_ALLOWED for a session that is not open */
  assertOpen(session: number): void;
  /** Note a write; to be called after each one. */
  mark(pfn: number): void;
}

/**
 * Make the log of a domain with this number of pages; no session is open at first.
 * @param ended called whenever a session has ended
 */
export function createLogDirty(pages: number, ended: () => void = () => undefined): LogDirty {
  let last = 0;
  let open: { session: number; bitmap: Buffer; dirty: number } | undefined;
  const start = (session: number): void => {
    open = { session, bitmap: Buffer.alloc(Math.ceil(pages / 8)), dirty: 0 };
  };
  const find = (session: number): Written => {
    if (open?.session !== session) throw notOpen(session, last);
    return { dirty: open.dirty, bitmap: open.bitmap };
  };
  return {
    open: () => {
      if (open !== undefined) ended();
      start(++last);
      return last;
    },
    readClear: (session) => {
      const written = find(session);
      start(session);
      return written;
    },
    peek: find,
    close: (session) => {
      if (open?.session !== session) return;
      open = undefined;
      ended();
    },
    assertOpen: (session) => void find(session),
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

function notOpen(session: number, last: number): XapiError {
  const why = session < last ? `was ended by session ${last}` : session === last ? 'was closed' : 'was never opened';
  return new XapiError('OPERATION_NOT_ALLOWED', [`log-dirty session ${session} ${why}`]);
}
