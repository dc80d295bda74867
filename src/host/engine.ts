/**
 * A host put together: journal, queues, the migrations both ways, the service. It follows the configuration: what a migration
 * works with is read when it is queued or accepted, so a change of the configuration never touches one under way.
 */
import type { LookupFunction } from 'node:net';
import { join } from 'node:path';
import type { Backend } from '../backend/backend.js';
import type { Config } from '../base/config/config.js';
import type { Log } from '../base/log.js';
import { helperMark } from '../base/process/helper-process.js';
import type { Store } from '../base/store/store.js';
import type { DestinationDeps } from '../migrate/destination/incoming.js';
import { createDestination, fullAnnouncement, type MigrationDestination } from '../migrate/destination/migrations.js';
import { createRendezvous, type Rendezvous } from '../migrate/destination/rendezvous.js';
import type { Peers } from '../migrate/peers.js';
import type { DestinationState, SourceState } from '../migrate/protocol.js';
import type { SourceDeps, SourceSettings } from '../migrate/source/attempt.js';
import { createMigrations, type Migrations } from '../migrate/source/migrations.js';
import { xenopsPath } from '../wire/connection/channel.js';
import { findZstd, type ZstdCommand } from '../wire/connection/zstd-pipe.js';
import type { ImageLimits } from '../xenops/image.js';
import { type Journal, openJournal } from '../xenops/journal.js';
import { endLeftovers } from '../xenops/leftovers.js';
import { destroyUnfinished } from '../xenops/perform.js';
import { createQueue } from '../xenops/queue.js';
import { createSemaphore } from '../xenops/semaphore.js';
import { createSuspended, type Suspended } from '../xenops/suspended.js';
import { createFaultRules, type FaultRules } from './faults/rules.js';
import { createHost, isPassing } from './host.js';
import { createPeers } from './rpc/peers.js';
import { createHostEvents, type HostEvents, reserveEventNumbers } from './service/events.js';
import { createJobs } from './service/jobs.js';
import type { Secrets } from './service/secrets.js';
import type { HostService } from './service/service.js';
import { openLocalStorage } from './storage/storage.js';

export interface HostEngineInit {
  readonly uuid: string;
  readonly name: string;
  /** Gives the http URL of the host's port, which may not be known before the host listens. */
  readonly url: () => string;
  /** The configuration of now. */
  readonly config: () => Config;
  /** Gives the warning about `migration-compressor` where its value acts as another. */
  readonly compressorWarning: () => string | undefined;
  readonly store: Store;
  readonly backend: Backend;
  readonly secrets: Secrets;
  readonly log: Log;
  /** What this destination announces in VM.receive's reply; absent: everything that this version can do. */
  readonly announce?: DestinationDeps['announce'];
  /** What finds the addresses of the names that callers give; the system's where absent. */
  readonly lookup?: LookupFunction;
}

export interface HostEngine {
  readonly service: HostService;
  readonly destination: MigrationDestination;
  /** Answers the destinations of migrations from here. */
  readonly source: Pick<Migrations, 'mayRun'>;
  /** Takes the migration channels that the port's listener delivers. */
  readonly rendezvous: Rendezvous;
  /** The id of a migration from or to this host that has not ended; undefined where there is none. */
  migrating(): string | undefined;
  /** End, resume or settle what an earlier run of the daemon left behind; once, before the port opens. */
  recover(): Promise<void>;
  /** Look anew for the programs that the configuration names, after it has changed. */
  reload(): Promise<void>;
  /** Stop what can be stopped and wait for the rest. Domains stay. */
  close(): Promise<void>;
}

/** The states in which either side of a migration has ended. */
const endStates: ReadonlySet<string> = new Set<SourceState | DestinationState>(['done', 'failed', 'refused']);

/** What the parts of a host work with: settings are read from the configuration of now. */
interface Parts {
  readonly init: HostEngineInit;
  readonly journal: Journal;
  readonly events: HostEvents;
  readonly peers: Peers;
  readonly faults: FaultRules;
  readonly suspended: Suspended;
  readonly zstd: () => ZstdCommand;
  readonly limits: () => ImageLimits;
  readonly xenopsUrl: () => string;
}

/** Put a host together. */
export async function openHostEngine(init: HostEngineInit): Promise<HostEngine> {
  const { backend, config, log, store } = init;
  let zstd: ZstdCommand = await findZstd(config().zstd);
  if (zstd.standIn) log.warn(`no program ${config().zstd} in PATH: the zstd that comes with xenferry stands in`);
  const mark = helperMark(config().stateDir);
  const events = createHostEvents(init.uuid, await reserveEventNumbers(store));
  const limits = () => imageLimits(config(), mark);
  const suspended = createSuspended({
    ...{ backend, store, log, limits },
    directory: join(config().stateDir, 'suspend'),
  });
  const faults = createFaultRules({ allowed: () => config().faultInjection, hypervisorPid: backend.processId, log });
  const parts: Parts = {
    ...{ init, events, faults, suspended, limits },
    journal: openJournal(store),
    peers: createPeers(init.secrets, log, () => config().peerTimeout * 1000, init.lookup),
    zstd: () => zstd,
    xenopsUrl: () => `${init.url()}${xenopsPath}`,
  };
  const rendezvous = createRendezvous(log);
  const destination = openDestination(parts, rendezvous);
  const queue = createQueue(config().workerPoolSize);
  const semaphore = createSemaphore(() => config().migrationOutgoingLimit);
  const migrations = createMigrations({ queue, semaphore, tell: events.emit, source: () => sourceOf(parts) });
  const jobs = createJobs((id) => events.emit({ kind: 'job-ended', id }));
  const helper = { environment: mark, stopTimeoutMs: config().helperStopTimeout * 1000 };
  const local = openLocalStorage(join(config().stateDir, 'sr'), init.uuid, helper, log);
  const { storage } = local;
  return {
    service: createHost({
      ...{ ...init, queue, suspended, migrations, destination, events, storage, faults, jobs },
      shutdownTimeoutMs: () => config().vmShutdownTimeout * 1000,
    }),
    destination,
    source: migrations,
    rendezvous,
    migrating: () => parts.journal.rows().find(({ state }) => !endStates.has(state))?.migrationId,
    async recover() {
      const ended = await endLeftovers(mark);
      if (ended > 0) log.warn(`ended ${ended} helper processes that an earlier run of the daemon had left`);
      await destination.recover();
      await migrations.recover();
      await suspended.recover();
      await destroyUnfinished(init, (uuid) => !isPassing(uuid)).catch((error: unknown) => {
        log.error('what was begun and never whole stays until its VM is started', { error });
      });
      await local.recover();
    },
    async reload() {
      faults.reload();
      semaphore.recheck();
      zstd = await findZstd(config().zstd);
    },
    async close() {
      faults.close();
      events.close();
      await Promise.all([suspended.close(), migrations.close(), destination.close(), local.close()]);
    },
  };
}

/** Read the limits of saves and restores. @param environment marks the helpers as this host's */
function imageLimits(config: Config, environment: ImageLimits['environment']): ImageLimits {
  return {
    environment,
    stopTimeoutMs: config.helperStopTimeout * 1000,
    progressTimeoutMs: config.migrationProgressTimeout * 1000,
    suspendTimeoutMs: config.vmSuspendTimeout * 1000,
  };
}

/**
 * Open the destination side. Its queue is apart from the other one, so that two hosts that send to each other never wait for
 * one another.
 */
function openDestination(parts: Parts, rendezvous: Rendezvous): MigrationDestination {
  const { init, events } = parts;
  const { config, backend, log } = init;
  return createDestination({
    ...{ ...parts, backend, rendezvous, log },
    queue: createQueue(config().workerPoolSize),
    limit: () => config().migrationIncomingLimit,
    timeouts: () => ({
      acceptMs: config().migrationAcceptTimeout * 1000,
      stepMs: config().migrationStepTimeout * 1000,
    }),
    onEnded: (migrationId, taken) => events.emit({ kind: 'receive-ended', migrationId, taken }),
    announce: init.announce ?? fullAnnouncement,
  });
}

/** What a migration from here works with, as it is now. */
function sourceOf(parts: Parts): { readonly deps: SourceDeps; readonly settings: SourceSettings } {
  const { init, zstd, limits } = parts;
  const { backend, log } = init;
  const config = init.config();
  return {
    deps: { ...parts, backend, log, zstd: zstd(), helper: backend.saveHelper() },
    settings: {
      compressor: config.migrationCompressor,
      compressorWarning: init.compressorWarning(),
      compressionLevel: config.migrationCompressionLevel,
      convergence: {
        maxDowntimeMs: config.migrationMaxDowntime,
        maxRounds: config.migrationMaxRounds,
        strategy: config.migrationConvergence,
      },
      digest: config.migrationDigest,
      stepTimeoutMs: config.migrationStepTimeout * 1000,
      suspendTimeoutMs: config.vmSuspendTimeout * 1000,
      limits: limits(),
      keepAliveMs: config.keepaliveTime * 1000,
    },
  };
}
