/**
 * Following one host: a long poll of its events. Each batch is a reason to look at the host's state, to which the records are brought. A
 * host that does not answer is shown as not live and asked again.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Ref } from '../../../idl/index.js';
import { within } from '../../base/deadline.js';
import type { GuestEnd } from '../../base/domain.js';
import { messageOf, XapiError } from '../../base/errors.js';
import { isProgress } from '../../host/service/events.js';
import type { HostEvent, HostService, HostState } from '../../host/service/service.js';
import { nullRef } from '../../model/value.js';
import type { Database } from '../database/database.js';
import { markNotLive, putMetrics } from './host-records.js';
import { type Findings, type ReconcileDeps, reconcileHost, reconcileStray } from './reconcile.js';

export interface FollowDeps extends ReconcileDeps {
  /** Called with what each host says of itself, as it comes. */
  readonly onState: (host: Ref<'host'>, state: HostState) => void;
  /** Called with every event that is not about a domain. */
  readonly onEvent: (event: HostEvent) => void;
  /** Called when a host answers for the first time, and again whenever it was lost in between. */
  readonly onConnected: (host: Ref<'host'>, service: HostService) => Promise<void>;
  /** The guest of a VM on a host has ended by itself: bring about what its record says. */
  readonly onGuestEnd: (vm: Ref<'VM'>, how: GuestEnd, host: Ref<'host'>) => Promise<void>;
  /** Milliseconds to wait after so many failures in a row. */
  readonly retryAfter?: (failures: number) => number;
}

/** How a host is reached, and what ends following it. */
export interface Followed {
  readonly service: HostService;
  readonly url: string;
  readonly stop: AbortController;
}

/** How long a poll of events lasts, in seconds: a host that goes away without a word is seen when it does not answer. */
const pollSeconds = 4;
/** How long a host may take to answer, in milliseconds. */
export const answerMs = 5_000;
/** The longest wait before a host that does not answer is asked again, in milliseconds. */
const longestPause = 4_000;

/** So long after its connection was cut a host is asked again, in milliseconds: the others to it that were kept are seen to be cut by then. */
const cutPause = 50;

/** Read a host's state. @throws where the host does not answer in time, or another one does at its address: nothing is known of the host then */
export async function readState(db: Database, host: Ref<'host'>, service: HostService): Promise<HostState> {
  const state = await within(service.state(), answerMs, 'no state');
  const uuid = db.find('host', host)?.uuid;
  if (state.uuid === uuid) return state;
  throw new Error(`host ${state.name} (${state.uuid}) is where host ${uuid} was`);
}

interface WatchDeps extends FollowDeps {
  /** A host's state now. @throws HOST_OFFLINE */
  readonly state: (host: Ref<'host'>) => Promise<HostState>;
}

/** Follow a host until it is let go of. */
export async function watch(deps: WatchDeps, host: Ref<'host'>, { service, stop, url }: Followed): Promise<void> {
  const { signal } = stop;
  const retryAfter = deps.retryAfter ?? ((failures) => Math.min(500 * 2 ** failures, longestPause));
  let failures = 0;
  let wasCut = false;
  while (!signal.aborted) {
    try {
      await followEvents(deps, host, service, signal, () => {
        failures = 0;
        wasCut = false;
      });
    } catch (error) {
      if (signal.aborted) return;
      // A daemon that stops cuts the connection of a question that it has not read. Whether that is why, a new connection tells.
      if (!wasCut && codeOfCause(error) === 'ECONNRESET') {
        wasCut = true;
        await delay(cutPause, undefined, { signal, ref: false }).catch(() => undefined);
        continue;
      }
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
  if (error instanceof XapiError && error.code === 'HOST_OFFLINE') log.info(`the daemon of the host at ${url} stops`);
  else if (codeOfCause(error) === 'ECONNREFUSED') log.info(`the daemon of the host at ${url} has stopped`);
  else log.warn(`host at ${url} cannot be followed: ${messageOf(error)}`, { error });
}

function codeOfCause(error: unknown): unknown {
  return error instanceof XapiError ? (error.cause as { readonly code?: unknown } | undefined)?.code : undefined;
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

/**
 * Ask where the record has the VM. What changes meanwhile is looked at again.
 * @returns as reconcileStray does
 */
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
