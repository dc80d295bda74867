/** What a host can be asked to do with a domain, as data. Migrations have a protocol of their own: see migrate/. */
import type { DomainSpec } from '../base/domain.js';

export type Operation =
  | { readonly kind: 'start'; readonly spec: DomainSpec; readonly paused: boolean }
  | { readonly kind: 'pause'; readonly uuid: string }
  | { readonly kind: 'unpause'; readonly uuid: string }
  /** Clean lets the guest stop before its domain goes. What it was suspended to goes too. */
  | { readonly kind: 'shutdown'; readonly uuid: string; readonly clean: boolean }
  /** Shut down, and start as a new domain. */
  | { readonly kind: 'reboot'; readonly spec: DomainSpec; readonly clean: boolean }
  | { readonly kind: 'suspend'; readonly uuid: string }
  | { readonly kind: 'resume'; readonly uuid: string; readonly paused: boolean };

/** The VM that an operation is about, whose lane it takes. */
export function vmOf(operation: Operation): string {
  return 'spec' in operation ? operation.spec.uuid : operation.uuid;
}
