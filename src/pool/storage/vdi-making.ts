/**
 * Virtual disks that come into being together: all of those of a call, with their records and what goes with them, or none. Volumes are
 * noted in the journal, made at their host, and get their records in one batch. Copies show their progress, and can be cancelled.
 */
import { randomUUID } from 'node:crypto';
import type { RecordOf, Ref } from '../../../idl/index.js';
import { messageOf, XapiError } from '../../base/errors.js';
import type { SrUsage, Volume } from '../../host/storage/storage.js';
import type { CallTask } from '../../model/handlers.js';
import {
  accessTo,
  putUsage,
  readUsage,
  removeVdi,
  type SrAccess,
  type StorageDeps,
  tryRefreshUsage,
  whileLive,
} from './sr-access.js';

type VDI = RecordOf<'VDI'>;

export interface NewVdi {
  readonly SR: Ref<'SR'>;
  /** Zeros, so many bytes of them, or what another disk has. */
  readonly content: { readonly bytes: number } | { readonly copyOf: Ref<'VDI'> };
  /** What its record has beyond what follows from its volume. */
  readonly record: Partial<VDI>;
}

/**
 * Records that are made with disks.
 * @param onUndo takes what undoes a step, for the case that the records cannot be saved; the last is the first to be called
 */
export type Relate<T> = (vdis: readonly Ref<'VDI'>[], onUndo: (undo: () => void) => void) => T;

/** How often a copy is asked how far it is, in milliseconds. */
const lookMs = 500;

interface Plan extends NewVdi {
  readonly uuid: string;
  readonly at: SrAccess;
  /** What is copied. */
  readonly from?: { readonly sr: string; readonly volume: string };
}

/**
 * Make disks and what refers to them. The caller holds the SRs and what is copied.
 * @param relate makes what goes with the disks, at once
 * @returns what `relate` does
 * @throws TASK_CANCELLED [task], NOT_IMPLEMENTED where no one host has both SRs of a copy, OUT_OF_SPACE, what `accessTo`, the hosts and
 *   `relate` throw; nothing is left then
 */
export async function makeVdis<T>(
  deps: StorageDeps,
  task: CallTask,
  disks: readonly NewVdi[],
  relate: Relate<T>,
): Promise<T> {
  const { db, volumes } = deps;
  const plans = disks.map((disk) => plan(deps, disk));
  const undos: (() => void)[] = [];
  await volumes.open(plans.map((each) => [each.uuid, entryOf(each)]));
  try {
    const made = await makeVolumes(deps, task, plans);
    const usages = await readUsages(deps, plans);
    if (task.signal.aborted) throw new XapiError('TASK_CANCELLED', [task.ref]);
    const vdis = plans.map((each, index) => {
      const vdi = createRecord(deps, each, made[index] as Volume);
      undos.push(() => void (db.find('VDI', vdi) !== undefined && removeVdi(db, vdi)));
      return vdi;
    });
    const result = relate(vdis, (undo) => undos.push(undo));
    for (const [sr, usage] of usages) putUsage(db, sr, usage);
    for (const { uuid } of plans) volumes.close(uuid);
    await db.saved();
    return result;
  } catch (error) {
    for (const undo of undos.reverse()) undo();
    for (const each of plans) volumes.abandon(each.uuid, entryOf(each));
    await Promise.all(plans.map((each) => discard(deps, each)));
    for (const { SR } of plans) await tryRefreshUsage(deps, SR);
    throw error;
  }
}

function plan(deps: StorageDeps, disk: NewVdi): Plan {
  const at = accessTo(deps, disk.SR);
  const uuid = randomUUID();
  if (!('copyOf' in disk.content)) return { ...disk, uuid, at };
  const { SR, location } = deps.db.get('VDI', disk.content.copyOf);
  const from = accessTo(deps, SR);
  if (from.host !== at.host) throw new XapiError('NOT_IMPLEMENTED', ['VDI.copy'], 'not to an SR of another host');
  return { ...disk, uuid, at, from: { sr: from.uuid, volume: location } };
}

function entryOf({ at }: Plan) {
  return { sr: at.uuid, what: 'made' } as const;
}

async function makeVolumes(deps: StorageDeps, task: CallTask, plans: readonly Plan[]): Promise<Volume[]> {
  const made: Volume[] = [];
  const copies = plans.some(({ from }) => from !== undefined);
  if (copies) task.setCancellable(true);
  try {
    for (const each of plans) {
      const show = (part: number) => copies && task.setProgress((made.length + part) / plans.length);
      made.push(await makeVolume(deps, task, each, show));
      show(0);
    }
  } finally {
    if (copies) task.setCancellable(false);
  }
  return made;
}

async function makeVolume({ db }: StorageDeps, task: CallTask, each: Plan, show: (part: number) => void) {
  const { at, uuid, content, from } = each;
  const { storage } = at;
  if ('bytes' in content) return whileLive(db, at.host, storage.createVolume(at.uuid, uuid, content.bytes));
  if (task.signal.aborted) throw new XapiError('TASK_CANCELLED', [task.ref]);
  let isOver = false;
  const look = async (): Promise<void> => {
    // Again and again, as it may have come before the copy that it ends.
    if (task.signal.aborted) return storage.destroyVolume(at.uuid, uuid);
    const part = await storage.copyProgress(at.uuid, uuid);
    if (!isOver && part !== undefined) show(part);
  };
  const lookSafely = () => void look().catch(() => undefined);
  const timer = setInterval(lookSafely, lookMs);
  task.signal.addEventListener('abort', lookSafely, { once: true });
  try {
    const { sr = '', volume = '' } = from ?? {};
    return await whileLive(db, at.host, storage.copyVolume(sr, volume, at.uuid, uuid));
  } catch (error) {
    throw task.signal.aborted ? new XapiError('TASK_CANCELLED', [task.ref], error) : error;
  } finally {
    isOver = true;
    clearInterval(timer);
    task.signal.removeEventListener('abort', lookSafely);
  }
}

/** The figures of the SRs after the change; those that are not to be had are mended by the next change or SR.update. */
async function readUsages(deps: StorageDeps, plans: readonly Plan[]): Promise<Map<Ref<'SR'>, SrUsage>> {
  const usages = new Map<Ref<'SR'>, SrUsage>();
  for (const sr of new Set(plans.map(({ SR }) => SR))) {
    const usage = await readUsage(deps, sr).catch(() => undefined);
    if (usage !== undefined) usages.set(sr, usage);
  }
  return usages;
}

function createRecord({ db }: StorageDeps, { uuid, SR, record }: Plan, volume: Volume): Ref<'VDI'> {
  const { virtualSize: virtual_size, physicalUtilisation: physical_utilisation } = volume;
  return db.create('VDI', { ...record, uuid, location: uuid, SR, managed: true, virtual_size, physical_utilisation });
}

/** Remove a volume without a record; where that cannot be done now, it is when its host is heard of again. */
async function discard({ db, volumes, log }: StorageDeps, { at, uuid }: Plan): Promise<void> {
  try {
    await whileLive(db, at.host, at.storage.destroyVolume(at.uuid, uuid));
    volumes.close(uuid);
  } catch (error) {
    log.warn(`volume ${uuid} is removed later: ${messageOf(error)}`, { sr: at.uuid, error });
  }
}
