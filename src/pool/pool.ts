/** The pool on its coordinator: the database and everything that works on it, put together. */
import type { RecordOf, Ref } from '../../idl/index.js';
import { defined } from '../base/defined.js';
import { isOutOfSpace } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { Store } from '../base/store/store.js';
import type { HostEvent, HostService, HostState } from '../host/service/service.js';
import type { DispatchDeps } from '../model/dispatch-deps.js';
import { createMigrationSessions } from './access/migration-sessions.js';
import type { PasswordHash } from './access/password.js';
import { createSessions } from './access/sessions.js';
import { clearRows, type Database, openDatabase } from './database/database.js';
import { type Arrival, createMigrationTable, type Departure } from './database/migration-table.js';
import { createEvents } from './events/event-from.js';
import { createEventQueue } from './events/event-register.js';
import { createTasks } from './events/tasks.js';
import type { HandlerDeps } from './handlers/deps.js';
import { eventHandlers } from './handlers/event.js';
import { genericAccess } from './handlers/generic-access.js';
import { hostHandlers } from './handlers/host.js';
import { messageHandlers } from './handlers/message.js';
import { networkHandlers } from './handlers/network.js';
import { pbdHandlers } from './handlers/pbd.js';
import { pifHandlers } from './handlers/pif.js';
import { poolHandlers } from './handlers/pool.js';
import { roleHandlers } from './handlers/role.js';
import { sessionHandlers } from './handlers/session.js';
import { srHandlers } from './handlers/sr.js';
import { taskHandlers } from './handlers/task.js';
import { vbdHandlers } from './handlers/vbd.js';
import { vdiHandlers } from './handlers/vdi.js';
import { vgpuHandlers } from './handlers/vgpu.js';
import { vifHandlers } from './handlers/vif.js';
import { vmHandlers } from './handlers/vm/vm.js';
import { createClockWatch } from './hosts/clock-skew.js';
import { followHostOperations } from './hosts/host-allowed-operations.js';
import { createJobs, type JobRow } from './hosts/jobs.js';
import { createMembers, type Member, type Members } from './hosts/members.js';
import type { PoolMembership } from './hosts/membership.js';
import { createSecretRotation } from './hosts/secret-rotation.js';
import { createArrivals } from './migration/arrivals.js';
import { assertNotDeparting, withoutDeparting } from './migration/departing-vm.js';
import { createDepartures } from './migration/departures.js';
import { seed } from './seed.js';
import { provideLocalStorage } from './storage/local-storage.js';
import { accessTo, removeVdi } from './storage/sr-access.js';
import { followStorageOperations } from './storage/storage-allowed-operations.js';
import { createVolumeJournal, type OpenVolume } from './storage/volume-journal.js';
import { endGuest } from './vm-life/guest-end.js';
import { createDomainWatch } from './vm-life/unknown-domains.js';
import type { DomainDeps } from './vm-records/domain-spec.js';
import { separateMacSeeds } from './vm-records/mac-seed.js';
import { followAllowedOperations } from './vm-records/vm-allowed-operations.js';

export interface PoolDeps {
  readonly store: Store;
  /** Where the file with root's first password goes. */
  readonly stateDir: string;
  readonly log: Log;
  /** The coordinator's own host. */
  readonly own: HostService;
  /** The check of descriptions by the back end of the pool's hosts. */
  readonly checkSpec: DomainDeps['checkSpec'];
  /** A member's service at its URL. */
  readonly connect: (url: string) => HostService;
  readonly membership: PoolMembership;
  /** xenferry's version. */
  readonly version: string;
  /** How many VMs leave a host at once in host.evacuate; 10 where absent. */
  readonly evacuationBatchSize?: () => number;
  readonly now?: () => Date;
  /** Milliseconds that have passed, whatever is done to the clock. */
  readonly elapsed?: () => number;
  /** Milliseconds until a host that does not answer is asked again, after so many failures in a row. */
  readonly retryAfter?: (failures: number) => number;
}

export interface Pool {
  /** What the XenAPI's dispatch needs. */
  readonly dispatch: DispatchDeps;
  readonly db: Database;
  /** A member's daemon has started. */
  join(state: HostState, again?: boolean): Promise<Ref<'host'>>;
  close(): Promise<void>;
}

const collectEvery = 60_000;

/** Open the pool: load or seed its database, follow its hosts, take up what an earlier run left. */
export async function createPool(deps: PoolDeps): Promise<Pool> {
  const closed = new AbortController();
  const foundation = await layFoundation(deps);
  const services = createServices(deps, foundation, closed.signal);
  const { db, log, members, sessions, table, tasks } = services;
  const stopFollowing = [followAllowedOperations(db), followStorageOperations(db), followHostOperations(db)];
  await provideLocalStorage(foundation, foundation.thisHost(), deps.own.storage);
  services.jobs.resume();
  members.start();
  services.arrivals.resume();
  services.departures.resume();
  await db.saved();
  const collector = setInterval(() => {
    tasks.collect();
    sessions.collect();
  }, collectEvery).unref();

  return {
    db,
    dispatch: {
      rows: genericAccess(db, (cls, ref) => assertNotDeparting(db, table, cls, ref)),
      sessions,
      tasks,
      handlers: handlers(services),
      log,
      coordinatorAddress: () => undefined,
      isHostLevel: (message) => message === 'VM.receive',
    },
    join: members.join,
    async close() {
      clearInterval(collector);
      closed.abort();
      members.close();
      for (const stop of stopFollowing) stop();
      for (const [ref] of db.all('session')) sessions.logout(ref);
      sessions.close();
      await db.saved();
    },
  };
}

/** What needs no other host: the database with the coordinator's rows, and what works on it alone. */
type Foundation = Awaited<ReturnType<typeof layFoundation>>;

async function layFoundation(deps: PoolDeps) {
  const { store, log } = deps;
  const now = deps.now ?? (() => new Date());
  const db = await openDatabase(store, log);
  await separateMacSeeds(db, store.table<true>('upgraded'));
  const own = await deps.own.state();
  const thisHost = await seed(db, own, deps.version, now());
  const elapsed = deps.elapsed ?? (() => performance.now());
  const common = { db, checkSpec: deps.checkSpec, log, now, elapsed, thisHost: () => thisHost };
  const sessions = await createSessions({
    ...common,
    stateDir: deps.stateDir,
    passwords: store.table<PasswordHash>('passwords'),
    flushed: store.flushed,
  });
  return {
    ...common,
    ownUrl: own.url,
    sessions,
    migrationSessions: createMigrationSessions(sessions),
    tasks: createTasks(common),
    table: createMigrationTable(store.table<Departure>('migrations'), store.table<Arrival>('arrivals')),
  };
}

/** Make what follows the hosts, and what works with them; each may call the others once all are made. */
function createServices(deps: PoolDeps, foundation: Foundation, closed: AbortSignal): HandlerDeps {
  const { store, membership } = deps;
  const { db, log } = foundation;
  const members = followedMembers(deps, foundation, () => services);
  const common = { ...foundation, members };
  const services = {
    ...common,
    membership,
    rotation: createSecretRotation({ ...common, membership }),
    departures: createDepartures({ ...common, closed }),
    jobs: createJobs({ ...common, closed, table: store.table<JobRow>('jobs'), flushed: store.flushed }),
    arrivals: createArrivals({ ...common, flushed: store.flushed }),
    volumes: createVolumeJournal({
      db,
      log,
      table: store.table<OpenVolume>('volumes'),
      access: (sr) => accessTo(common, sr),
      removeRecord: (vdi) => removeVdi(db, vdi),
    }),
    events: createEvents(db),
    eventQueue: createEventQueue(db),
    evacuationBatchSize: deps.evacuationBatchSize ?? (() => 10),
  };
  return services;
}

/**
 * Make the pool's hosts, whose states and events the services hear of.
 * @param services asked for when a host is heard of
 */
function followedMembers(deps: PoolDeps, foundation: Foundation, services: () => HandlerDeps): Members {
  const { table, log, ownUrl, thisHost } = foundation;
  const report = (work: Promise<void>): void => {
    work.catch((error: unknown) => log.error('an event of a host has not been dealt with', { error }));
  };
  const watchClock = createClockWatch(foundation);
  const members: Members = createMembers({
    ...foundation,
    ...defined({ retryAfter: deps.retryAfter }),
    version: deps.version,
    own: { host: thisHost(), service: deps.own, url: ownUrl },
    connect: deps.connect,
    table: deps.store.table<Member>('members'),
    routeOf: table.routeOf,
    arrived(vm) {
      services().departures.arrived(vm);
      services().arrivals.arrived(vm);
    },
    onState(host, state) {
      services().jobs.look(host, state);
      watchClock(host, state);
      watchDomains(host, state);
    },
    onEvent(event: HostEvent) {
      report(services().departures.hear(event));
      report(services().arrivals.event(event));
    },
    onConnected: async (host, service) => {
      const { volumes, rotation, departures, arrivals } = services();
      await provideLocalStorage(foundation, host, service.storage);
      await volumes.reconcile(host);
      await rotation.connected(host);
      await departures.catchUp(host, service);
      await arrivals.catchUp(host);
    },
    onGuestEnd: (vm, how, host) => endGuest(services(), vm, how, host),
    onJoined: (host, service) => provideLocalStorage(foundation, host, service.storage),
  });
  const watchDomains = createDomainWatch({ ...foundation, members });
  return members;
}

/**
 * Remove what the store holds of a pool, once this host is no longer in it.
 * @param copy where a copy of the whole store is put before, if there are VMs
 * @returns whether there were
 */
export async function forgetPool(store: Store, copy: string): Promise<boolean> {
  const vms = [...store.table<{ record: RecordOf<'VM'> }>('rows.VM').entries()];
  const hadVms = vms.some(([, { record }]) => !record.is_a_template && !record.is_control_domain);
  if (hadVms) await store.copy(copy);
  await clearRows(store);
  for (const name of ['passwords', 'migrations', 'arrivals', 'members', 'volumes', 'jobs']) {
    const table = store.table(name);
    await store.putMany([...table.entries()].map(([id]) => table.change(id, undefined)));
  }
  return hadVms;
}

/** What they change is answered when it is durable; sessions and tasks are not meant to outlive the daemon, and events only read. */
function handlers(deps: HandlerDeps): DispatchDeps['handlers'] {
  const { db, log } = deps;
  const saving = <H extends object>(given: H, except?: Exceptions<H>): H => durable({ db, log }, given, except);
  return {
    session: sessionHandlers(deps),
    task: taskHandlers(deps),
    event: eventHandlers(deps),
    pool: saving(poolHandlers(deps)),
    message: saving(messageHandlers(deps)),
    VM: saving(withoutDeparting(db, deps.table, 'VM', vmHandlers(deps)), {
      own: ['clone', 'copy', 'provision'],
      atHost: [
        ...(['start', 'start_on', 'pause', 'unpause', 'suspend', 'resume', 'resume_on'] as const),
        ...(['clean_shutdown', 'hard_shutdown', 'shutdown', 'clean_reboot', 'hard_reboot'] as const),
      ],
    }),
    host: saving(hostHandlers(deps), { own: ['call_plugin'] }),
    network: saving(networkHandlers(deps)),
    PIF: saving(pifHandlers(deps)),
    SR: saving(srHandlers(deps)),
    PBD: saving(pbdHandlers(deps)),
    VDI: saving(vdiHandlers(deps), { own: ['create', 'clone', 'copy', 'snapshot', 'resize'] }),
    role: saving(roleHandlers(deps)),
    VIF: saving(withoutDeparting(db, deps.table, 'VIF', vifHandlers(deps))),
    VBD: saving(withoutDeparting(db, deps.table, 'VBD', vbdHandlers(deps))),
    VGPU: saving(withoutDeparting(db, deps.table, 'VGPU', vgpuHandlers(deps))),
  };
}

/** Handlers whose answer does not wait for what was changed. */
interface Exceptions<H> {
  /** They see to it by themselves, and undo what is not durable: what is written later must not make them fail. */
  readonly own?: readonly (keyof H & string)[];
  /** What they have done at a host is done, and is seen there again (pool/hosts/jobs.ts) where the disk has no room for the records. */
  readonly atHost?: readonly (keyof H & string)[];
}

/** Messages that ask and change nothing. */
const asks = /^(assert|compute|get|list|query|retrieve)_/;

/** What a class's handlers change is answered when it is durable. */
function durable<H extends object>(
  { db, log }: Pick<HandlerDeps, 'db' | 'log'>,
  handlers: H,
  { own = [], atHost = [] }: Exceptions<H> = {},
): H {
  const without = new Set<string>(own);
  const standing = new Set<string>(atHost);
  const wrapped = Object.entries(handlers).map(([name, handler]) => {
    if (without.has(name) || asks.test(name)) return [name, handler];
    const thenSaved = async (...args: unknown[]) => {
      const result: unknown = await handler(...args);
      await db.saved().catch((error: unknown) => {
        if (!(standing.has(name) && isOutOfSpace(error))) throw error;
        log.warn(`the records of ${name} are written when there is space`, { error });
      });
      return result;
    };
    return [name, thenSaved];
  });
  return Object.fromEntries(wrapped) as H;
}
