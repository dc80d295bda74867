/** A host of the pool as its coordinator reaches it: HostService over RPC, authenticated by the pool's secret. */
import { toXapiError } from '../../base/errors.js';
import type { Fate } from '../../migrate/protocol.js';
import { xenopsPath } from '../../wire/connection/channel.js';
import { createRpcClient, type RpcClient } from '../../wire/connection/rpc-client.js';
import { type Secrets, withSecret } from '../service/secrets.js';
import type { HostService, HostState } from '../service/service.js';
import { checkHostState } from '../service/state.js';
import type { HostStorage, Volume } from '../storage/storage.js';

/**
 * How long a call that works on domains may take, in milliseconds. Events take as long as they are asked to wait, and a little
 * more.
 */
const callTimeoutMs = 600_000;
/** How long a report to the coordinator may take, in milliseconds: it is made again, and must not hold up a daemon that stops. */
const joinTimeoutMs = 15_000;
/** How long a save or a restore may take, in milliseconds: a suspend image is as large as the memory. */
const imageTimeoutMs = 24 * 3600 * 1000;
/** How long the copy of a volume may take, in milliseconds. */
const copyTimeoutMs = 24 * 3600 * 1000;

/** Reach a host of the pool. @param url the http URL of the host's port */
export function connectHost(url: string, secrets: Secrets): HostService {
  const client = createRpcClient(`${url}${xenopsPath}`);
  const call = <T>(method: keyof HostService, params: readonly unknown[], timeoutMs = callTimeoutMs) =>
    withSecret(secrets, (secret) => client.json<T>(method, [secret, ...params], timeoutMs));
  return {
    state: async () => checkHostState(await call('state', [])),
    start: (spec, paused, job) => call('start', [spec, paused, job]),
    pause: (uuid, job) => call('pause', [uuid, job]),
    unpause: (uuid, job) => call('unpause', [uuid, job]),
    shutdown: (uuid, clean, job) => call('shutdown', [uuid, clean, job]),
    reboot: (spec, clean, job) => call('reboot', [spec, clean, job]),
    suspend: (uuid, job) => call('suspend', [uuid, job], imageTimeoutMs),
    resume: (uuid, paused, job) => call('resume', [uuid, paused, job], imageTimeoutMs),
    refuseJob: (id) => call('refuseJob', [id]),
    migrate: (request) => call('migrate', [request]),
    cancel: (id) => call('cancel', [id]),
    outcome: async (id) =>
      (await call<Awaited<ReturnType<HostService['outcome']>> | null>('outcome', [id])) ?? undefined,
    doubt: (uuid, reason) => call('doubt', [uuid, reason]),
    forceSettlement: (uuid, runs) => call('forceSettlement', [uuid, runs]),
    assertTurn: (id, uuid) => call('assertTurn', [id, uuid]),
    receive: (request) => call('receive', [request]),
    noted: (id) => call('noted', [id]),
    received: (id) => call('received', [id]),
    refuseUnknown: (id, uuid) =>
      call<Fate>('refuseUnknown', [id, uuid]).catch((error: unknown) => {
        // A host of an earlier version has no such call, and only says what became of the migration.
        if (toXapiError(error).code !== 'MESSAGE_METHOD_UNKNOWN') throw error;
        return call<Fate>('received', [id]);
      }),
    storage: remoteStorage(client.json, secrets),
    callPlugin: (plugin, fn, args) => call('callPlugin', [plugin, fn, args]),
    events: (since, seconds) => call('events', [since, seconds], seconds * 1000 + 10_000),
  };
}

function remoteStorage(json: RpcClient['json'], secrets: Secrets): HostStorage {
  const call = <T>(method: keyof HostStorage, params: readonly unknown[], timeoutMs = callTimeoutMs) =>
    withSecret(secrets, (secret) => json<T>(`storage.${method}`, [secret, ...params], timeoutMs));
  return {
    createSr: (sr) => call('createSr', [sr]),
    statSr: (sr) => call('statSr', [sr]),
    destroySr: (sr) => call('destroySr', [sr]),
    listSrs: () => call('listSrs', []),
    listVolumes: (sr) => call('listVolumes', [sr]),
    statVolume: async (sr, volume) => (await call<Volume | null>('statVolume', [sr, volume])) ?? undefined,
    createVolume: (sr, volume, bytes) => call('createVolume', [sr, volume, bytes]),
    destroyVolume: (sr, volume) => call('destroyVolume', [sr, volume]),
    discardVolume: (sr, volume) => call('discardVolume', [sr, volume]),
    resizeVolume: (sr, volume, bytes) => call('resizeVolume', [sr, volume, bytes]),
    undoResize: (sr, volume, bytes) => call('undoResize', [sr, volume, bytes]),
    copyVolume: (sr, volume, toSr, copy) => call('copyVolume', [sr, volume, toSr, copy], copyTimeoutMs),
    copyProgress: async (toSr, copy) => (await call<number | null>('copyProgress', [toSr, copy])) ?? undefined,
  };
}

/**
 * Tell the coordinator that this host is there.
 * @param again whether it was told before: a coordinator that knows this address does nothing
 */
export async function joinCoordinator(
  coordinator: string,
  secrets: Secrets,
  state: HostState,
  again = false,
  signal?: AbortSignal,
): Promise<void> {
  await ask(coordinator, secrets, 'join', [state, again], signal);
}

/** What a coordinator asks of a member as a host of its pool. */
export interface MemberControl {
  /** The pool's secrets, the newest first. Resolves when the member has them durably. */
  takeSecrets(secrets: readonly string[]): Promise<void>;
  /** Leave the pool. @throws HOST_HAS_RESIDENT_VMS */
  leave(): Promise<void>;
}

/** Reach a member as a host of the pool. @param url the http URL of the member's port */
export function controlMember(url: string, secrets: Secrets): MemberControl {
  return {
    takeSecrets: (taken) => ask(url, secrets, 'takeSecrets', [taken]),
    leave: () => ask(url, secrets, 'leave', []),
  };
}

async function ask(
  url: string,
  secrets: Secrets,
  method: string,
  params: readonly unknown[],
  signal?: AbortSignal,
): Promise<void> {
  signal?.throwIfAborted();
  const client = createRpcClient(`${url}${xenopsPath}`);
  signal?.addEventListener('abort', client.close, { once: true });
  try {
    await withSecret(secrets, (secret) => client.json(method, [secret, ...params], joinTimeoutMs));
  } finally {
    signal?.removeEventListener('abort', client.close);
    client.close();
  }
}
