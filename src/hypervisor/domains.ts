/** All domains of this hypervisor and the memory that is promised to those that are to come. */

import type { DomainHandle } from '../base/domain.js';
import { messageOf, XapiError } from '../base/errors.js';
import type { HypervisorNotification, SimulatedDomain, SimulatedSpec } from '../base/protocol/hypervisor-protocol.js';
import { createDomain, type Domain } from './domain.js';
import type { MaterialStore } from './guest/material.js';
import type { MemoryFile, MemoryStore } from './memory.js';

export interface Domains {
  memory(): { total: number; used: number; reserved: number };
  /**
   * Promise memory under a key, in place of what is promised under it.
   * @throws HOST_NOT_ENOUGH_FREE_MEMORY, also while memory of destroyed domains is given back: try again while `isGivingBack`
   */
  reserve(key: string, bytes: number): void;
  release(key: string): void;
  /**
   * Promise the memory of a domain that is to be created, or take what is promised to it under a reservation.
   * @throws as reserve
   */
  take(spec: SimulatedSpec, reservation: string | undefined): MemoryFile;
  /**
   * Make a domain once all of its memory is there.
   * @param file the memory that `take` gave; given back where there is no domain in the end
   * @param assertWanted called when the memory is there, before anything changes; its error is thrown
   * @throws HOST_NOT_ENOUGH_FREE_MEMORY where the memory is not there after all
   */
  create(spec: SimulatedSpec, file: MemoryFile, assertWanted: () => void): Promise<DomainHandle>;
  /** Whether memory of destroyed domains is on its way back to the system, those of hypervisors beside this one included. */
  isGivingBack(): boolean;
  list(): SimulatedDomain[];
  /** Find a domain. @throws HANDLE_INVALID for a handle of no domain, or of an earlier hypervisor's */
  find(handle: DomainHandle): Domain;
  rename(handle: DomainHandle, uuid: string): void;
  /** Destroy a domain; fine when it is gone. The memory is given back to the system in the background, which takes a while. */
  destroy(handle: DomainHandle): void;
  /** Destroy a domain that never ran. @returns whether the domain is gone now */
  destroyUnlessRan(handle: DomainHandle): boolean;
  /** Remove all memory, at the end of this process. */
  close(): void;
}

export interface DomainsInit {
  readonly instance: string;
  readonly store: MemoryStore;
  readonly material: MaterialStore;
  notify(notification: HypervisorNotification): void;
  log(line: string): void;
}

/** Begin without domains. */
export function createDomains({ instance, store, material, notify, log }: DomainsInit): Domains {
  const domains = new Map<number, Domain>();
  const reservations = createReservations(store);
  let lastDomid = 0;

  const lookUp = (handle: DomainHandle): Domain | undefined =>
    handle.instance === instance ? domains.get(handle.domid) : undefined;
  const find = (handle: DomainHandle): Domain => {
    const domain = lookUp(handle);
    if (domain !== undefined) return domain;
    const whose = handle.instance === instance ? 'no such domain' : `of another hypervisor than ${instance}`;
    throw new XapiError('HANDLE_INVALID', ['domain', `${handle.instance}/${handle.domid} (${whose})`]);
  };
  const assertUuidFree = (uuid: string): void => {
    const other = [...domains.values()].find((domain) => domain.spec().uuid === uuid);
    if (other !== undefined) throw new XapiError('DOMAIN_EXISTS', [uuid, String(other.handle.domid)]);
  };
  const giveBack = async (file: MemoryFile, whose: string): Promise<void> =>
    store.giveBack(file).catch((error: unknown) => log(`${whose}: its memory is not given back: ${messageOf(error)}`));
  const make = (spec: SimulatedSpec, file: MemoryFile): DomainHandle => {
    const handle = { instance, domid: ++lastDomid };
    const changed = (): void => {
      const info = domain.info();
      const why = info.inDoubt === undefined ? info.stalled : `in doubt: ${info.inDoubt}`;
      log(`domain ${handle.domid} (${info.uuid}) is ${info.state}${why === undefined ? '' : `, ${why}`}`);
      notify({ event: 'domain', domain: info });
    };
    const domain = createDomain({ handle, spec, file, changed, material: material.forDomain(spec), log });
    domains.set(handle.domid, domain);
    changed();
    return handle;
  };
  const destroy = (domain: Domain): void => {
    const { uuid } = domain.spec();
    domains.delete(domain.handle.domid);
    domain.end().catch((error: unknown) => log(`domain ${domain.handle.domid}: ${messageOf(error)}`));
    void giveBack(domain.file, `domain ${domain.handle.domid}`);
    log(`domain ${domain.handle.domid} (${uuid}) destroyed`);
    notify({ event: 'destroyed', uuid, handle: domain.handle });
  };

  return {
    memory: () => {
      const used = [...domains.values()].reduce((bytes, { file }) => bytes + file.bytes, 0);
      return { total: store.total, used, reserved: store.promised() - used };
    },
    reserve: reservations.reserve,
    release: reservations.release,
    take: (spec, reservation) => {
      assertUuidFree(spec.uuid);
      return reservation === undefined
        ? store.promise(spec.memoryBytes)
        : reservations.take(reservation, spec.memoryBytes);
    },
    create: async (spec, file, assertWanted) => {
      try {
        await store.allocate(file);
        assertWanted();
        assertUuidFree(spec.uuid);
        return make(spec, file);
      } catch (error) {
        void giveBack(file, `VM ${spec.uuid}, of which no domain is made`);
        throw error;
      }
    },
    list: () => [...domains.values()].map((domain) => domain.info()),
    find,
    rename: (handle, uuid) => {
      const domain = find(handle);
      if (domain.spec().uuid === uuid) return;
      assertUuidFree(uuid);
      domain.rename(uuid);
    },
    isGivingBack: store.isGivingBack,
    destroy: (handle) => {
      const domain = lookUp(handle);
      if (domain !== undefined) destroy(domain);
    },
    destroyUnlessRan: (handle) => {
      const domain = lookUp(handle);
      if (domain?.info().everRan === true) return false;
      if (domain !== undefined) destroy(domain);
      return true;
    },
    close: store.close,
  };
}

/** Memory that is promised under keys, to domains that are to come. */
function createReservations(store: MemoryStore) {
  const files = new Map<string, MemoryFile>();
  /** Give back a promise and make another in its place; when that is refused, the first one stands. */
  const exchange = (key: string, bytes: number): MemoryFile => {
    const old = files.get(key);
    if (old?.bytes === bytes) return old;
    if (old !== undefined) store.free(old);
    files.delete(key);
    try {
      return store.promise(bytes);
    } catch (error) {
      if (old !== undefined) files.set(key, store.promise(old.bytes));
      throw error;
    }
  };
  return {
    reserve: (key: string, bytes: number): void => void files.set(key, exchange(key, bytes)),
    release: (key: string): void => {
      const file = files.get(key);
      if (file === undefined) return;
      store.free(file);
      files.delete(key);
    },
    /** Take a reservation's memory, which is of so many bytes then. @throws INVALID_VALUE for a key that is not reserved */
    take: (key: string, bytes: number): MemoryFile => {
      if (!files.has(key)) {
        throw new XapiError('INVALID_VALUE', ['reservation', `${key}: no memory is promised under it`]);
      }
      const file = exchange(key, bytes);
      files.delete(key);
      return file;
    },
  };
}
