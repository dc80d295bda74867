/** Writing rows through to the store: what one turn of the event loop changes is one batch, batches go one after another. */
import type { ClassName } from '../../../idl/index.js';
import { isOutOfSpace, messageOf, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { RowChange, Store } from '../../base/store/store.js';
import { relationsTo } from './relations.js';
import type { Row } from './row.js';
import type { Rows } from './rows.js';

/** How long what the disk had no room for waits until it is written again, in milliseconds. */
const againMs = 1_000;

/** Generations that are taken from the store at a time, so that none is ever given out twice, whatever happens. */
const reserve = 1 << 20;

export interface Generations {
  /** Greater than every generation of an earlier run. */
  readonly first: number;
  /** Keep ahead of the given generation. */
  keepAhead(generation: number): Promise<void>;
}

/** Take generations for this run. */
export async function reserveGenerations(store: Store): Promise<Generations> {
  const table = store.table<number>('generations');
  const first = table.get('limit') ?? 0;
  let limit = first + reserve;
  await table.put('limit', limit);
  return {
    first,
    async keepAhead(generation) {
      if (generation < limit - reserve / 2) return;
      limit = generation + reserve;
      await table.put('limit', limit);
    },
  };
}

export interface Saving {
  /** Waits until everything changed so far is written. @throws OUT_OF_SPACE [path]; INTERNAL_ERROR where the store failed */
  saved(): Promise<void>;
  /** Write a change of another table in the batch of what this turn of the event loop changes. The last one of a row counts. */
  alongside(change: RowChange): void;
}

/** Write each changed row of the classes that are to be kept. What the disk has no room for is written when it has. */
export function saveChanges(
  store: Store,
  rows: Rows,
  generations: Generations,
  kept: (cls: ClassName) => boolean,
  log: Log,
): Saving {
  /** What is to be written of each row, as it is then. */
  const dirty = new Map<string, () => RowChange>();
  let running: Promise<void> | undefined;
  let isFull = false;

  const writeBatch = async (): Promise<void> => {
    const batch = [...dirty];
    dirty.clear();
    try {
      await generations.keepAhead(rows.generation());
      await store.putMany(batch.map(([, change]) => change()));
    } catch (error) {
      for (const [key, change] of batch) if (!dirty.has(key)) dirty.set(key, change);
      if (isOutOfSpace(error)) {
        waitForSpace(error);
        throw error;
      }
      throw new XapiError('INTERNAL_ERROR', [`the database cannot be written: ${messageOf(error)}`], error);
    }
    if (isFull) log.info('the database is written again');
    isFull = false;
  };
  const waitForSpace = (error: unknown): void => {
    if (!isFull) log.error(`what changes is refused until there is space: ${messageOf(error)}`, { error });
    isFull = true;
    setTimeout(() => flush().catch(() => undefined), againMs).unref();
  };
  const write = async (): Promise<void> => {
    try {
      while (dirty.size > 0) await writeBatch();
    } finally {
      running = undefined;
    }
  };
  const flush = (): Promise<void> => {
    running ??= Promise.resolve().then(write);
    return running;
  };

  const put = (key: string, change: () => RowChange): void => {
    dirty.set(key, change);
    // Whoever needs the row to be durable asks `saved`, and hears of a failure there.
    flush().catch(() => undefined);
  };

  rows.onChange((cls, ref, change) => {
    if (!kept(cls) || change === 'mirror') return;
    put(ref, () => store.table<Row>(`rows.${cls}`).change(ref, toStore(cls, rows.find(cls, ref))));
  });
  return { saved: flush, alongside: (change) => put(`${change.table} ${change.id}`, () => change) };
}

/** A row without its back references, which are made anew from what they mirror. */
function toStore(cls: ClassName, row: Row | undefined): Row | undefined {
  const sets = relationsTo(cls);
  if (row === undefined || sets.length === 0) return row;
  const record = { ...row.record };
  for (const { set } of sets) delete record[set];
  return { ...row, record };
}
