/** Passwords: kept as scrypt hashes alone, checked in constant time and off the event loop. */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';

export interface PasswordHash {
  /** Base64. */
  readonly salt: string;
  readonly hash: string;
  /** scrypt's N; r is 8, p is 1. */
  readonly cost: number;
}

const cost = 16384;
const hashBytes = 32;

/**
 * @param password any text; it is hashed as UTF-8
 */
export async function hashPassword(password: string): Promise<PasswordHash> {
  const salt = randomBytes(16);
  const hash = await derive(password, salt, cost);
  return { salt: salt.toString('base64'), hash: hash.toString('base64'), cost };
}

/** Whether the password is the hashed one. Without a hash it takes as long, and says no. */
export async function passwordMatches(password: string, known: PasswordHash | undefined): Promise<boolean> {
  const salt = known === undefined ? Buffer.alloc(16) : Buffer.from(known.salt, 'base64');
  const hash = await derive(password, salt, known?.cost ?? cost);
  const wanted = known === undefined ? Buffer.alloc(hashBytes) : Buffer.from(known.hash, 'base64');
  return timingSafeEqual(hash, wanted) && known !== undefined;
}

function derive(password: string, salt: Buffer, n: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password, salt, hashBytes, { N: n, r: 8, p: 1 }, (error, hash) => (error ? reject(error) : resolve(hash)));
  });
}
