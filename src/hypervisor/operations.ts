/** Every request by name, and what answers it. */
import { setTimeout as delay } from 'node:timers/promises';
import { pageSize } from '../base/domain.js';
import { XapiError } from '../base/errors.js';
import type { HypervisorOp, HypervisorOps } from '../base/protocol/hypervisor-protocol.js';
import type { Domains } from './domains.js';

export interface Answer<Result> {
  readonly result: Result;
  readonly binary?: Uint8Array;
}

/** The connection that a request came by. */
export interface Connection {
  /** Call a listener once, when the connection has ended. */
  onEnd(listener: () => void): void;
  /**
   * Assert, after each wait and before anything changes, that the connection is neither ended nor fenced.
   * @throws OPERATION_NOT_ALLOWED
   */
  assertAttached(): void;
}

/** The requests that concern the domains; the others concern a connection or the process. */
export type DomainOp = Exclude<HypervisorOp, 'attach' | 'quit'>;

export type Operations = {
  [O in DomainOp]: (
    args: HypervisorOps[O]['args'],
    binary: Buffer,
    connection: Connection,
  ) => Answer<HypervisorOps[O]['result']> | Promise<Answer<HypervisorOps[O]['result']>>;
};

/** Make what answers the requests that concern domains. */
export function createOperations(domains: Domains): Operations {
  const { find } = domains;
  return {
    memory: () => ({ result: domains.memory() }),
    reserve: async ({ key, bytes }, _binary, connection) => ({
      result: await withMemory(domains, connection, () => domains.reserve(key, bytes)),
    }),
    release: ({ key }) => ({ result: domains.release(key) }),
    create: async ({ spec, reservation }, _binary, connection) => {
      const file = await withMemory(domains, connection, () => domains.take(spec, reservation));
      return { result: await domains.create(spec, file, connection.assertAttached) };
    },
    build: async ({ handle }) => ({ result: await find(handle).build() }),
    built: async ({ handle }) => ({ result: await find(handle).built() }),
    list: () => ({ result: domains.list() }),
    pause: ({ handle }) => ({ result: find(handle).pause() }),
    unpause: ({ handle, token }) => ({ result: find(handle).unpause(token) }),
    end_guest: ({ handle, how }) => ({ result: find(handle).endGuest(how) }),
    destroy: ({ handle }) => ({ result: domains.destroy(handle) }),
    destroy_unless_ran: ({ handle }) => ({ result: { destroyed: domains.destroyUnlessRan(handle) } }),
    rename: ({ handle, uuid }) => ({ result: domains.rename(handle, uuid) }),
    mark_in_doubt: ({ handle, reason }) => ({ result: find(handle).markInDoubt(reason) }),
    memory_of: ({ handle }) => {
      const { file, spec } = find(handle);
      return { result: { path: file.path, pages: spec().memoryBytes / pageSize, spec: spec() } };
    },
    log_dirty_open: ({ handle }, _binary, connection) => {
      const { logDirty } = find(handle);
      const session = logDirty.open();
      connection.onEnd(() => logDirty.close(session));
      return { result: { session } };
    },
    log_dirty_peek: ({ handle, session }) => {
      const { dirty, bitmap } = find(handle).logDirty.peek(session);
      return { result: { dirty }, binary: bitmap };
    },
    log_dirty_read_clear: ({ handle, session }) => {
      const { dirty, bitmap } = find(handle).logDirty.readClear(session);
      return { result: { dirty }, binary: bitmap };
    },
    log_dirty_close: ({ handle, session }) => ({ result: find(handle).logDirty.close(session) }),
    throttle: ({ handle, session, share }) => ({ result: find(handle).throttle(session, share) }),
    get_context: ({ handle }) => ({ result: undefined, binary: find(handle).getContext() }),
    set_context: ({ handle }, binary) => ({ result: find(handle).setContext(binary) }),
    get_vgpu: ({ handle, device }) => ({ result: undefined, binary: find(handle).vgpus.get(device) }),
    set_vgpu: ({ handle, device }, binary) => ({ result: find(handle).vgpus.set(device, binary) }),
    arm_digest: ({ handle }) => ({ result: find(handle).armDigest() }),
    digest: async ({ handle }) => ({ result: { digest: await find(handle).digest() } }),
    verify: async ({ handle }) => ({ result: await find(handle).verify() }),
  };
}

/** How long to wait for memory that is being given back, and how often to look. The system takes 0.2 s to take back a GiB. */
const givingBackMs = 10_000;
const lookMs = 20;

/** Take memory, and try again while some is being given back by this hypervisor or by one beside it. */
async function withMemory<T>(domains: Domains, connection: Connection, take: () => T): Promise<T> {
  for (const until = performance.now() + givingBackMs; ; ) {
    const mayCome = domains.isGivingBack() && performance.now() < until;
    try {
      return take();
    } catch (error) {
      const isShort = error instanceof XapiError && error.code === 'HOST_NOT_ENOUGH_FREE_MEMORY';
      if (!isShort || !mayCome) throw error;
    }
    await delay(lookMs);
    connection.assertAttached();
  }
}
