/**
 * What a host is in its pool, its coordinator or a member, with what it answers as such; and the change of that while
 * the daemon runs, when the host joins another pool or leaves its own. The host itself, with its VMs, goes on.
 */
import os from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { logFailure } from './api/failure-log.js';
import { createHttpApi } from './api/http-api.js';
import { createOriginPolicy, type OriginPolicy } from './api/origin-policy.js';
import type { Backend } from './backend/backend.js';
import type { Config } from './base/config/config.js';
import { untilAborted } from './base/deadline.js';
import { messageOf, XapiError } from './base/errors.js';
import type { Log } from './base/log.js';
import { dumpStore } from './base/store/dump.js';
import type { Store } from './base/store/store.js';
import type { HostEngine } from './host/engine.js';
import { connectHost, controlMember, joinCoordinator } from './host/rpc/client.js';
import { createHostRpc, type HostRpcDeps } from './host/rpc/server.js';
import type { Identity } from './host/service/identity.js';
import type { DispatchDeps } from './model/dispatch-deps.js';
import { createPool, forgetPool } from './pool/pool.js';
import { xenopsPath } from './wire/connection/channel.js';
import type { ListenerDeps } from './wire/connection/listener.js';

export interface RoleInit {
  readonly config: () => Config;
  readonly log: Log;
  readonly store: Store;
  readonly engine: HostEngine;
  readonly backend: Pick<Backend, 'checkSpec'>;
  readonly identity: Identity;
  /** The port on which this host listens. */
  readonly port: number;
  /** xenferry's version. */
  readonly version: string;
}

export interface Role {
  readonly onRequest: ListenerDeps['onRequest'];
  /** End the role's work, and let it change no more; the engine is closed before. */
  close(): Promise<void>;
}

/** Path at which the database is fetched, as at xapi. */
const dumpPath = '/pool/xmldbdump';

/** Pause between attempts to reach the coordinator, in milliseconds. */
const joinPauseMs = 1_000;

/** Pause until a member asks again whether its coordinator knows it still, in milliseconds. */
const askAgainMs = 10_000;

/** Pause between a call that changes the role and the change, in milliseconds: the caller gets the answer in it. */
const changeDelayMs = 500;

/** Take the role that the host's identity says. */
export async function takeRole(init: RoleInit): Promise<Role> {
  const { identity, log } = init;
  const closing = new AbortController();
  const change = (): void => {
    const changing = async (): Promise<Role> => {
      const old = await current;
      await delay(changeDelayMs, undefined, { signal: closing.signal }).catch(() => undefined);
      if (closing.signal.aborted) return old;
      await old.close();
      return open();
    };
    become(
      changing().catch((error: unknown) => {
        log.error('the role of this host in its pool cannot be changed: start the daemon anew', { error });
        return outOfService;
      }),
    );
  };
  const open = (): Promise<Role> =>
    identity.coordinator() === undefined ? coordinate(init, change) : serve(init, change);

  let current = open();
  /** Absent while the role changes. */
  let serving: Role | undefined = await current;
  const become = (next: Promise<Role>): void => {
    serving = undefined;
    current = next;
    void next.then((role) => {
      if (current === next) serving = role;
    });
  };
  return {
    // At once, if possible: a body that comes without its length is no request, and Node answers that with 400 if nobody has yet.
    onRequest(request, response) {
      if (serving !== undefined) serving.onRequest(request, response);
      else void current.then((role) => role.onRequest(request, response));
    },
    async close() {
      closing.abort();
      await (await current).close();
    },
  };
}

const outOfService: Role = {
  onRequest: (_request, response) => void response.writeHead(503).end(),
  close: async () => undefined,
};

/** The coordinator has the pool's database, and answers the XenAPI. */
async function coordinate(init: RoleInit, change: () => void): Promise<Role> {
  const { config, log, store, engine, identity, version } = init;
  const { secrets } = identity;
  await forgetWhatWasLeft(init);
  const joining = createJoining(init, change);
  const pool = await createPool({
    store,
    stateDir: config().stateDir,
    log,
    own: engine.service,
    checkSpec: init.backend.checkSpec,
    connect: (url) => connectHost(url, secrets),
    membership: {
      secrets,
      takeSecrets: identity.takeSecrets,
      control: (url) => controlMember(url, secrets),
      join: joining.join,
    },
    version,
    evacuationBatchSize: () => config().evacuationBatchSize,
  });
  const rpc = createHostRpc({
    ...hostLevel(init),
    // Two hosts that join each other would leave nobody to be the coordinator.
    join: async (state, again) => {
      if (joining.isUnderWay()) {
        throw new XapiError('OPERATION_NOT_ALLOWED', ['this host is joining another pool itself']);
      }
      return pool.join(state, again);
    },
  });
  return {
    onRequest: createHttpApi(pool.dispatch, {
      others: { [xenopsPath]: rpc },
      downloads: { [dumpPath]: () => dumpStore(store, config().databasePath) },
      pages: pagesOf(init),
    }),
    close: pool.close,
  };
}

/** Give what the host-level calls reach in every role. */
function hostLevel({ engine, identity, log }: RoleInit): HostRpcDeps {
  const { service, destination, source } = engine;
  return {
    service,
    destination,
    source,
    secrets: identity.secrets,
    hostUuid: identity.uuid,
    logFailure: (call, error) => logFailure(log, call, error),
  };
}

/** Make the way by which a coordinator becomes a member of another pool. */
function createJoining({ engine, identity }: RoleInit, change: () => void) {
  let underWay = false;
  const becomeMember = async (coordinator: string, theirs: readonly string[]): Promise<void> => {
    const undo = await identity.join(coordinator, theirs);
    try {
      await joinCoordinator(coordinator, identity.secrets, await engine.service.state());
    } catch (error) {
      await undo();
      throw error;
    }
  };
  return {
    isUnderWay: () => underWay,
    /** @param theirs the secrets of the pool that is joined */
    async join(coordinator: string, theirs: readonly string[]): Promise<void> {
      underWay = true;
      try {
        await becomeMember(coordinator, theirs);
        change();
      } catch (error) {
        underWay = false;
        throw error;
      }
    },
  };
}

/** A member has no database: it serves its coordinator, and tells clients where that is. */
async function serve(init: RoleInit, change: () => void): Promise<Role> {
  const { log, identity, port } = init;
  const coordinator = identity.coordinator() ?? '';
  await forgetWhatWasLeft(init);
  const rpc = createHostRpc({
    ...hostLevel(init),
    control: {
      takeSecrets: identity.takeSecrets,
      async leave() {
        await assertIdle(init);
        await identity.leave();
        log.info(`this host leaves the pool of ${coordinator}, and is a pool of its own`);
        change();
      },
    },
  });
  const leaving = new AbortController();
  const joining = keepJoining(init, coordinator, leaving.signal);
  return {
    onRequest: createHttpApi(memberDispatch(addressForClients(new URL(coordinator), port), log), {
      others: { [xenopsPath]: rpc },
      pages: pagesOf(init),
    }),
    async close() {
      leaving.abort();
      await joining;
    },
  };
}

/** @throws HOST_HAS_RESIDENT_VMS [uuid]; OTHER_OPERATION_IN_PROGRESS ['host', uuid, operation, task or migration] */
async function assertIdle({ engine, identity }: RoleInit): Promise<void> {
  const { domains, busy = [] } = await engine.service.state();
  if (domains.length > 0) throw new XapiError('HOST_HAS_RESIDENT_VMS', [identity.uuid]);
  for (const { operation, task } of busy) {
    throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['host', identity.uuid, operation, task]);
  }
  const migration = engine.migrating();
  if (migration === undefined) return;
  throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['host', identity.uuid, 'vm_migrate', migration]);
}

function pagesOf({ config, port }: RoleInit): OriginPolicy {
  const { address, hostName, listenAddress } = config();
  return createOriginPolicy({
    named: () => config().corsOrigins,
    names: [address, hostName, os.hostname()],
    listenAddress,
    port,
  });
}

async function forgetWhatWasLeft({ identity, store, config, log }: RoleInit): Promise<void> {
  if (!identity.hasLeft()) return;
  const copy = `${config().databasePath}.left-${new Date().toISOString().replaceAll(':', '')}`;
  if (await forgetPool(store, copy)) log.warn(`the records of the pool that this host has left are in ${copy}`);
  await identity.forgotten();
}

/**
 * A member tells its coordinator that it is there, until the coordinator has heard; and again from time to time, as one
 * that was restored from a backup, or began with an empty database, does not know its members.
 */
async function keepJoining(
  { engine, identity, log }: RoleInit,
  coordinator: string,
  signal: AbortSignal,
): Promise<void> {
  let joined = false;
  for (let failures = 0; !signal.aborted; ) {
    try {
      const state = await untilAborted(engine.service.state(), signal);
      await joinCoordinator(coordinator, identity.secrets, state, joined, signal);
      if (!joined) log.info(`joined the pool of ${coordinator}`);
      joined = true;
      failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      const what = joined ? 'the coordinator does not answer' : 'the coordinator has not let this host in yet';
      if (failures === 0) log.warn(`${what}: ${messageOf(error)}`);
      failures += 1;
    }
    const wait = failures === 0 ? askAgainMs : joinPauseMs;
    await delay(wait, undefined, { signal, ref: false }).catch(() => undefined);
  }
}

/** Clients ask the coordinator at the port at which they asked this member, so only another one is named. */
function addressForClients(coordinator: URL, ownPort: number): string {
  return Number(coordinator.port || 80) === ownPort ? coordinator.hostname : coordinator.host;
}

/** A member answers every XenAPI call with where its coordinator is. */
function memberDispatch(coordinator: string, log: Log): DispatchDeps {
  const refuse = () => {
    throw new Error('a member has no database');
  };
  const nothing: unknown = new Proxy({}, { get: refuse });
  return {
    log,
    coordinatorAddress: () => coordinator,
    isHostLevel: () => false,
    rows: nothing as DispatchDeps['rows'],
    sessions: nothing as DispatchDeps['sessions'],
    tasks: nothing as DispatchDeps['tasks'],
    handlers: nothing as DispatchDeps['handlers'],
  };
}
