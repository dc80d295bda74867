/**
 * Which operations an SR and a VDI allow now, and the hold that a running one has on them. What works on a VDI works on its SR
 * as well, so an SR that is going away waits for nobody: it is refused while anything else runs.
 */
import { randomUUID } from 'node:crypto';
import type { Ref, TypeOf } from '../../../idl/index.js';
import { XapiError, type XapiErrorCode } from '../../base/errors.js';
import type { Database, RecordView } from '../database/database.js';
import { hold } from '../database/hold.js';

export type SrOperation = TypeOf<'enum:storage_operations'>;
type VdiOperation = TypeOf<'enum:vdi_operations'>;

/** The type of SR that hosts have: a directory, see host/storage. */
export const fileType = 'file';

/**
 * The implemented operations on an SR that are shown as allowed. As in xapi, `vdi_copy`, `vdi_forget` and `vdi_update` never are:
 * there are clients that do not have them in their enumeration, and refuse a whole record for one.
 */
const srOperations = [
  'scan',
  'destroy',
  'forget',
  'plug',
  'unplug',
  'update',
  'vdi_create',
  'vdi_introduce',
  'vdi_destroy',
  'vdi_resize',
  'vdi_clone',
  'vdi_snapshot',
  'pbd_create',
  'pbd_destroy',
] as const satisfies SrOperation[];

/** The implemented operations on a VDI, with what each is on its SR. */
const vdiOperations = {
  clone: 'vdi_clone',
  copy: 'vdi_copy',
  resize: 'vdi_resize',
  snapshot: 'vdi_snapshot',
  destroy: 'vdi_destroy',
  forget: 'vdi_forget',
  update: 'vdi_update',
} as const satisfies Partial<Record<VdiOperation, SrOperation>>;

export type ImplementedVdiOperation = keyof typeof vdiOperations;

/** Operations that run alone. */
const exclusive: ReadonlySet<SrOperation> = new Set(['destroy', 'forget', 'unplug']);
/** Operations that need no host that has the SR. */
const detached: ReadonlySet<SrOperation> = new Set([
  'destroy',
  'forget',
  'plug',
  'unplug',
  'vdi_forget',
  'pbd_create',
  'pbd_destroy',
]);
/** Operations that may run while a VM has the VDI. */
const live: ReadonlySet<VdiOperation> = new Set(['clone', 'snapshot', 'update']);

/** The error is made only where it is wanted: to make one costs far more than to look. */
type Refusal = (() => XapiError) | undefined;

/** SR_OPERATION_NOT_SUPPORTED, SR_INDESTRUCTIBLE, SR_HAS_PBD, SR_HAS_NO_PBDS [sr], SR_NOT_EMPTY, OTHER_OPERATION_IN_PROGRESS */
function srRefusal(db: Database, ref: Ref<'SR'>, sr: RecordView<'SR'>, operation: SrOperation): Refusal {
  const refuse =
    (code: XapiErrorCode, params: string[] = [ref]) =>
    () =>
      new XapiError(code, params);
  if (sr.type !== fileType && !detached.has(operation)) return refuse('SR_OPERATION_NOT_SUPPORTED');
  const attached = sr.PBDs.some((pbd) => db.find('PBD', pbd)?.currently_attached);
  if (!attached && !detached.has(operation)) return refuse('SR_HAS_NO_PBDS');
  if (attached && (operation === 'destroy' || operation === 'forget')) return refuse('SR_HAS_PBD');
  if (operation === 'destroy') {
    if (sr.other_config.indestructible === 'true') return refuse('SR_INDESTRUCTIBLE');
    if (sr.PBDs.length === 0) return refuse('SR_HAS_NO_PBDS');
    if (sr.VDIs.some((vdi) => db.find('VDI', vdi)?.managed)) return refuse('SR_NOT_EMPTY', []);
  }
  const other = Object.entries(sr.current_operations).find(([, op]) => exclusive.has(operation) || exclusive.has(op));
  return other && refuse('OTHER_OPERATION_IN_PROGRESS', ['SR', ref, other[1], other[0]]);
}

/** VDI_NOT_MANAGED [vdi], VDI_IN_USE [vdi, operation], OTHER_OPERATION_IN_PROGRESS. What its SR refuses is not in it. */
function vdiRefusal(db: Database, ref: Ref<'VDI'>, vdi: RecordView<'VDI'>, operation: VdiOperation): Refusal {
  const inProgress = (op: string, task: string) => () =>
    new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VDI', ref, op, task]);
  if (!vdi.managed) return () => new XapiError('VDI_NOT_MANAGED', [ref]);
  const busy = Object.entries(vdi.current_operations).find(([, op]) => op !== 'copy' || operation !== 'copy');
  if (busy !== undefined) return inProgress(busy[1], busy[0]);
  for (const vbd of vdi.VBDs.map((each) => db.find('VBD', each))) {
    if (vbd === undefined) continue;
    const blocks = vbd.currently_attached && !live.has(operation) && !(operation === 'copy' && vbd.mode === 'RO');
    if (blocks) return () => new XapiError('VDI_IN_USE', [ref, operation]);
    const [changing] = Object.entries(vbd.current_operations);
    if (changing !== undefined) return inProgress(changing[1], changing[0]);
  }
  return undefined;
}

function updateSr(db: Database, ref: Ref<'SR'>): void {
  const sr = db.find('SR', ref);
  if (sr === undefined) return;
  const allowed = srOperations.filter((operation) => srRefusal(db, ref, sr, operation) === undefined);
  db.update('SR', ref, { allowed_operations: allowed });
}

function updateVdi(db: Database, ref: Ref<'VDI'>): void {
  const vdi = db.find('VDI', ref);
  if (vdi === undefined) return;
  const sr = db.find('SR', vdi.SR);
  const allowed = (Object.keys(vdiOperations) as ImplementedVdiOperation[]).filter(
    (operation) =>
      vdiRefusal(db, ref, vdi, operation) === undefined &&
      sr !== undefined &&
      srRefusal(db, vdi.SR, sr, vdiOperations[operation]) === undefined,
  );
  db.update('VDI', ref, { allowed_operations: allowed });
}

/**
 * Keep allowed_operations of every SR and VDI right whenever something changes that counts for them.
 * @returns stops it
 */
export function followStorageOperations(db: Database): () => void {
  for (const [sr] of db.all('SR')) updateSr(db, sr);
  for (const [vdi] of db.all('VDI')) updateVdi(db, vdi);
  return db.onChange((cls, ref) => {
    if (cls === 'SR') updateSr(db, ref as Ref<'SR'>);
    if (cls === 'VDI') updateVdi(db, ref as Ref<'VDI'>);
    if (cls === 'VBD') {
      const vbd = db.find('VBD', ref as Ref<'VBD'>);
      if (vbd !== undefined) updateVdi(db, vbd.VDI);
    }
    if (cls === 'PBD') {
      const pbd = db.find('PBD', ref as Ref<'PBD'>);
      if (pbd === undefined) return;
      updateSr(db, pbd.SR);
      for (const vdi of db.find('SR', pbd.SR)?.VDIs ?? []) updateVdi(db, vdi);
    }
  });
}

/** A call may work on several disks of one SR, and each shows. */
function keyFor(operations: Readonly<Record<string, unknown>>, task: string): string {
  return Object.hasOwn(operations, task) ? `OpaqueRef:${randomUUID()}` : task;
}

/**
 * Run an operation on an SR, shown in its current_operations under the task.
 * @throws HANDLE_INVALID, what `srRefusal` says, what the operation throws
 */
export async function withSr<T>(
  db: Database,
  ref: Ref<'SR'>,
  operation: SrOperation,
  task: string,
  run: () => Promise<T>,
): Promise<T> {
  const sr = db.get('SR', ref);
  const refused = srRefusal(db, ref, sr, operation);
  if (refused !== undefined) throw refused();
  return hold(db, { cls: 'SR', ref }, operation, keyFor(sr.current_operations, task), run);
}

/**
 * Run an operation on a VDI, shown in its current_operations and its SR's.
 * @throws HANDLE_INVALID, what `vdiRefusal` and `srRefusal` say, what the operation throws
 */
export async function withVdi<T>(
  db: Database,
  ref: Ref<'VDI'>,
  operation: ImplementedVdiOperation,
  task: string,
  run: () => Promise<T>,
): Promise<T> {
  const vdi = db.get('VDI', ref);
  const refused = vdiRefusal(db, ref, vdi, operation);
  if (refused !== undefined) throw refused();
  return withSr(db, vdi.SR, vdiOperations[operation], task, () =>
    hold(db, { cls: 'VDI', ref }, operation, keyFor(vdi.current_operations, task), run),
  );
}

/** Run an operation on several disks, all of which are held from the beginning. @throws as `withVdi` does */
export function withVdis<T>(
  db: Database,
  refs: readonly Ref<'VDI'>[],
  operation: ImplementedVdiOperation,
  task: string,
  run: () => Promise<T>,
): Promise<T> {
  return nested(refs, (ref, inner) => withVdi(db, ref, operation, task, inner), run);
}

/** Run an operation on several SRs, all of which are held from the beginning. @throws as `withSr` does */
export function withSrs<T>(
  db: Database,
  refs: readonly Ref<'SR'>[],
  operation: SrOperation,
  task: string,
  run: () => Promise<T>,
): Promise<T> {
  return nested(refs, (ref, inner) => withSr(db, ref, operation, task, inner), run);
}

function nested<R, T>(
  refs: readonly R[],
  hold: (ref: R, inner: () => Promise<T>) => Promise<T>,
  run: () => Promise<T>,
): Promise<T> {
  const [first, ...rest] = [...new Set(refs)];
  return first === undefined ? run() : hold(first, () => nested(rest, hold, run));
}
