/**
 * Who this host is, which pool it belongs to, and the secret that the hosts of its pool share; all of it outlives the daemon.
 *
 * At first the configuration says it: the coordinator's URL, or none for a coordinator, and the file with the secret. Once the
 * host has joined or left a pool, or its pool's secret was rotated, a row in the store says it, and the configuration is heard
 * again only when its key `coordinator` is changed.
 */
import { randomUUID } from 'node:crypto';
import { messageOf } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { readTextFile } from '../../base/named-file.js';
import { replaceFile } from '../../base/store/durable-file.js';
import type { Store } from '../../base/store/store.js';
import { newSecret, type Secrets } from './secrets.js';

export interface Identity {
  readonly uuid: string;
  readonly secrets: Secrets;
  /** The coordinator's URL; undefined where this host is the coordinator. */
  coordinator(): string | undefined;
  /** Whether the store still has the rows of a pool that this host has left. */
  hasLeft(): boolean;
  /** Note that the rows of the pool that was left are gone. */
  forgotten(): Promise<void>;
  /** Share these secrets from now on. Resolves when that is durable, as do `join` and `leave`. */
  takeSecrets(secrets: readonly string[]): Promise<void>;
  /** Become a member of the pool of a coordinator. @returns a function that takes that back */
  join(coordinator: string, secrets: readonly string[]): Promise<() => Promise<void>>;
  /** Become the coordinator of a pool of this host alone, with a secret that nobody else has. */
  leave(): Promise<void>;
}

export interface IdentityInit {
  readonly store: Store;
  /** The configured URL of the coordinator; empty on a coordinator. */
  readonly coordinator: string;
  readonly secretFile: string;
  readonly log: Log;
}

/** What the host has become by joining or leaving a pool. */
interface Membership {
  /** The configured URL of the coordinator when the host joined or left. */
  readonly configured: string;
  /** The coordinator's URL; empty on a coordinator. */
  readonly coordinator: string;
  readonly secrets: readonly string[];
  readonly hasLeft: boolean;
}

/** Read who the host is. @throws an Error that names the file of the secret, where that file is needed and cannot be used */
export async function openIdentity({ store, coordinator, secretFile, log }: IdentityInit): Promise<Identity> {
  const uuid = await hostUuid(store);
  const table = store.table<Membership>('membership');
  const known = table.get('own');
  let membership: Membership;
  if (known === undefined || known.configured !== coordinator) {
    const secrets = [await poolSecret(secretFile, coordinator === '')];
    membership = { configured: coordinator, coordinator, secrets, hasLeft: known?.hasLeft ?? false };
    if (known !== undefined) await table.remove('own');
  } else {
    membership = known;
    log.info('what joining, leaving or rotation of the secret made of this host counts, not its configuration', {
      coordinator: known.coordinator === '' ? 'this host' : known.coordinator,
    });
  }
  const put = async (change: Partial<Membership>): Promise<void> => {
    const changed = { ...membership, ...change };
    await table.put('own', changed);
    await store.flushed();
    membership = changed;
  };
  return {
    uuid,
    secrets: () => membership.secrets,
    coordinator: () => membership.coordinator || undefined,
    hasLeft: () => membership.hasLeft,
    forgotten: () => put({ hasLeft: false }),
    async takeSecrets(secrets) {
      if (secrets.join() === membership.secrets.join()) return;
      const [old = ''] = membership.secrets;
      await put({ secrets });
      await renewFile(secretFile, old, secrets[0] ?? '', log);
    },
    async join(url, secrets) {
      const { coordinator: before, secrets: old, hasLeft } = membership;
      await put({ coordinator: url, secrets, hasLeft: true });
      return () => put({ coordinator: before, secrets: old, hasLeft });
    },
    leave: () => put({ coordinator: '', secrets: [newSecret()], hasLeft: true }),
  };
}

/** The host's uuid, made at the first start. The uuid outlives a loss of power, as the coordinator knows the host by it. */
export async function hostUuid(store: Store): Promise<string> {
  const table = store.table<string>('host');
  const known = table.get('uuid');
  if (known !== undefined) return known;
  const uuid = randomUUID();
  await table.put('uuid', uuid);
  await store.flushed();
  return uuid;
}

/**
 * The pool's secret as it is in its file.
 *
 * @param path of the file, which only its owner may read
 * @param make whether to make one where there is none: on a coordinator
 * @throws an Error that names the file
 */
export async function poolSecret(path: string, make: boolean): Promise<string> {
  try {
    const secret = readTextFile(path).trim();
    if (secret.length < 16) throw new Error('it must hold at least 16 characters');
    return secret;
  } catch (error) {
    if (!make || (error as NodeJS.ErrnoException).code !== 'ENOENT') {
      throw new Error(`pool-secret-file ${path}: ${messageOf(error)}`, { cause: error });
    }
  }
  const secret = newSecret();
  await writeSecret(path, secret);
  return secret;
}

async function writeSecret(path: string, secret: string): Promise<void> {
  await replaceFile(path, `${secret}\n`).catch((error: unknown) => {
    throw new Error(`pool-secret-file ${path}: ${messageOf(error)}`, { cause: error });
  });
}

/**
 * Write a new secret into the file, where the file has this pool's secret and can be written: hosts that are configured later
 * read it.
 */
async function renewFile(path: string, old: string, secret: string, log: Log): Promise<void> {
  try {
    if (readTextFile(path).trim() !== old) return;
    await writeSecret(path, secret);
  } catch (error) {
    log.warn(`the old secret stays in its file: ${messageOf(error)}`);
  }
}
