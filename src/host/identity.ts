/** Who this host is, and the secret that the hosts of its pool share; both outlive the daemon. */
import { randomBytes, randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { messageOf } from '../base/errors.js';
import type { Store } from '../base/store.js';

/** The host's uuid, made at the first start. */
export async function hostUuid(store: Store): Promise<string> {
  const table = store.table<string>('host');
  const known = table.get('uuid');
  if (known !== undefined) return known;
  const uuid = randomUUID();
  await table.put('uuid', uuid);
  return uuid;
}

/**
 * The pool's secret.
 *
 * @param path of the file, which only its owner may read
 * @param make whether to make one where there is none: on a coordinator
 * @throws an Error that names the file
 */
export async function poolSecret(path: string, make: boolean): Promise<string> {
  try {
    const secret = (await readFile(path, 'utf8')).trim();
    if (secret.length < 16) throw new Error('it must hold at least 16 characters');
    return secret;
  } catch (error) {
    if (!make || (error as NodeJS.ErrnoException).code !== 'ENOENT') {
      throw new Error(`pool-secret-file ${path}: ${messageOf(error)}`, { cause: error });
    }
  }
  const secret = randomBytes(32).toString('hex');
  await writeFile(path, `${secret}\n`, { mode: 0o600, flag: 'wx' });
  return secret;
}
