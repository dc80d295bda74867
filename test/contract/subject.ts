/** What the suite of every back end is given. */
import type { Backend } from '../../src/backend/backend.js';
import type { DomainHandle, DomainSpec } from '../../src/base/domain.js';

/** What differs between back ends. */
export interface Subject {
  /** Bytes of the memory of a domain of the suite. */
  readonly domainBytes: number;
  /** Bytes that a domain takes beside its memory. */
  readonly overheadBytes: number;
  /** @param memoryBytes what there is for domains in all */
  make(memoryBytes: number): Promise<BackendUnderTest>;
}

export interface BackendUnderTest {
  readonly backend: Backend;
  /** What the guests of the suite are made of: each writes to its memory while it runs. */
  specOf(uuid: string, memoryBytes: number): DomainSpec;
  /** Resolves when the guest of a running domain has written to its memory since the call. */
  untilWritten(handle: DomainHandle): Promise<void>;
  /** End it and everything that it runs. */
  dispose(): Promise<void>;
}
