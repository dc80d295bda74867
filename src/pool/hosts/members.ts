/**
 * The coordinator's view of its hosts: how each is reached, whether it answers, and what happens on it. Each host is followed
 * by a long poll of its events; a host that does not answer is shown as not live and asked again, and nothing is said of its
 * VMs until it answers.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Ref } from '../../../idl/index.js';
import { within } from '../../base/deadline.js';
import { invalidValue, messageOf, XapiError } from '../../base/errors.js';
import type { GuestEnd } from '../../base/protocol/hypervisor-protocol.js';
import type { Table } from '../../base/store/store.js';
import { isProgress } from '../../host/service/events.js';
import type { HostEvent, HostService, HostState } from '../../host/service/service.js';
import { nullRef } from '../../model/value.js';
import type { Database } from '../database/database.js';
import { markNotLive, putHost, putMetrics } from './host-records.js';
import {
  type Findings,
  howEnded,
  type ReconcileDeps,
  reconcileHost,
  reconcileStray,
  reconcileVm,
} from './reconcile.js';

export interface Member {
  /** http URL of the host's port. */
  readonly url: string;
}

export interface MembersDeps extends ReconcileDeps {
  readonly version: string;
  readonly own: { readonly host: Ref<'host'>; readonly service: HostService; readonly url: string };
  readonly connect: (url: string) => HostService;
  /** Members by their hosts' uuids. */
  readonly table: Table<Member>;
  /** Called with what each host says of itself, as it comes. */
  readonly onState: (host: Ref<'host'>, state: HostState) => void;
  /** Called with every event that is not about a domain. */
  readonly onEvent: (event: HostEvent) => void;
  /** Called when a host answers for the first time, and again whenever it was lost in between. */
  readonly onConnected: (host: Ref<'host'>, service: HostService) => Promise<void>;
  /** The guest of a VM on a host has ended by itself: bring about what its record says. */
  readonly onGuestEnd: (vm: Ref<'VM'>, how: GuestEnd, host: Ref<'host'>) => Promise<void>;
  /** A host has started: make what it needs, before it is followed. */
  readonly onJoined: (host: Ref<'host'>, service: HostService) => Promise<void>;
  /** Milliseconds to wait after so many failures in a row. */
  readonly retryAfter?: (failures: number) => number;
}

export interface Members {
  /** Begin to follow the coordinator's own host and the members that are known. */
  start(): void;
  /** A member's daemon has started: make or update its rows and follow it. @param again it only asks whether it is known, where it is */
  join(state: HostState, again?: boolean): Promise<Ref<'host'>>;
  /** @throws HANDLE_INVALID, HOST_OFFLINE for a host of which no address is known */
  service(host: Ref<'host'>): HostService;
  url(host: Ref<'host'>): string;
  /** The host's state now. @throws HOST_OFFLINE [host] where it does not answer */
  state(host: Ref<'host'>): Promise<HostState>;
  /** Bring a VM's record, which the caller holds, to its domain on a host, where a guest that has ended is seen to. @throws HOST_OFFLINE */
  reconcile(vm: Ref<'VM'>, host: Ref<'host'>): Promise<void>;
  /** Ask a host anew that is shown as not live. @returns whether it answers, or has come back meanwhile */
  revive(host: Ref<'host'>): Promise<boolean>;
  /** Follow a host no more; it is no longer of the pool. @param removeRows removes its rows */
  forget(host: Ref<'host'>, removeRows: () => void): Promise<void>;
  close(): void;
}

interface Followed {
  readonly service: HostService;
  readonly url: string;
  readonly stop: AbortController;
}

/** A host that goes away without a word is seen when it does not answer a poll, or a look at its state, in time. */
const pollSeconds = 4;
const answerMs = 5_000;
const longestPause = 4_000;

export function createMembers(deps: MembersDeps): Members {
  const { db, own, table } = deps;
  const followed = new Map<Ref<'host'>, Followed>();
  /** Addresses of hosts that have the uuid of another one: these never take its place, not even while it does not answer. */
  const twins = new Set<string>();

  const reachAt = (host: Ref<'host'>, url: string, service: HostService): Followed => {
    followed.get(host)?.stop.abort();
    const member = { url, service, stop: new AbortController() };
    followed.set(host, member);
    return member;
  };
  const follow = (host: Ref<'host'>, url: string, service: HostService): void =>
    void watch({ ...deps, state }, host, reachAt(host, url, service));
  const find = (host: Ref<'host'>): Followed => {
    db.get('host', host);
    const member = followed.get(host);
    if (member === undefined) throw new XapiError('HOST_OFFLINE', [host]);
    return member;
  };
  const state = (host: Ref<'host'>): Promise<HostState> => {
    const { service } = find(host);
    return readState(db, host, service).catch((error: unknown) => {
      throw new XapiError('HOST_OFFLINE', [host], error);
    });
  };

  return {
    start() {
      follow(own.host, own.url, own.service);
      for (const [host] of db.all('host')) if (host !== own.host) markNotLive(db, host, deps.now());
      for (const [uuid, { url }] of table.entries()) {
        const host = db.findByUuid('host', uuid);
        if (host !== undefined && host !== own.host) follow(host, url, deps.connect(url));
      }
    },
    async join(joining, again = false) {
      const before = db.findByUuid('host', joining.uuid);
      if (before === own.host) {
        throw invalidValue('host', joining.uuid, 'hosts other than the coordinator itself');
      }
      const known = before && followed.get(before);
      if (again && before !== undefined && known?.url === joining.url) return before;
      if (known !== undefined && known.url !== joining.url) await assertNoTwin(known, joining, twins);
      const service = known?.url === joining.url ? known.service : deps.connect(joining.url);
      // From when it is live on, it is asked where it is now.
      if (before !== undefined) reachAt(before, joining.url, service);
      const host = await putHost(db, joining, deps.version, deps.now());
      await table.put(joining.uuid, { url: joining.url });
      deps.log.info(`host ${joining.name} joins the pool`, { uuid: joining.uuid, url: joining.url });
      await deps.onJoined(host, service);
      follow(host, joining.url, service);
      await db.saved();
      return host;
    },
    service: (host) => find(host).service,
    url: (host) => find(host).url,
    state,
    async reconcile(vm, host) {
      const first = await state(host);
      const uuid = db.find('VM', vm)?.uuid;
      const ended = first.domains.find((domain) => domain.uuid === uuid && domain.state === 'shutdown');
      if (ended !== undefined) await deps.onGuestEnd(vm, howEnded(ended), host);
      const now = ended === undefined ? first : await state(host);
      if (db.find('VM', vm) !== undefined) reconcileVm(deps, vm, host, now);
    },
    async revive(host) {
      const member = followed.get(host);
      if (member === undefined) return false;
      const { service, url } = member;
      const answers = await readState(db, host, service).then(
        () => true,
        () => false,
      );
      // It has come back by itself meanwhile, perhaps at another address.
      if (followed.get(host) !== member) return true;
      if (answers) follow(host, url, service);
      return answers;
    },
    async forget(host, removeRows) {
      const { uuid } = db.get('host', host);
      followed.get(host)?.stop.abort();
      followed.delete(host);
      removeRows();
      await db.saved();
      // Last: an address of which there is no host does no harm, and a host without an address could not be asked ever.
      await table.remove(uuid);
    },
    close() {
      for (const { stop } of followed.values()) stop.abort();
      followed.clear();
    },
  };
}

/** @throws where the host does not answer in time, or another one does at its address: nothing is known of the host then */
async function readState(db: Database, host: Ref<'host'>, service: HostService): Promise<HostState> {
  const state = await within(service.state(), answerMs, 'no state');
  const uuid = db.find('host', host)?.uuid;
  if (state.uuid === uuid) return state;
  throw new Error(`host ${state.name} (${state.uuid}) is where host ${uuid} was`);
}

/**
 * A copy of a host's state directory would take its place, and leave its VMs to nobody. A host that has moved answers at its old address
 * no more, or says that it is at the new one.
 * @param twins the addresses of those found before; one that is found is put there
 * @throws OPERATION_NOT_ALLOWED
 */
async function assertNoTwin(
  { service, url }: Followed,
  { uuid, name, url: newUrl }: HostState,
  twins: Set<string>,
): Promise<void> {
  if (!twins.has(newUrl)) {
    const there = await within(service.state(), answerMs, 'no state').catch(() => undefined);
    if (there?.uuid !== uuid || there.url === newUrl) return;
    twins.add(newUrl);
  }
  const both = `the host at ${url} and host ${name} at ${newUrl} have the same uuid, ${uuid}`;
  const remedy = 'as after a copy of a state directory: begin one of them with an empty one, at another address';
  throw new XapiError('OPERATION_NOT_ALLOWED', [`${both}, ${remedy}`]);
}

type WatchDeps = MembersDeps & Pick<Members, 'state'>;

/** Follow a host until it is let go of. */
async function watch(deps: WatchDeps, host: Ref<'host'>, { service, stop, url }: Followed): Promise<void> {
  const { signal } = stop;
  const retryAfter = deps.retryAfter ?? ((failures) => Math.min(500 * 2 ** failures, longestPause));
  let failures = 0;
  while (!signal.aborted) {
    try {
      await followEvents(deps, host, service, signal, () => {
        failures = 0;
      });
    } catch (error) {
      if (signal.aborted) return;
      if (failures === 0) tellOfLoss(deps, url, error);
      // A host that was removed meanwhile has no metrics any more.
      if (deps.db.find('host_metrics', metricsOf(deps, host)) !== undefined) markNotLive(deps.db, host, deps.now());
      await delay(retryAfter(failures), undefined, { signal, ref: false }).catch(() => undefined);
      failures += 1;
    }
  }
}

function metricsOf({ db }: WatchDeps, host: Ref<'host'>): Ref<'host_metrics'> {
  return db.find('host', host)?.metrics ?? (nullRef as Ref<'host_metrics'>);
}

/** A daemon that stops says so to those who wait for its events; who comes after that finds its machine without a daemon. */
function tellOfLoss({ log }: WatchDeps, url: string, error: unknown): void {
  const cause = error instanceof XapiError ? (error.cause as { readonly code?: unknown } | undefined) : undefined;
  if (error instanceof XapiError && error.code === 'HOST_OFFLINE') log.info(`the daemon of the host at ${url} stops`);
  else if (cause?.code === 'ECONNREFUSED') log.info(`the daemon of the host at ${url} has stopped`);
  else log.warn(`host at ${url} cannot be followed: ${messageOf(error)}`, { error });
}

async function followEvents(
  deps: WatchDeps,
  host: Ref<'host'>,
  service: HostService,
  signal: AbortSignal,
  answered: () => void,
): Promise<never> {
  const first = await answer(service.events(0, 0), answerMs, signal);
  await look(deps, host, service).catch((error: unknown) => {
    // A host that cannot say what runs on it, as its hypervisor hangs, says all the same how migrations have ended.
    for (const event of first.events) if (event.kind === 'migration-ended') tell(deps, event);
    throw error;
  });
  answered();
  await deps.onConnected(host, service);
  for (const event of first.events) tell(deps, event);
  let next = first.next;
  for (;;) {
    const asked = performance.now();
    const batch = await answer(service.events(next, pollSeconds), pollSeconds * 1000 + answerMs, signal);
    if (batch.next < next) throw new Error('the host has begun to count its events anew');
    next = batch.next;
    for (const event of batch.events) tell(deps, event);
    // The end of a migration changes what memory is free, on both sides; its progress changes nothing.
    const onlyProgress = batch.events.length > 0 && batch.events.every(isProgress);
    if (!onlyProgress) await look(deps, host, service);
    // A host that is closing answers every poll at once.
    if (batch.events.length === 0 && performance.now() - asked < 1000)
      await delay(1000, undefined, { signal, ref: false });
  }
}

function isAboutDomain(event: HostEvent): boolean {
  return event.kind === 'domain' || event.kind === 'domain-gone';
}

function tell(deps: WatchDeps, event: HostEvent): void {
  if (!isAboutDomain(event)) deps.onEvent(event);
}

/** Read the host's state and bring the records to it. */
async function look(deps: WatchDeps, host: Ref<'host'>, service: HostService): Promise<void> {
  for (;;) {
    const readAt = deps.db.generation();
    const state = await readState(deps.db, host, service);
    putMetrics(deps.db, host, state, deps.now());
    deps.onState(host, state);
    const found = reconcileHost(deps, host, state, readAt);
    await act(deps, host, state, service, found);
    if (!found.stale) return;
    await delay(10, undefined, { ref: false });
  }
}

async function act(
  deps: WatchDeps,
  host: Ref<'host'>,
  state: HostState,
  service: HostService,
  found: Findings,
): Promise<void> {
  const strays: (readonly [uuid: string, reason: string])[] = [];
  for (const ref of found.strays) {
    const stray = await lookAtStray(deps, ref, host, state);
    if (stray !== undefined) strays.push(stray);
  }
  for (const [uuid, reason] of [...found.doubles, ...strays]) {
    deps.log.error(`VM ${uuid} is on host ${state.name} where it is not meant to be: it is paused there, in doubt`, {
      reason,
    });
    await service.doubt(uuid, reason).catch((error: unknown) => deps.log.error(`VM ${uuid} is not paused`, { error }));
  }
  for (const uuid of found.settled) {
    deps.log.info(`VM ${uuid} was settled while host ${state.name} was away: its migration from there is over`);
    await service.forceSettlement(uuid, 'elsewhere').catch((error: unknown) => {
      deps.log.warn(`VM ${uuid}: its source is not told that it was settled`, { error });
    });
  }
  for (const [vm, how] of found.ended) {
    await deps.onGuestEnd(vm, how, host).catch((error: unknown) => deps.log.warn(`VM ${vm} lingers`, { error }));
  }
}

/** Ask where the record has the VM. What changes meanwhile is looked at again. @returns as reconcileStray does */
async function lookAtStray(deps: WatchDeps, ref: Ref<'VM'>, host: Ref<'host'>, state: HostState) {
  const { db } = deps;
  const modified = db.modified('VM', ref);
  const there = await deps.state(db.get('VM', ref).resident_on).catch(() => undefined);
  const isSame = db.find('VM', ref) !== undefined && db.modified('VM', ref) === modified;
  return isSame ? reconcileStray(deps, ref, host, state, there) : undefined;
}

/** What the host answers, if it does so in time and before it is let go of. */
function answer<T>(work: Promise<T>, milliseconds: number, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer);
      reject(new Error('the host is let go of'));
    };
    const timer = setTimeout(() => reject(new Error(`no answer within ${milliseconds / 1000} s`)), milliseconds);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    });
  });
}
