/** What the handlers of all classes work with. */
import type { Ref } from '../../idl/index.js';
import type { Log } from '../base/log.js';
import type { Database } from './database.js';
import type { Events } from './event.js';
import type { EventQueue } from './event-queue.js';
import type { ForwardDeps } from './forward.js';
import type { PoolMembership } from './membership.js';
import type { MigrationTable } from './migration-table.js';
import type { SecretRotation } from './secret-rotation.js';
import type { SessionService } from './session.js';
import type { TaskService } from './task.js';
import type { VmMigrate } from './vm-migrate.js';
import type { VmReceive } from './vm-receive.js';
import type { VolumeJournal } from './volume-journal.js';

export interface HandlerDeps extends ForwardDeps {
  readonly db: Database;
  readonly sessions: SessionService;
  readonly tasks: TaskService;
  readonly events: Events;
  readonly eventQueue: EventQueue;
  readonly membership: PoolMembership;
  readonly rotation: SecretRotation;
  readonly table: MigrationTable;
  readonly vmMigrate: VmMigrate;
  readonly vmReceive: VmReceive;
  readonly volumes: VolumeJournal;
  /** How many VMs leave a host at once in host.evacuate, where the caller does not say. */
  readonly evacuationBatchSize: () => number;
  /** The coordinator. */
  readonly thisHost: () => Ref<'host'>;
  readonly now: () => Date;
  readonly log: Log;
}
