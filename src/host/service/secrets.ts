/** The secret by which the hosts of a pool know each other. While it is being changed there are several. */
import { createHmac, randomBytes } from 'node:crypto';
import { XapiError } from '../../base/errors.js';

/** The newest first; the others count until every host of the pool has the newest. */
export type Secrets = () => readonly string[];

export function newSecret(): string {
  return randomBytes(32).toString('hex');
}

/**
 * What shows, in place of the secret itself, that a host of the pool calls VM.receive: a caller may have said by which way the
 * call goes, and whoever is there learns nothing that opens another call.
 * @param host the uuid of the host that is called
 * @param metadata as text, as it is sent
 * @returns an HMAC-SHA-256 in hexadecimal
 */
export function receiveProof(secret: string, host: string, migrationId: string, metadata: string): string {
  return createHmac('sha256', secret)
    .update(JSON.stringify(['VM.receive', host, migrationId, metadata]))
    .digest('hex');
}

/** Call another host with the newest secret, and with an older one where it does not know that yet. */
export async function withSecret<T>(secrets: Secrets, call: (secret: string) => Promise<T>): Promise<T> {
  const [newest = '', ...older] = secrets();
  try {
    return await call(newest);
  } catch (error) {
    if (older.length === 0 || !isUnknownSecret(error)) throw error;
    return withSecret(() => older, call);
  }
}

/** Whether a call failed as the other host knows none of the secrets. */
export function isUnknownSecret(error: unknown): boolean {
  return error instanceof XapiError && error.code === 'SESSION_AUTHENTICATION_FAILED';
}
