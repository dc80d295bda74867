/**
 * The coordinator's view of its hosts: how each is reached, whether it answers, and what happens on it. Each host is followed
 * by a long poll of its events; a host that does not answer is shown as not live and asked again, and nothing is said of its
 * VMs until it answers.
 */
import type { Ref } from '../../../idl/index.js';
import { within } from '../../base/deadline.js';
import { invalidValue, XapiError } from '../../base/errors.js';
import type { Table } from '../../base/store/store.js';
import type { HostService, HostState } from '../../host/service/service.js';
import { answerMs, type FollowDeps, type Followed, readState, watch } from './follow-host.js';
import { markNotLive, putHost } from './host-records.js';
import { howEnded, reconcileVm } from './reconcile.js';

export interface Member {
  /** http URL of the host's port. */
  readonly url: string;
}

export interface MembersDeps extends FollowDeps {
  readonly version: string;
  readonly own: { readonly host: Ref<'host'>; readonly service: HostService; readonly url: string };
  readonly connect: (url: string) => HostService;
  /** Members by their hosts' uuids. */
  readonly table: Table<Member>;
  /** A host has started: make what it needs, before it is followed. */
  readonly onJoined: (host: Ref<'host'>, service: HostService) => Promise<void>;
}

export interface Members {
  /** Begin to follow the coordinator's own host and the members that are known. */
  start(): void;
  /**
   * A member's daemon has started: make or update its rows and follow it.
   * @param again it only asks whether it is known, where it is
   */
  join(state: HostState, again?: boolean): Promise<Ref<'host'>>;
  /** @throws HANDLE_INVALID, HOST_OFFLINE for a host of which no address is known */
  service(host: Ref<'host'>): HostService;
  url(host: Ref<'host'>): string;
  /** The host's state now. @throws HOST_OFFLINE [host] where it does not answer */
  state(host: Ref<'host'>): Promise<HostState>;
  /** Bring a VM's record, which the caller holds, to its domain on a host, where a guest that has ended is seen to. @throws HOST_OFFLINE */
  reconcile(vm: Ref<'VM'>, host: Ref<'host'>): Promise<void>;
  /**
   * Ask a host anew that is shown as not live.
   * @returns whether it answers, or has come back meanwhile
   */
  revive(host: Ref<'host'>): Promise<boolean>;
  /**
   * Follow a host no more; it is no longer of the pool.
   * @param removeRows removes its rows
   */
  forget(host: Ref<'host'>, removeRows: () => void): Promise<void>;
  close(): void;
}

interface Context extends MembersDeps {
  readonly followed: Map<Ref<'host'>, Followed>;
  /** Addresses of hosts that have the uuid of another one: these never take its place, not even while it does not answer. */
  readonly twins: Set<string>;
}

/** Make the hosts of a pool, none of which is followed before `start`. */
export function createMembers(deps: MembersDeps): Members {
  const { db } = deps;
  const context: Context = { ...deps, followed: new Map(), twins: new Set() };
  const { followed } = context;
  return {
    start: () => start(context),
    join: (joining, again = false) => join(context, joining, again),
    service: (host) => find(context, host).service,
    url: (host) => find(context, host).url,
    state: (host) => stateOf(context, host),
    async reconcile(vm, host) {
      const first = await stateOf(context, host);
      const uuid = db.find('VM', vm)?.uuid;
      const ended = first.domains.find((domain) => domain.uuid === uuid && domain.state === 'shutdown');
      if (ended !== undefined) await deps.onGuestEnd(vm, howEnded(ended), host);
      const now = ended === undefined ? first : await stateOf(context, host);
      if (db.find('VM', vm) !== undefined) reconcileVm(deps, vm, host, now);
    },
    revive: (host) => revive(context, host),
    async forget(host, removeRows) {
      const { uuid } = db.get('host', host);
      followed.get(host)?.stop.abort();
      followed.delete(host);
      removeRows();
      await db.saved();
      // Last: an address of which there is no host does no harm, and a host without an address could not be asked ever.
      await deps.table.remove(uuid);
    },
    close() {
      for (const { stop } of followed.values()) stop.abort();
      followed.clear();
    },
  };
}

/** Reach a host at an address from now on, and follow the host there no more until `follow`. */
function reachAt({ followed }: Context, host: Ref<'host'>, url: string, service: HostService): Followed {
  followed.get(host)?.stop.abort();
  const member = { url, service, stop: new AbortController() };
  followed.set(host, member);
  return member;
}

function follow(deps: Context, host: Ref<'host'>, url: string, service: HostService): void {
  void watch({ ...deps, state: (other) => stateOf(deps, other) }, host, reachAt(deps, host, url, service));
}

/** @throws HANDLE_INVALID, HOST_OFFLINE for a host of which no address is known */
function find({ db, followed }: Context, host: Ref<'host'>): Followed {
  db.get('host', host);
  const member = followed.get(host);
  if (member === undefined) throw new XapiError('HOST_OFFLINE', [host]);
  return member;
}

/** @throws HANDLE_INVALID, HOST_OFFLINE */
function stateOf(deps: Context, host: Ref<'host'>): Promise<HostState> {
  const { service } = find(deps, host);
  return readState(deps.db, host, service).catch((error: unknown) => {
    throw new XapiError('HOST_OFFLINE', [host], error);
  });
}

function start(deps: Context): void {
  const { db, own, table, connect, now } = deps;
  follow(deps, own.host, own.url, own.service);
  for (const [host] of db.all('host')) if (host !== own.host) markNotLive(db, host, now());
  for (const [uuid, { url }] of table.entries()) {
    const host = db.findByUuid('host', uuid);
    if (host !== undefined && host !== own.host) follow(deps, host, url, connect(url));
  }
}

async function join(deps: Context, joining: HostState, again: boolean): Promise<Ref<'host'>> {
  const { db, own, table, followed, twins, log } = deps;
  const { uuid, name, url } = joining;
  const before = db.findByUuid('host', uuid);
  if (before === own.host) throw invalidValue('host', uuid, 'hosts other than the coordinator itself');
  const known = before && followed.get(before);
  if (again && before !== undefined && known?.url === url) return before;
  if (known !== undefined && known.url !== url) await assertNoTwin(known, joining, twins);
  const service = known?.url === url ? known.service : deps.connect(url);
  // From when it is live on, it is asked where it is now.
  if (before !== undefined) reachAt(deps, before, url, service);
  const host = await putHost(db, joining, deps.version, deps.now());
  await table.put(uuid, { url });
  log.info(`host ${name} joins the pool`, { uuid, url });
  await deps.onJoined(host, service);
  follow(deps, host, url, service);
  await db.saved();
  return host;
}

async function revive(deps: Context, host: Ref<'host'>): Promise<boolean> {
  const member = deps.followed.get(host);
  if (member === undefined) return false;
  const { service, url } = member;
  const answers = await readState(deps.db, host, service).then(
    () => true,
    () => false,
  );
  // It has come back by itself meanwhile, perhaps at another address.
  if (deps.followed.get(host) !== member) return true;
  if (answers) follow(deps, host, url, service);
  return answers;
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
