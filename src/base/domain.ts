/**
 * A domain as every back end has it: how it is named, described, and told of. What one back end alone knows of its domains stays
 * behind the seam of `backend/`.
 */

/** The bytes of a page of guest memory. */
export const pageSize = 4096;

/**
 * The name of one domain for good; what journals and clean-up hold. Domids are never used again, and a back end that has lost
 * its domains is another instance, so that a handle of an older one is refused.
 */
export interface DomainHandle {
  readonly instance: string;
  readonly domid: number;
}

/** Tell whether two handles name the same domain. */
export function sameDomain(a: DomainHandle, b: DomainHandle): boolean {
  return a.instance === b.instance && a.domid === b.domid;
}

/** `building`: being filled, by boot or by a restore; never ran. */
export type DomainState = 'building' | 'paused' | 'running' | 'shutdown';

/** How a guest has ended by itself. */
export const guestEnds = ['poweroff', 'reboot', 'crash'] as const;
export type GuestEnd = (typeof guestEnds)[number];

/**
 * What a domain is made from, on whatever host. What a back end has written beside these fields (`Backend.checkSpec`) belongs to
 * it alone: others pass it on as it is, over the wire and in rows.
 */
export interface DomainSpec {
  /** The VM's, or that of a copy under way. */
  readonly uuid: string;
  readonly name: string;
  /** A multiple of the page size. */
  readonly memoryBytes: number;
  readonly vcpus: number;
  /** The device numbers of its virtual GPUs. */
  readonly vgpus: readonly string[];
  /**
   * What the VM's record says to its back end, by field and key: `other_config:simulator:seed`. Absent from a description by a
   * host of an earlier version.
   */
  readonly settings?: Readonly<Record<string, string>>;
}

/** A domain that is there. */
export interface DomainInfo {
  readonly handle: DomainHandle;
  readonly uuid: string;
  readonly name: string;
  readonly state: DomainState;
  /** Where the state is `shutdown`: what the guest wants. */
  readonly ended?: GuestEnd;
  /** Whether it was ever unpaused here; never goes back to false. */
  readonly everRan: boolean;
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly vgpus: readonly string[];
  /** Why it is in doubt; an in-doubt domain refuses to run. */
  readonly inDoubt?: string;
  /** Why it was paused though nobody has asked for that; until it is unpaused. */
  readonly stalled?: string;
}
