/** What a migration's end does to the records, and what it leaves in its task. */
import type { Ref } from '../../../idl/index.js';
import { defined } from '../../base/defined.js';
import type { XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { CompressionReport, CopyFigures, MigrationOutcome, MigrationReport } from '../../host/service/service.js';
import { fromWireError } from '../../migrate/request.js';
import type { CallTask } from '../../model/handlers.js';
import type { Departure, MigrationTable } from '../database/migration-table.js';
import { hostNamed, tellOfVm } from '../events/messages.js';
import type { PlacementDeps } from '../hosts/placement.js';
import { clearDoubt, markInDoubt, settlingCommand } from '../vm-records/in-doubt.js';
import { removeVm, setHalted, setResident } from '../vm-records/lifecycle.js';

export interface OutcomeDeps extends PlacementDeps {
  readonly table: MigrationTable;
  readonly log: Log;
  readonly now: () => Date;
}

/** What the migration did, in the task's other_config. */
export function showReport(task: CallTask, report: MigrationReport): void {
  const { copy, guestBytes, wireBytes, digests } = report;
  const shown = {
    ...(copy && figuresOf(copy)),
    convergence: report.convergence,
    ...compressionOf(report),
    emu_flags: JSON.stringify(report.emuFlags),
    cookies: JSON.stringify(report.cookies),
    guest_bytes: guestBytes,
    wire_bytes: wireBytes,
    vgpu_wire_bytes: report.vgpuWireBytes,
    ratio: guestBytes !== undefined && wireBytes ? (guestBytes / wireBytes).toFixed(3) : undefined,
    rounds: report.rounds,
    seconds: report.seconds,
    downtime_ms: report.downtimeMs,
    memory_intact: digests === undefined ? undefined : digests.source === digests.destination,
    digest_source: digests?.source,
    digest_destination: digests?.destination,
  };
  const entries = Object.entries(shown).filter(([, value]) => value !== undefined);
  task.putOtherConfig(Object.fromEntries(entries.map(([key, value]) => [key, String(value)])));
}

/** What compression comes to, as keys of the task's other_config. */
export function compressionOf({
  compressorAsked,
  compressorUsed,
  fallback,
}: CompressionReport): Record<string, string> {
  return defined({ compressor_asked: compressorAsked, compressor_used: compressorUsed, fallback });
}

/** How the copy goes, as keys of the task's other_config. */
export function figuresOf(figures: CopyFigures): Record<string, string> {
  return {
    rounds: String(figures.round),
    pages_left: String(figures.pagesLeft),
    pages_per_second: String(figures.pagesPerSecond),
    dirty_pages_per_second: String(figures.dirtyPagesPerSecond),
    expected_downtime_ms: String(figures.expectedDowntimeMs),
    guest_throttle: String(figures.throttlePercent),
    compression_level: figures.level,
  };
}

/** The error of a migration that has failed, with what to do about it. */
export function failureOf(
  row: Departure,
  { status, error }: Exclude<MigrationOutcome, { status: 'success' }>,
): XapiError {
  const cause = error.params.at(-1);
  const { uuid } = row.request;
  // Hosts know the VM by its uuid.
  const params = error.params.map((param) => (param === uuid ? row.vm : param));
  if (error.code !== 'VM_MIGRATE_FAILED' || cause === undefined) return fromWireError({ ...error, params });
  const advice =
    status === 'in-doubt'
      ? `VM ${uuid} is in doubt, and is settled when the hosts hear each other; where one is gone for good: ${settlingCommand(uuid)}`
      : `the logs of both hosts tell more: look for task=${row.task}`;
  return fromWireError({
    code: error.code,
    params: [...error.params.slice(0, -1), `${cause}; ${advice}`],
  });
}

/** How a departure has ended: as its source says, or `arrived`, as the VM has been seen to run at the destination. */
export type DepartureEnd = MigrationOutcome | { readonly status: 'arrived' };

/** Bring the records to a migration's end, and forget the migration; it stays known where it is in doubt. */
export async function applyOutcome(deps: OutcomeDeps, row: Departure, outcome: DepartureEnd): Promise<void> {
  const { db, table } = deps;
  if (outcome.status === 'arrived') return noteArrived(deps, row);
  if (db.find('VM', row.vm) !== undefined) {
    if (outcome.status === 'in-doubt') return keepInDoubt(deps, row, fromWireError(outcome.error).message);
    clearDoubt(deps, row.vm);
    if (outcome.status === 'success') await arrive(deps, row);
    else await stay(deps, row);
  }
  const saved = await db.saved().then(() => true, unsaved(deps, row));
  if (saved !== true) return table.forget(row.id);
  await table.remove(row.id).catch(unsaved(deps, row));
}

/** Nobody knows the end: mark the VM, and keep the migration's row for the end that comes later. */
async function keepInDoubt(deps: OutcomeDeps, row: Departure, reason: string): Promise<void> {
  const { db, table } = deps;
  if (!isAtRest(row)) db.update('VM', row.vm, { power_state: 'Paused' });
  markInDoubt(deps, row.vm, reason);
  await table.putDeparture({ ...row, accepted: true, inDoubt: true }).catch(unsaved(deps, row));
  await db.saved().catch(unsaved(deps, row));
}

/** The record is at the destination already, by what that host has said. */
async function noteArrived(deps: OutcomeDeps, row: Departure): Promise<void> {
  clearDoubt(deps, row.vm);
  tellOfMigration(deps, row);
  await deps.table.remove(row.id);
}

/**
 * What the records say in memory is true and counts, and is written with the next change. Where this daemon ends before that, the
 * migration's row is still there, and brings its end about again.
 */
function unsaved({ log }: OutcomeDeps, { id }: Departure): (error: unknown) => void {
  return (error) => log.error(`the end of migration ${id} is not written yet`, { error });
}

/** A VM that does not run stays as its record says until it has gone. */
export function isAtRest({ request }: Departure): boolean {
  return request.metadata.rest !== undefined;
}

async function arrive(deps: OutcomeDeps, row: Departure): Promise<void> {
  if (row.destination === undefined) {
    removeVm(deps.db, row.vm);
    return;
  }
  const powerState = row.request.metadata.paused === true ? 'Paused' : 'Running';
  const { resident_on, domid } = deps.db.get('VM', row.vm);
  const known = resident_on === row.destination && row.destination !== row.source ? domid : -1;
  setResident(deps.db, row.vm, { host: row.destination, powerState, domid: known }, deps.now());
  tellOfMigration(deps, row);
  await reconcileAt(deps, row, row.destination);
}

/** Tell that a VM has migrated within the pool. */
function tellOfMigration(deps: OutcomeDeps, { vm, source, destination }: Departure): void {
  if (destination === undefined) return;
  const route = `from ${hostNamed(deps.db, source)} to ${hostNamed(deps.db, destination)}`;
  tellOfVm(deps, 'VM_MIGRATED', vm, `has migrated ${route}`);
}

/**
 * Bring the record to where the VM is after a migration that failed: at the source, unless the hosts say otherwise. A host that
 * does not answer may have it, so a VM is only halted where every host that could have it says that it does not.
 */
async function stay(deps: OutcomeDeps, row: Departure): Promise<void> {
  if (isAtRest(row)) return;
  const hosts = [row.source, ...(row.destination === undefined ? [] : [row.destination])];
  let silent = false;
  for (const host of hosts) {
    const state = await deps.members.state(host).catch(() => undefined);
    if (state === undefined) silent = true;
    else if (state.domains.some((domain) => domain.uuid === row.request.uuid)) return reconcileAt(deps, row, host);
  }
  if (!silent) setHalted(deps.db, row.vm, deps.now());
}

/** A host that does not answer now brings the record to its state when it does. */
async function reconcileAt(deps: OutcomeDeps, row: Departure, host: Ref<'host'>): Promise<void> {
  await deps.members.reconcile(row.vm, host).catch((error: unknown) => {
    deps.log.warn(`VM ${row.request.uuid}: its host's word is still missing`, { error });
  });
}
