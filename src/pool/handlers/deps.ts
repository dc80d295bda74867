/** What the handlers of all classes work with. */
import type { Ref } from '../../../idl/index.js';
import type { Log } from '../../base/log.js';
import type { MigrationSessions } from '../access/migration-sessions.js';
import type { SessionService } from '../access/sessions.js';
import type { Database } from '../database/database.js';
import type { MigrationTable } from '../database/migration-table.js';
import type { Events } from '../events/event-from.js';
import type { EventQueue } from '../events/event-register.js';
import type { TaskService } from '../events/tasks.js';
import type { PoolJobs } from '../hosts/jobs.js';
import type { PoolMembership } from '../hosts/membership.js';
import type { PlacementDeps } from '../hosts/placement.js';
import type { SecretRotation } from '../hosts/secret-rotation.js';
import type { Arrivals } from '../migration/arrivals.js';
import type { Departures } from '../migration/departures.js';
import type { VolumeJournal } from '../storage/volume-journal.js';
import type { DomainDeps } from '../vm-records/domain-spec.js';

export interface HandlerDeps extends PlacementDeps, DomainDeps {
  readonly db: Database;
  readonly sessions: SessionService;
  readonly migrationSessions: MigrationSessions;
  readonly tasks: TaskService;
  readonly events: Events;
  readonly eventQueue: EventQueue;
  readonly membership: PoolMembership;
  readonly rotation: SecretRotation;
  readonly table: MigrationTable;
  readonly departures: Departures;
  readonly arrivals: Arrivals;
  readonly volumes: VolumeJournal;
  readonly jobs: PoolJobs;
  /** How many VMs leave a host at once in host.evacuate, where the caller does not say. */
  readonly evacuationBatchSize: () => number;
  /** The coordinator. */
  readonly thisHost: () => Ref<'host'>;
  readonly now: () => Date;
  readonly log: Log;
}
