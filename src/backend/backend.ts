/**
 * What every back end offers to the layers above it. Handles name domains for good (base/domain); every
 * method throws a XapiError, and ends in bounded time.
 */
import type { DomainHandle, DomainInfo, DomainSpec } from '../base/domain.js';
import type { SaveHelper } from './save-helper.js';

interface HostMemory {
  /** Bytes that domains may have in all. */
  readonly total: number;
  /** Bytes that are neither used nor promised. */
  readonly free: number;
}

export interface Backend {
  readonly name: 'simulator' | 'qemu';
  memory(): Promise<HostMemory>;
  /**
   * Check what this back end reads of a description, and complete it, so that it says all that the domain is made from. The same
   * on every host; a description that was completed before, or by an earlier version, stays what it is.
   * @throws INVALID_VALUE [field, value]
   */
  checkSpec(spec: DomainSpec): DomainSpec;
  /** Promise memory, in bytes, under a key. @throws HOST_NOT_ENOUGH_FREE_MEMORY */
  reserve(key: string, bytes: number): Promise<void>;
  release(key: string): Promise<void>;
  /**
   * Make a domain without content; `reservation` gives it the memory promised under that key.
   * @throws INVALID_VALUE as checkSpec, HOST_NOT_ENOUGH_FREE_MEMORY, DOMAIN_EXISTS
   */
  create(spec: DomainSpec, reservation?: string): Promise<DomainHandle>;
  /** Boot: fill its memory. It is paused then. */
  build(handle: DomainHandle): Promise<void>;
  /** As they are known to be: what has just happened to one may not have been told yet. */
  list(): Promise<DomainInfo[]>;
  /**
   * Ask for one domain anew.
   * @returns as it is now; undefined where it is gone
   * @throws INTERNAL_ERROR where it does not answer, as one does not whose process is about to end
   */
  look(handle: DomainHandle): Promise<DomainInfo | undefined>;
  /** What a domain was made from, under its name of now. */
  specOf(handle: DomainHandle): Promise<DomainSpec>;
  /** Returns when the domain writes no more. @param timeoutMs how long that may take, where the guest is given more time than usual */
  pause(handle: DomainHandle, timeoutMs?: number): Promise<void>;
  /**
   * Ask a guest that runs to shut down. Returns when it has, or writes no more; fine where it has ended by itself.
   * @throws VM_SHUTDOWN_TIMEOUT [uuid, seconds] where it does not in time; it goes on then
   */
  shutDownGuest(handle: DomainHandle, timeoutMs: number): Promise<void>;
  /** Idempotent by token. */
  unpause(handle: DomainHandle, token: string): Promise<void>;
  /** Fine when it is gone already. */
  destroy(handle: DomainHandle): Promise<void>;
  /** @returns whether it is gone now; a domain that ever ran stays */
  destroyUnlessRan(handle: DomainHandle): Promise<boolean>;
  rename(handle: DomainHandle, uuid: string): Promise<void>;
  markInDoubt(handle: DomainHandle, reason: string | undefined): Promise<void>;
  /** Take the digest of this paused instant, lazily. */
  armDigest(handle: DomainHandle): Promise<void>;
  /** The armed digest, hexadecimal, once it is complete. */
  digest(handle: DomainHandle): Promise<string>;
  /** The process that owns the domains of this host; undefined where there is no such process. */
  processId(): Promise<number | undefined>;
  /** What saves and restores its domains, as it is configured now. */
  saveHelper(): SaveHelper;
  /** Called with each domain whose state changed, and with those that are gone. */
  onDomainChange(listener: (domain: DomainInfo | { readonly gone: string }) => void): void;
  /** Let go of the back end; its domains live on. */
  close(): Promise<void>;
}
