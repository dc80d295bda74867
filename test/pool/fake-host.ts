/** A host in memory, for the pool's tests: domains that change at once, migrations that end as the test says. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DomainSpec, DomainState, GuestEnd } from '../../src/base/domain.js';
import { XapiError } from '../../src/base/errors.js';
import { nullLog } from '../../src/base/log.js';
import type { Found } from '../../src/host/service/domains.js';
import { createJobs, type Job } from '../../src/host/service/jobs.js';
import type { MachineDescription } from '../../src/host/service/machine.js';
import type {
  HostEvent,
  HostService,
  HostState,
  MigrateRequest,
  MigrationOutcome,
  ReceiveReply,
  ReceiveRequest,
} from '../../src/host/service/service.js';
import { type HostStorage, openLocalStorage } from '../../src/host/storage/storage.js';
import type { Fate } from '../../src/migrate/protocol.js';
import { testLimits } from '../support/limits.js';
import { foundSpec, machine } from './fake-data.js';

export { foundSpec, report } from './fake-data.js';

export interface FakeHost {
  readonly service: HostService;
  /** Of its storage, which is a real one; removed by `close`. */
  readonly dir: string;
  close(): void;
  readonly url: string;
  readonly started: DomainSpec[];
  readonly migrations: MigrateRequest[];
  readonly received: ReceiveRequest[];
  readonly cancelled: string[];
  /** Marked in doubt, with the reasons; settled by force. */
  readonly doubted: [uuid: string, reason: string][];
  readonly settled: [uuid: string, runs: string][];
  readonly machine: MachineDescription;
  /** What became of migrations to it. */
  readonly fates: Map<string, Fate>;
  /** VMs that it may yet take. */
  readonly arriving: string[];
  /** VMs that it has sent, of which it knows no outcome. */
  readonly leaving: string[];
  /** VMs that its plugin `domains` says to migrate. */
  readonly held: string[];
  /** What that plugin lists. */
  found(): Found[];
  /** What its clock shows, in milliseconds since 1970. */
  clock: () => number;
  /** How far its time zone is ahead of UTC, in minutes. */
  utcOffset: number | undefined;
  /** How often it was asked for its state. */
  looks: number;
  reachable: boolean;
  /** Awaited in the lane of a VM before what it is named for. */
  before: (operation: string) => Promise<void>;
  /** It is of a version that does not say what it is doing. */
  earlier: boolean;
  memoryFree: number;
  /** It is nobody's turn to come here. */
  busy: boolean;
  /** What the next calls of `migrate` or `receive` throw. */
  refuse: XapiError | undefined;
  domain(uuid: string, state: DomainState | undefined, inDoubt?: string): void;
  /** A domain is paused though nobody has asked for that. */
  stall(uuid: string, why: string): void;
  /** Its domain is gone, of which it says nothing. */
  lose(uuid: string): void;
  /** The guest of a domain ends by itself. */
  endGuest(uuid: string, how: GuestEnd): void;
  emit(event: HostEvent): void;
  /** End a migration, as `outcome` tells it from then on. */
  end(migrationId: string, outcome: MigrationOutcome): void;
  state(): HostState;
}

export const gib = 2 ** 30;

export function fakeHost(name: string, uuid: string, port: number): FakeHost {
  const dir = mkdtempSync(join(tmpdir(), 'xenferry-fake-host-'));
  const domains = new Map<
    string,
    { state: DomainState; domid: number; ended?: GuestEnd; inDoubt?: string | undefined; stalled?: string }
  >();
  const suspended = new Set<string>();
  const events: HostEvent[] = [];
  const outcomes = new Map<string, MigrationOutcome>();
  let sleepers: (() => void)[] = [];
  let domids = 0;

  const emit = (event: HostEvent): void => {
    events.push(event);
    const woken = sleepers;
    sleepers = [];
    for (const wake of woken) wake();
  };
  const domain = (vm: string, state: DomainState | undefined, inDoubt?: string): void => {
    const known = domains.get(vm);
    if (state === undefined) {
      domains.delete(vm);
      emit({ kind: 'domain-gone', uuid: vm });
      return;
    }
    if (known === undefined) domids += 1;
    const domid = known?.domid ?? domids;
    domains.set(vm, { state, domid, inDoubt });
    emit({ kind: 'domain', uuid: vm, state, handle: { instance: uuid, domid } });
  };
  const assertReachable = (): void => {
    if (!host.reachable) throw new XapiError('INTERNAL_ERROR', [`${name} does not answer`]);
  };
  const assertWilling = (): void => {
    if (host.refuse !== undefined) throw host.refuse;
  };
  const jobs = createJobs((id) => emit({ kind: 'job-ended', id }));
  /** Of a host that does not answer when it is done nobody hears it. */
  const answered = async <T>(work: () => Promise<T>): Promise<T> => {
    assertReachable();
    try {
      return await work();
    } finally {
      assertReachable();
    }
  };
  const lane = (operation: string, vm: string, job: Job | undefined, work: () => void): Promise<void> =>
    answered(() =>
      jobs.run(job, { vm, operation }, async () => {
        await host.before(operation);
        work();
      }),
    );

  const service: HostService = {
    async state() {
      assertReachable();
      host.looks += 1;
      return host.state();
    },
    start: (spec, paused, job) =>
      lane('start', spec.uuid, job, () => {
        assertWilling();
        host.started.push(spec);
        domain(spec.uuid, paused ? 'paused' : 'running');
      }),
    pause: (vm, job) => lane('pause', vm, job, () => domain(vm, 'paused')),
    unpause: (vm, job) => lane('unpause', vm, job, () => domain(vm, 'running')),
    shutdown: (vm, _clean, job) =>
      lane('shutdown', vm, job, () => {
        suspended.delete(vm);
        domain(vm, undefined);
      }),
    reboot: (spec, _clean, job) =>
      lane('reboot', spec.uuid, job, () => {
        domain(spec.uuid, undefined);
        assertWilling();
        domain(spec.uuid, 'running');
      }),
    suspend: (vm, job) =>
      lane('suspend', vm, job, () => {
        assertWilling();
        suspended.add(vm);
        domain(vm, undefined);
      }),
    resume: (vm, paused, job) =>
      lane('resume', vm, job, () => {
        assertWilling();
        if (!suspended.delete(vm)) throw new XapiError('VM_HAS_NO_SUSPEND_VDI', [vm]);
        domain(vm, paused ? 'paused' : 'running');
      }),
    async refuseJob(id) {
      assertReachable();
      if (host.earlier) throw new XapiError('MESSAGE_METHOD_UNKNOWN', ['refuseJob']);
      return jobs.refuse(id);
    },
    async migrate(request) {
      assertReachable();
      assertWilling();
      host.migrations.push(request);
    },
    async cancel(id) {
      assertReachable();
      host.cancelled.push(id);
    },
    async outcome(id) {
      assertReachable();
      return outcomes.get(id);
    },
    async doubt(vm, reason) {
      assertReachable();
      if (!domains.has(vm)) return;
      host.doubted.push([vm, reason]);
      domain(vm, 'paused', reason);
    },
    async forceSettlement(vm, runs) {
      assertReachable();
      assertWilling();
      host.settled.push([vm, runs]);
      if (host.leaving.includes(vm)) host.leaving.splice(host.leaving.indexOf(vm), 1);
      const known = domains.get(vm);
      if (known === undefined && runs === 'elsewhere') return;
      if (known?.inDoubt === undefined) throw new XapiError('OPERATION_NOT_ALLOWED', [`${vm} is not in doubt`]);
      domain(vm, runs === 'here' ? 'running' : undefined);
    },
    async assertTurn() {
      assertReachable();
      if (host.busy) throw new XapiError('TOO_BUSY', []);
    },
    async receive(request): Promise<ReceiveReply> {
      assertReachable();
      assertWilling();
      if (host.fates.get(request.migrationId) === 'refused') {
        throw new XapiError('OPERATION_NOT_ALLOWED', [`migration ${request.migrationId} was refused`]);
      }
      host.fates.set(request.migrationId, 'open');
      host.received.push(request);
      const at = `${host.url}/services/xenops/migrate`;
      return { control: `${at}/vm`, memory: `${at}/mem`, vgpu: {}, token: 'secret', accepts: [], restoredAck: true };
    },
    async noted(id) {
      assertReachable();
      host.fates.delete(id);
    },
    async received(id) {
      assertReachable();
      return host.fates.get(id) ?? 'unknown';
    },
    async refuseUnknown(id) {
      assertReachable();
      const fate = host.fates.get(id) ?? 'refused';
      host.fates.set(id, fate);
      return fate;
    },
    storage: whenReachable(openLocalStorage(join(dir, 'sr'), 'host', testLimits, nullLog).storage, assertReachable),
    async callPlugin(plugin, fn, args) {
      assertReachable();
      if (plugin !== 'domains') return JSON.stringify({ plugin, fn, args });
      if (fn === 'destroy') await service.shutdown(args.uuid ?? '', false);
      return JSON.stringify(fn === 'list' ? host.found() : null);
    },
    async events(since, timeoutSeconds) {
      assertReachable();
      if (since >= events.length && timeoutSeconds > 0) {
        await new Promise<void>((wake) => {
          const timer = setTimeout(wake, timeoutSeconds * 1000).unref();
          sleepers.push(() => {
            clearTimeout(timer);
            wake();
          });
        });
      }
      assertReachable();
      return { events: events.slice(since), next: events.length };
    },
  };
  const host: FakeHost = {
    service,
    before: async () => undefined,
    earlier: false,
    dir,
    close: () => rmSync(dir, { recursive: true, force: true }),
    url: `http://127.0.0.1:${port}`,
    started: [],
    migrations: [],
    received: [],
    busy: false,
    cancelled: [],
    doubted: [],
    settled: [],
    machine,
    arriving: [],
    fates: new Map(),
    leaving: [],
    held: [],
    found: () =>
      [...domains, ...[...suspended].map((vm) => [vm, { state: 'suspended' as const, domid: undefined }] as const)].map(
        ([vm, { state, domid, ...rest }]): Found => ({
          ...{ uuid: vm, state: state as Found['state'], spec: foundSpec(vm) },
          ...(domid === undefined ? {} : { domid }),
          ...('inDoubt' in rest && rest.inDoubt !== undefined ? { inDoubt: rest.inDoubt } : {}),
          ...(host.held.includes(vm) ? { held: 'it migrates' } : {}),
        }),
      ),
    clock: () => Date.now(),
    utcOffset: 0,
    looks: 0,
    reachable: true,
    memoryFree: 8 * gib,
    refuse: undefined,
    domain,
    lose: (vm) => void domains.delete(vm),
    stall(vm, why) {
      const domid = domains.get(vm)?.domid ?? 0;
      domains.set(vm, { state: 'paused', domid, stalled: why });
      emit({ kind: 'domain', uuid: vm, state: 'paused', handle: { instance: uuid, domid } });
    },
    endGuest(vm, how) {
      domains.set(vm, { state: 'shutdown', domid: domains.get(vm)?.domid ?? 0, ended: how });
      emit({
        kind: 'domain',
        uuid: vm,
        state: 'shutdown',
        handle: { instance: uuid, domid: domains.get(vm)?.domid ?? 0 },
      });
    },
    emit,
    end(migrationId, outcome) {
      outcomes.set(migrationId, outcome);
      emit({ kind: 'migration-ended', migrationId, outcome });
    },
    state: () => ({
      uuid,
      name,
      url: host.url,
      memoryTotal: 16 * gib,
      memoryFree: host.memoryFree,
      cpus: 4,
      clock: host.clock(),
      utcOffset: host.utcOffset,
      startedAt: 1_700_000_000,
      machine,
      domains: [...domains].map(([vm, domain]) => ({ uuid: vm, ...domain })),
      arriving: [...host.arriving],
      leaving: [...host.leaving],
      suspended: [...suspended],
      busy: host.earlier ? undefined : jobs.list(),
    }),
  };
  return host;
}

function whenReachable(storage: HostStorage, assertReachable: () => void): HostStorage {
  const calls = Object.entries(storage).map(([name, call]: [string, (...args: never[]) => Promise<unknown>]) => {
    const guarded = async (...args: never[]) => {
      assertReachable();
      return call(...args);
    };
    return [name, guarded];
  });
  return Object.fromEntries(calls) as HostStorage;
}
