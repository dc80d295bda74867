/**
 * Volumes that come, go or change, durable before their host is asked, until their records say the same. So a coordinator that was
 * killed, or that could not reach the host, finds what is left: a volume without a record goes, a record has the size of its volume,
 * and goes where that was destroyed. The end of an entry is written with the records, in one batch. Scans leave these volumes alone.
 */
import type { Ref } from '../../../idl/index.js';
import { messageOf, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { Table } from '../../base/store/store.js';
import type { HostStorage } from '../../host/storage/storage.js';
import type { Database } from '../database/database.js';

/** An entry, by its volume's uuid. */
export interface OpenVolume {
  /** The uuid of its SR. */
  readonly sr: string;
  /** The volume is made, and has no record yet; or it has, and its size changes, or both go. */
  readonly what: 'made' | 'resized' | 'destroyed';
}

export interface VolumeJournal {
  /** Note volumes, by their uuids. @throws OUT_OF_SPACE; nothing is noted then */
  open(entries: readonly (readonly [volume: string, entry: OpenVolume])[]): Promise<void>;
  /** Records and volume are one: written in the batch of what this turn of the event loop changes. */
  close(volume: string): void;
  /** Nothing was written of what has closed it, or nobody knows what became of the volume: it is reconciled later. */
  abandon(volume: string, entry: OpenVolume): void;
  /** Bring what was abandoned in SRs that a host has to an end. What fails is logged, and tried again the next time. */
  reconcile(host: Ref<'host'>): Promise<void>;
  /**
   * Have scans leave a volume alone meanwhile.
   * @param volume its uuid
   */
  change<T>(volume: string, work: () => Promise<T>): Promise<T>;
  /**
   * @param work gets the volumes that have been changing at any time since it began; ask when it is to count
   */
  scan<T>(work: (changing: ReadonlySet<string>) => Promise<T>): Promise<T>;
}

export interface VolumeJournalDeps {
  readonly db: Database;
  readonly table: Table<OpenVolume>;
  /** The storage in which an SR is. @throws where no host that answers has it */
  readonly access: (sr: Ref<'SR'>) => { readonly host: Ref<'host'>; readonly storage: HostStorage };
  /** Remove a disk's record, and what refers to it. */
  readonly removeRecord: (vdi: Ref<'VDI'>) => void;
  readonly log: Log;
}

/** Make the journal of volumes; what an earlier run has left open is abandoned. */
export function createVolumeJournal(deps: VolumeJournalDeps): VolumeJournal {
  const { db, table, log } = deps;
  const changing = new Set<string>();
  const scans = new Set<Set<string>>();
  const abandoned = new Map<string, OpenVolume>(table.entries());
  const begin = (volume: string): void => {
    changing.add(volume);
    for (const seen of scans) seen.add(volume);
  };
  for (const volume of abandoned.keys()) begin(volume);

  const close = (volume: string): void => {
    abandoned.delete(volume);
    changing.delete(volume);
    db.alongside(table.change(volume, undefined));
  };
  const reconcileOne = async (host: Ref<'host'>, volume: string, entry: OpenVolume): Promise<void> => {
    const ref = db.findByUuid('SR', entry.sr);
    if (ref === undefined) return close(volume);
    const at = deps.access(ref);
    if (at.host !== host) return;
    await bringTogether(deps, at.storage, volume, entry);
    close(volume);
    log.info(`volume ${volume}, which was being ${entry.what}, is reconciled`, { sr: entry.sr });
  };

  return {
    async open(entries) {
      if (entries.length === 0) return;
      for (const [volume, entry] of entries) {
        begin(volume);
        abandoned.delete(volume);
        db.alongside(table.change(volume, entry));
      }
      await db.saved().catch((error: unknown) => {
        for (const [volume] of entries) close(volume);
        throw error;
      });
    },
    close,
    abandon(volume, entry) {
      begin(volume);
      abandoned.set(volume, entry);
      db.alongside(table.change(volume, entry));
    },
    async reconcile(host) {
      for (const [volume, entry] of [...abandoned]) {
        await reconcileOne(host, volume, entry).catch((error: unknown) => {
          log.warn(`volume ${volume} is not reconciled yet: ${messageOf(error)}`, { sr: entry.sr, error });
        });
      }
    },
    async change(volume, work) {
      begin(volume);
      try {
        return await work();
      } finally {
        changing.delete(volume);
      }
    },
    async scan(work) {
      const seen = new Set(changing);
      scans.add(seen);
      try {
        return await work(seen);
      } finally {
        scans.delete(seen);
      }
    },
  };
}

/**
 * Bring a volume, of which nobody knows what became, and its record together: a volume without a record goes, a record has the size of
 * its volume, and goes where that was destroyed.
 * @throws what the host throws
 */
async function bringTogether(
  { db, removeRecord, log }: VolumeJournalDeps,
  storage: HostStorage,
  volume: string,
  { sr, what }: OpenVolume,
): Promise<void> {
  const vdi = db.findByUuid('VDI', volume);
  if (vdi === undefined) {
    if (what !== 'made') return;
    await storage.discardVolume(sr, volume).catch((error: unknown) => {
      // The database is an older one, as of a backup: a scan makes a record.
      if (!(error instanceof XapiError && error.params[0] === 'EBUSY')) throw error;
      log.warn(`volume ${volume} is kept: ${error.message}`);
    });
    return;
  }
  const found = await storage.statVolume(sr, volume);
  if (db.find('VDI', vdi) === undefined) return;
  if (found !== undefined) {
    const { virtualSize: virtual_size, physicalUtilisation: physical_utilisation } = found;
    db.update('VDI', vdi, { virtual_size, physical_utilisation });
  } else if (what === 'destroyed') removeRecord(vdi);
}
