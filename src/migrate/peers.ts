/**
 * What the two hosts of a migration say to each other apart from the channels, and the command that ends a silent commit.
 *
 * Each call carries the token that VM.receive gave, for this migration alone. `settle` is a command, not a question: the
 * destination records for good whichever of {point 3, settle} came first, and answers it. It is sent again and again, with
 * growing pauses, until it is answered. `acknowledge` lets the destination forget the outcome; `digest` gives the digest of what
 * arrived. `mayRun` goes the other way: a destination that took the VM and was interrupted before it ran asks the source.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf, XapiError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { ReceiveReply, VmMetadata } from './metadata.js';
import { shorten } from './peer-text.js';
import type { Permission, Settlement } from './protocol.js';
import type { MigrateRequest } from './request.js';

/** How a host reaches the other one of a migration over RPC. */
export interface Peers {
  /** Call VM.receive at the destination that the request names. */
  receive(request: MigrateRequest, metadata: VmMetadata): Promise<ReceiveReply>;
  /**
   * Look up the URL that a caller has named.
   * @returns the URL with the address of now, as a name may stand for another place later
   * @throws CANNOT_CONTACT_HOST [host] where nothing takes a connection there
   */
  locate(url: string): Promise<string>;
  /** Make what reaches the other host of an attempt, by the URL below which its channels are. */
  at(xenopsUrl: string): Peer;
}

/** The other host of one attempt; every call carries the migration's token. */
export interface Peer {
  settle(migrationId: string, token: string): Promise<Settlement>;
  /**
   * Tell the destination that the source knows the outcome, so that the destination may forget it.
   * @throws while the VM that was taken does not run yet
   */
  acknowledge(migrationId: string, token: string): Promise<void>;
  /**
   * Ask whether the destination waits for the channels of the migration; of use where a caller has named the destination's URL.
   * @throws CANNOT_CONTACT_HOST [host] where nothing answers that speaks the XenAPI
   */
  expects(migrationId: string, token: string): Promise<boolean>;
  /** Ask for the digest of the memory that the destination received, once all of it was hashed. */
  digest(migrationId: string, token: string): Promise<string>;
  /** Ask the source whether the destination, which took the VM, may run the VM. */
  mayRun(migrationId: string, token: string): Promise<Permission>;
}

/** What a source needs to know of an attempt to settle it. */
export interface Agreed {
  readonly migrationId: string;
  /** The URL below which the migration goes: the caller's, or the destination's own. */
  readonly xenopsUrl: string;
  /** The destination's own URL, where the caller's is another. */
  readonly direct?: string | undefined;
  readonly token: string;
}

/**
 * Ask the destination by the route of the migration, and where nothing answers there, at the destination's own address.
 * @throws what the destination answers, or that it does not
 */
export async function askDestination<T>(
  peers: Pick<Peers, 'at'>,
  { xenopsUrl, direct }: Agreed,
  ask: (peer: Peer) => Promise<T>,
): Promise<T> {
  try {
    return await ask(peers.at(xenopsUrl));
  } catch (error) {
    const isAnswer = error instanceof XapiError && error.code !== 'INTERNAL_ERROR';
    if (direct === undefined || isAnswer) throw error;
    return ask(peers.at(direct));
  }
}

const firstPauseMs = 200;
const longestPauseMs = 5_000;

/**
 * Settle a migration within a time.
 *
 * @param timeoutMs give up after so long; `unknown` then
 * @param signal gives up at once
 */
export async function settleWithin(
  timeoutMs: number,
  peers: Peers,
  agreed: Agreed,
  log: Log,
  signal?: AbortSignal,
): Promise<Settlement> {
  const until = performance.now() + timeoutMs;
  for (let pause = firstPauseMs; signal?.aborted !== true; pause = Math.min(pause * 2, longestPauseMs)) {
    const settlement = await settleOnce(peers, agreed, log);
    if (settlement !== 'unknown') return settlement;
    if (performance.now() + pause > until) break;
    await delay(pause, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
  }
  return 'unknown';
}

/** Settle a migration with one call; `unknown` where the call has no clear answer. Never throws. */
export async function settleOnce(peers: Peers, agreed: Agreed, log: Log): Promise<Settlement> {
  try {
    return await askDestination(peers, agreed, async (destination) => {
      const settlement: unknown = await destination.settle(agreed.migrationId, agreed.token);
      // The answer decides whether the VM is resumed or destroyed here, so any other text counts as no answer.
      if (settlement === 'taken' || settlement === 'refused') return settlement;
      throw new Error(`the destination answers ${shorten(JSON.stringify(settlement))}`);
    });
  } catch (error) {
    log.warn(`settle: ${messageOf(error)}`);
  }
  return 'unknown';
}
