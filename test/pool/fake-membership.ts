/** The membership of a pool's hosts, in memory: what each member was told last, and which of them cannot be told. */
import { XapiError } from '../../src/base/errors.js';
import type { PoolMembership } from '../../src/pool/hosts/membership.js';

export interface FakeMembership extends PoolMembership {
  /** The secrets that each member has, by its URL. */
  readonly told: Map<string, readonly string[]>;
  /** The URLs of those that were told to leave. */
  readonly left: string[];
  /** What a call at a URL throws. */
  readonly refusing: Map<string, XapiError>;
}

export function fakeMembership(): FakeMembership {
  let secrets: readonly string[] = ['the first secret'];
  const told = new Map<string, readonly string[]>();
  const left: string[] = [];
  const refusing = new Map<string, XapiError>();
  const assertWilling = (url: string): void => {
    const refusal = refusing.get(url);
    if (refusal !== undefined) throw refusal;
  };
  return {
    ...{ told, left, refusing },
    secrets: () => secrets,
    async takeSecrets(taken) {
      secrets = taken;
    },
    control: (url) => ({
      async takeSecrets(taken) {
        assertWilling(url);
        told.set(url, taken);
      },
      async leave() {
        assertWilling(url);
        left.push(url);
      },
    }),
    async join() {
      throw new XapiError('INTERNAL_ERROR', ['this host joins no pool']);
    },
  };
}
