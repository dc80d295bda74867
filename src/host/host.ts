/** What one host does for its coordinator (host/service): its domains, the migrations that leave and those that arrive. */
import { availableParallelism } from 'node:os';
import type { Backend } from '../backend/backend.js';
import { defined } from '../base/defined.js';
import type { DomainInfo } from '../base/domain.js';
import { XapiError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { MigrationDestination } from '../migrate/destination/migrations.js';
import { uuid as vmUuid } from '../migrate/metadata.js';
import { oldCopyUuid, temporaryUuid } from '../migrate/protocol.js';
import type { Migrations } from '../migrate/source/migrations.js';
import { utcOffsetAt } from '../model/value.js';
import { type Operation, vmOf } from '../xenops/operations.js';
import { perform } from '../xenops/perform.js';
import type { Queue } from '../xenops/queue.js';
import type { Suspended } from '../xenops/suspended.js';
import type { FaultRules } from './faults/rules.js';
import { createHostDomains } from './service/domains.js';
import type { HostEvents } from './service/events.js';
import { createDoubts } from './service/in-doubt.js';
import type { Job, Jobs } from './service/jobs.js';
import { describeBios, describeBootTime, describeCpu, describeInterface } from './service/machine.js';
import type { HostService, HostState } from './service/service.js';
import type { HostStorage } from './storage/storage.js';

export interface HostDeps {
  readonly uuid: string;
  readonly name: string;
  /** http URL of the host's port. */
  readonly url: () => string;
  readonly backend: Backend;
  readonly queue: Queue;
  readonly suspended: Suspended;
  readonly migrations: Migrations;
  readonly destination: MigrationDestination;
  readonly events: HostEvents;
  readonly storage: HostStorage;
  readonly faults: FaultRules;
  readonly jobs: Jobs;
  /** How long a guest has to shut down when it is asked to. */
  readonly shutdownTimeoutMs: () => number;
  readonly log: Log;
}

/** The XenAPI's name of an operation, for a coordinator of an earlier version, which sends none. */
function nameOf({ kind }: Operation): string {
  return kind === 'reboot' ? 'hard_reboot' : kind;
}

/** Make the host's service; its domains' changes are events from now on. */
export function createHost(deps: HostDeps): HostService {
  const { migrations, destination } = deps;
  const doubts = createDoubts(deps);
  const domainsHere = createHostDomains({ ...deps, isPassing });
  const describe = createDescription(deps);
  const run = (operation: Operation, job: Job | undefined) => runOperation(deps, operation, job);
  deps.backend.onDomainChange((change) => tellChange(deps, change));
  return {
    state: () => stateOf(deps, describe),
    start: async (spec, paused, job) => run({ kind: 'start', spec: deps.backend.checkSpec(spec), paused }, job),
    pause: (uuid, job) => run({ kind: 'pause', uuid }, job),
    unpause: (uuid, job) => run({ kind: 'unpause', uuid }, job),
    shutdown: (uuid, clean, job) => run({ kind: 'shutdown', uuid, clean }, job),
    reboot: async (spec, clean, job) => run({ kind: 'reboot', spec: deps.backend.checkSpec(spec), clean }, job),
    suspend: (uuid, job) => run({ kind: 'suspend', uuid }, job),
    resume: (uuid, paused, job) => run({ kind: 'resume', uuid, paused }, job),
    refuseJob: async (id) => deps.jobs.refuse(id),
    migrate: migrations.migrate,
    cancel: migrations.cancel,
    outcome: migrations.outcome,
    doubt: doubts.mark,
    async forceSettlement(uuid, runs) {
      if (await migrations.forceSettlement(uuid, runs)) return;
      if (await destination.forceSettlement(uuid, runs)) return;
      await doubts.release(uuid, runs);
    },
    assertTurn: destination.assertTurn,
    receive: destination.receive,
    noted: destination.noted,
    received: async (migrationId) => destination.received(migrationId),
    refuseUnknown: destination.refuseUnknown,
    storage: deps.storage,
    async callPlugin(plugin, fn, args) {
      if (plugin === 'domains') return domainsHere.call(fn, args);
      if (plugin !== 'fault') throw new XapiError('XENAPI_MISSING_PLUGIN', [plugin]);
      return deps.faults.call(fn, args);
    },
    events: deps.events.after,
  };
}

/** A domain as it is now, or the uuid of one that is gone. */
type DomainChange = Parameters<Parameters<Backend['onDomainChange']>[0]>[0];

/** Tell the coordinator of a domain that has changed, and let go of what the change makes out of date. */
function tellChange({ events, migrations, suspended, log }: HostDeps, change: DomainChange): void {
  if ('gone' in change) {
    if (!isPassing(change.gone)) events.emit({ kind: 'domain-gone', uuid: change.gone });
    return;
  }
  const { uuid, state, handle } = change;
  if (state === 'building' || isPassing(uuid)) return;
  events.emit({ kind: 'domain', uuid, state, handle });
  if (state === 'running') {
    suspended.outdate(uuid, handle).catch((error: unknown) => log.error('an old image stays', { error }));
  }
  if (state === 'shutdown') migrations.guestEnded(uuid, change.ended ?? 'crash');
}

/** Perform an operation as a job, in its VM's lane, once earlier migrations of the VM are undone. */
function runOperation(deps: HostDeps, operation: Operation, job: Job | undefined): Promise<void> {
  const vm = vmOf(operation);
  return deps.jobs.run(job, { vm, operation: nameOf(operation) }, () =>
    deps.queue.run(vm, async () => {
      deps.log.info(operation.kind, { vm: vmUuid.safeParse(vm).data ?? '*' });
      await deps.migrations.endEarlier(vm);
      await perform(deps, operation);
    }),
  );
}

/** The part of a host's state for which the back end is not asked. */
type Description = Pick<HostState, 'uuid' | 'name' | 'url' | 'cpus' | 'clock' | 'utcOffset' | 'startedAt' | 'machine'>;

/** Look at the machine once. @returns what describes the host, as it is when that is asked for */
function createDescription({ uuid, name, url }: HostDeps): () => Description {
  const [cpu, bios, bootTime] = [describeCpu(), describeBios(), describeBootTime()];
  const startedAt = Math.floor(Date.now() / 1000);
  return () => {
    const now = new Date();
    const address = new URL(url()).hostname.replace(/^\[|\]$/g, '');
    return {
      uuid,
      name,
      url: url(),
      cpus: availableParallelism(),
      clock: now.getTime(),
      utcOffset: utcOffsetAt(now),
      startedAt,
      machine: { cpu, bios, bootTime, interface: describeInterface(address) },
    };
  };
}

async function stateOf(deps: HostDeps, describe: () => Description): Promise<HostState> {
  const { backend, migrations, destination } = deps;
  // Read before the domains are listed: a VM that has stopped arriving by then is among the domains, or never will be.
  const arriving = destination.arriving();
  const busy = deps.jobs.list();
  const [memory, domains] = await Promise.all([backend.memory(), backend.list()]);
  return {
    ...describe(),
    backend: backend.name,
    memoryTotal: memory.total,
    memoryFree: memory.free,
    domains: visible(deps, domains),
    leaving: migrations.leaving(),
    arriving,
    suspended: deps.suspended.list(),
    busy,
  };
}

/** The domain of each VM. A copy under a temporary uuid counts where no domain has the VM's own uuid. */
function visible({ migrations, destination }: HostDeps, domains: readonly DomainInfo[]): HostState['domains'] {
  const built = domains.filter(({ state }) => state !== 'building');
  const own = new Set(built.map(({ uuid }) => uuid));
  return built.flatMap(({ uuid, state, handle, ended, inDoubt, stalled }) => {
    const shown = isPassing(uuid) ? (migrations.vmOf(handle) ?? destination.vmOf(handle)) : uuid;
    if (shown === undefined || (shown !== uuid && own.has(shown))) return [];
    return [{ uuid: shown, state, domid: handle.domid, ...defined({ ended, inDoubt, stalled }) }];
  });
}

/** Whether a uuid is one that a domain has only while it migrates. */
export function isPassing(uuid: string): boolean {
  return uuid === temporaryUuid(uuid) || uuid === oldCopyUuid(uuid);
}
