/**
 * A host put together: journal, queues, the migrations both ways, the service. It follows the configuration: what a migration
 * works with is read when it is queued or accepted, so a change of the configuration never touches one under way.
 */
import { join } from 'node:path';
import type { Backend } from '../backend/backend.js';
import { emuProgram } from '../backend/emu-manager.js';
import type { Config } from '../base/config/config.js';
import type { Log } from '../base/log.js';
import { helperMark } from '../base/process/helper-process.js';
import type { Store } from '../base/store/store.js';
import type { DestinationDeps } from '../migrate/destination/incoming.js';
import { createDestination, fullAnnouncement, type MigrationDestination } from '../migrate/destination/migrations.js';
import { createRendezvous, type Rendezvous } from '../migrate/destination/rendezvous.js';
import type { DestinationState, SourceState } from '../migrate/protocol.js';
import { createMigrations, type Migrations } from '../migrate/source/migrations.js';
import { xenopsPath } from '../wire/connection/channel.js';
import { findZstd, type ZstdCommand } from '../wire/connection/zstd-pipe.js';
import type { ImageLimits } from '../xenops/image.js';
import { openJournal } from '../xenops/journal.js';
import { endLeftovers } from '../xenops/leftovers.js';
import { createQueue } from '../xenops/queue.js';
import { createTurns } from '../xenops/semaphore.js';
import { createSuspended } from '../xenops/suspended.js';
import { createFaultRules } from './faults/rules.js';
import { createHost } from './host.js';
import { createPeers } from './rpc/peers.js';
import { createHostEvents, reserveEventNumbers } from './service/events.js';
import { createJobs } from './service/jobs.js';
import type { Secrets } from './service/secrets.js';
import type { HostService } from './service/service.js';
import { openLocalStorage } from './storage/storage.js';

export interface HostEngineInit {
  readonly uuid: string;
  readonly name: string;
  /** http URL of the host's port; asked when it is needed, as the port may not be known yet. */
  readonly url: () => string;
  /** The configuration of now. */
  readonly config: () => Config;
  /** What there is to say of `migration-compressor`, where its value acts as another. */
  readonly compressorWarning: () => string | undefined;
  readonly store: Store;
  readonly backend: Backend;
  readonly secrets: Secrets;
  readonly log: Log;
  /** What this destination announces in VM.receive's reply; everything that this version can do where absent. */
  readonly announce?: DestinationDeps['announce'];
}

export interface HostEngine {
  readonly service: HostService;
  readonly destination: MigrationDestination;
  /** What destinations of migrations from here ask. */
  readonly source: Pick<Migrations, 'mayRun'>;
  /** Where the port's listener delivers migration channels. */
  readonly rendezvous: Rendezvous;
  /** The id of a migration from or to this host that has not ended; undefined where there is none. */
  migrating(): string | undefined;
  /** Once, before the port opens: end, resume or settle what an earlier run of the daemon left behind. */
  recover(): Promise<void>;
  /** The configuration has changed: look for its programs anew. */
  reload(): Promise<void>;
  /** Stop what can be stopped and wait for the rest. Domains stay. */
  close(): Promise<void>;
}

/** The states in which either side of a migration has ended. */
const endStates: ReadonlySet<string> = new Set<SourceState | DestinationState>(['done', 'failed', 'refused']);

/** Put a host together. */
export async function openHostEngine(init: HostEngineInit): Promise<HostEngine> {
  const { backend, config, log, store } = init;
  const journal = openJournal(store);
  const events = createHostEvents(init.uuid, await reserveEventNumbers(store));
  const rendezvous = createRendezvous(log);
  const peers = createPeers(init.secrets, log, () => config().peerTimeout * 1000);
  const faults = createFaultRules({
    allowed: () => config().faultInjection,
    hypervisorPid: backend.processId,
    log,
  });
  let zstd: ZstdCommand = await findZstd(config().zstd);
  if (zstd.standIn) log.warn(`no program ${config().zstd} in PATH: the zstd that comes with xenferry stands in`);
  const xenopsUrl = () => `${init.url()}${xenopsPath}`;
  const queue = createQueue(config().workerPoolSize);
  const outgoing = createTurns(() => config().migrationOutgoingLimit);
  const mark = helperMark(config().stateDir);
  const limits = (): ImageLimits => ({
    environment: mark,
    stopTimeoutMs: config().helperStopTimeout * 1000,
    progressTimeoutMs: config().migrationProgressTimeout * 1000,
    suspendTimeoutMs: config().vmSuspendTimeout * 1000,
  });
  const suspended = createSuspended({
    backend,
    store,
    directory: join(config().stateDir, 'suspend'),
    emu: () => emuProgram(config().emuManager),
    limits,
    log,
  });
  const destination = createDestination({
    backend,
    suspended,
    journal,
    rendezvous,
    faults,
    queue: createQueue(config().workerPoolSize),
    limit: () => config().migrationIncomingLimit,
    peers,
    emu: () => emuProgram(config().emuManager),
    zstd: () => zstd,
    limits,
    timeouts: () => ({
      acceptMs: config().migrationAcceptTimeout * 1000,
      stepMs: config().migrationStepTimeout * 1000,
    }),
    xenopsUrl,
    onEnded: (migrationId, taken) => events.emit({ kind: 'receive-ended', migrationId, taken }),
    announce: init.announce ?? fullAnnouncement,
    log,
  });
  const migrations = createMigrations({
    queue,
    turns: outgoing,
    tell: events.emit,
    source: () => ({
      deps: { backend, suspended, journal, peers, faults, zstd, emu: emuProgram(config().emuManager), xenopsUrl, log },
      settings: {
        compressor: config().migrationCompressor,
        compressorWarning: init.compressorWarning(),
        compressionLevel: config().migrationCompressionLevel,
        convergence: {
          maxDowntimeMs: config().migrationMaxDowntime,
          maxRounds: config().migrationMaxRounds,
          strategy: config().migrationConvergence,
        },
        digest: config().migrationDigest,
        stepTimeoutMs: config().migrationStepTimeout * 1000,
        suspendTimeoutMs: config().vmSuspendTimeout * 1000,
        limits: limits(),
        keepAliveMs: config().keepaliveTime * 1000,
      },
    }),
  });
  const jobs = createJobs((id) => events.emit({ kind: 'job-ended', id }));
  const helper = { environment: mark, stopTimeoutMs: config().helperStopTimeout * 1000 };
  const local = openLocalStorage(join(config().stateDir, 'sr'), init.uuid, helper, log);
  const { storage } = local;
  const service = createHost({ ...init, queue, suspended, migrations, destination, events, storage, faults, jobs });
  return {
    service,
    destination,
    source: migrations,
    rendezvous,
    migrating: () => journal.rows().find(({ state }) => !endStates.has(state))?.migrationId,
    async recover() {
      const ended = await endLeftovers(mark);
      if (ended > 0) log.warn(`ended ${ended} helper processes that an earlier run of the daemon had left`);
      await destination.recover();
      await migrations.recover();
      await suspended.recover();
      await local.recover();
    },
    async reload() {
      faults.reload();
      outgoing.recheck();
      zstd = await findZstd(config().zstd);
    },
    async close() {
      faults.close();
      events.close();
      await Promise.all([suspended.close(), migrations.close(), destination.close(), local.close()]);
    },
  };
}
