/** QEMU's own migration, by its machine protocol: what is set before one, and what it says while it goes. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Qmp, QmpEvent } from '../../backend/qemu/qmp.js';
import { XapiError } from '../../base/errors.js';

/** A rate that no link reaches, in bytes a second: by itself QEMU sends 128 MiB/s at most. */
const bandwidth = 2 ** 50;

type MigrationStatus = 'pre-switchover' | 'completed' | 'failed' | 'cancelled';

/** What `query-migrate` says, as far as it is used. */
export interface MigrationInfo {
  readonly status?: string;
  readonly 'error-desc'?: string;
  readonly 'expected-downtime'?: number;
  readonly downtime?: number;
  readonly 'cpu-throttle-percentage'?: number;
  readonly ram?: {
    readonly total: number;
    readonly remaining: number;
    readonly normal: number;
    readonly duplicate: number;
    readonly 'dirty-sync-count': number;
    readonly 'dirty-pages-rate': number;
    readonly 'pages-per-second': number;
    readonly 'page-size': number;
  };
}

/**
 * Set what a migration has, and unset all else: what an earlier one has set stays set.
 * @param downtimeMs the limit of the downtime
 */
export async function prepareMigration(qmp: Qmp, capabilities: readonly string[], downtimeMs: number): Promise<void> {
  const known = await qmp.execute<{ capability: string; state: boolean }[]>('query-migrate-capabilities');
  const wanted = known
    .filter(({ capability, state }) => state !== capabilities.includes(capability))
    .map(({ capability, state }) => ({ capability, state: !state }));
  // Those that go come first, as some exclude each other.
  for (const state of [false, true]) {
    const some = wanted.filter((each) => each.state === state);
    if (some.length > 0) await qmp.execute('migrate-set-capabilities', { capabilities: some });
  }
  await qmp.execute('migrate-set-parameters', { 'max-bandwidth': bandwidth, 'downtime-limit': downtimeMs });
}

/** Whether an event says that the migration has come to one of these. */
function isStatus(...statuses: readonly MigrationStatus[]): (event: QmpEvent) => boolean {
  return ({ event, data }) => event === 'MIGRATION' && statuses.some((status) => status === data.status);
}

/** The status that comes next of these. @throws INTERNAL_ERROR with QEMU's words where the migration fails, or the process ends */
export async function nextStatus(qmp: Qmp, status: 'pre-switchover' | 'completed'): Promise<void> {
  const event = await qmp.event(isStatus(status, 'failed', 'cancelled'));
  if (event.data.status === status) return;
  const info = await qmp.execute<MigrationInfo>('query-migrate').catch((): MigrationInfo => ({}));
  throw new XapiError('INTERNAL_ERROR', [
    `QEMU's migration ${event.data.status}: ${info['error-desc'] ?? 'no reason given'}`,
  ]);
}

/** Until QEMU has let go of a migration that is to end; its guest goes on by itself where QEMU had stopped it. */
export async function cancelMigration(qmp: Qmp): Promise<void> {
  await qmp.execute('migrate_cancel').catch(() => undefined);
  const deadline = performance.now() + cancelMs;
  while (performance.now() < deadline) {
    const { status } = await qmp.execute<MigrationInfo>('query-migrate').catch((): MigrationInfo => ({}));
    if (status === undefined || ended.has(status)) return;
    await delay(pollMs);
  }
}

const ended: ReadonlySet<string> = new Set(['none', 'cancelled', 'failed', 'completed']);
const cancelMs = 5_000;
const pollMs = 20;
