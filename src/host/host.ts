/** One host: its domains, the migrations that leave it and those that arrive, for its coordinator (host/service). */
import { availableParallelism } from 'node:os';
import type { Backend } from '../backend/backend.js';
import { XapiError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { DomainHandle, DomainInfo } from '../base/protocol/hypervisor-protocol.js';
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
  readonly log: Log;
}

/** What the XenAPI calls an operation of a coordinator that does not say it. */
function nameOf({ kind }: Operation): string {
  return kind === 'reboot' ? 'hard_reboot' : kind;
}

/** Make the host's service; its domains' changes are events from now on. */
export function createHost(deps: HostDeps): HostService {
  const { backend, events, migrations } = deps;
  const doubts = createDoubts(deps);
  const domainsHere = createHostDomains({ ...deps, isPassing });
  const outdate = (uuid: string, handle: DomainHandle): void => {
    deps.suspended.outdate(uuid, handle).catch((error: unknown) => deps.log.error('an old image stays', { error }));
  };
  backend.onDomainChange((change) => {
    if ('gone' in change) {
      if (!isPassing(change.gone)) events.emit({ kind: 'domain-gone', uuid: change.gone });
    } else if (change.state !== 'building' && !isPassing(change.uuid)) {
      events.emit({ kind: 'domain', uuid: change.uuid, state: change.state, handle: change.handle });
      if (change.state === 'running') outdate(change.uuid, change.handle);
      if (change.state === 'shutdown') migrations.guestEnded(change.uuid, change.ended ?? 'crash');
    }
  });
  const run = (operation: Operation, job: Job | undefined) => {
    const vm = vmOf(operation);
    return deps.jobs.run(job, { vm, operation: nameOf(operation) }, () =>
      deps.queue.run(vm, async () => {
        deps.log.info(operation.kind, { vm: vmUuid.safeParse(vm).data ?? '*' });
        await migrations.endEarlier(vm);
        await perform(deps, operation);
      }),
    );
  };
  /** Each VM's domain. A copy that has another name until its migration is over counts where no domain has the VM's own. */
  const visible = (domains: readonly DomainInfo[]): HostState['domains'] => {
    const built = domains.filter(({ state }) => state !== 'building');
    const own = new Set(built.map(({ uuid }) => uuid));
    return built.flatMap(({ uuid, state, handle, ended, inDoubt, stalled }) => {
      const shown = isPassing(uuid) ? (migrations.vmOf(handle) ?? deps.destination.vmOf(handle)) : uuid;
      if (shown === undefined || (shown !== uuid && own.has(shown))) return [];
      const why = { ...(inDoubt === undefined ? {} : { inDoubt }), ...(stalled === undefined ? {} : { stalled }) };
      return [{ uuid: shown, state, domid: handle.domid, ...(ended === undefined ? {} : { ended }), ...why }];
    });
  };
  const [cpu, bios, bootTime] = [describeCpu(), describeBios(), describeBootTime()];
  const startedAt = Math.floor(Date.now() / 1000);
  return {
    async state() {
      // Before the domains are listed: what is not on its way any more is among them, or will never be.
      const arriving = deps.destination.arriving();
      const busy = deps.jobs.list();
      const [memory, domains] = await Promise.all([backend.memory(), backend.list()]);
      const now = new Date();
      return {
        uuid: deps.uuid,
        name: deps.name,
        url: deps.url(),
        memoryTotal: memory.total,
        memoryFree: memory.free,
        cpus: availableParallelism(),
        clock: now.getTime(),
        utcOffset: utcOffsetAt(now),
        startedAt,
        machine: {
          cpu,
          bios,
          bootTime,
          interface: describeInterface(new URL(deps.url()).hostname.replace(/^\[|\]$/g, '')),
        },
        domains: visible(domains),
        leaving: migrations.leaving(),
        arriving,
        suspended: deps.suspended.list(),
        busy,
      };
    },
    start: (spec, paused, job) => run({ kind: 'start', spec, paused }, job),
    pause: (uuid, job) => run({ kind: 'pause', uuid }, job),
    unpause: (uuid, job) => run({ kind: 'unpause', uuid }, job),
    shutdown: (uuid, clean, job) => run({ kind: 'shutdown', uuid, clean }, job),
    reboot: (spec, clean, job) => run({ kind: 'reboot', spec, clean }, job),
    suspend: (uuid, job) => run({ kind: 'suspend', uuid }, job),
    resume: (uuid, paused, job) => run({ kind: 'resume', uuid, paused }, job),
    refuseJob: async (id) => deps.jobs.refuse(id),
    migrate: migrations.migrate,
    cancel: migrations.cancel,
    outcome: migrations.outcome,
    doubt: doubts.mark,
    async forceSettlement(uuid, runs) {
      if (await migrations.forceSettlement(uuid, runs)) return;
      if (await deps.destination.forceSettlement(uuid, runs)) return;
      await doubts.release(uuid, runs);
    },
    assertTurn: deps.destination.assertTurn,
    receive: deps.destination.receive,
    noted: deps.destination.noted,
    received: async (migrationId) => deps.destination.received(migrationId),
    refuseUnknown: deps.destination.refuseUnknown,
    storage: deps.storage,
    async callPlugin(plugin, fn, args) {
      if (plugin === 'domains') return domainsHere.call(fn, args);
      if (plugin !== 'fault') throw new XapiError('XENAPI_MISSING_PLUGIN', [plugin]);
      return deps.faults.call(fn, args);
    },
    events: events.after,
  };
}

/** Whether a uuid is one that a domain has only while it migrates. */
function isPassing(uuid: string): boolean {
  return uuid === temporaryUuid(uuid) || uuid === oldCopyUuid(uuid);
}
