/**
 * What the source says to the destination apart from the channels, and the command that ends a silent commit.
 *
 * Each call carries the token that VM.receive gave, for this migration alone. `settle` is a command, not a question: the
 * destination records for good whichever of {point 3, settle} came first, and answers it. It is sent again and again, with growing
 * pauses, for a time; after that the VM stays in doubt. `acknowledge` lets the destination forget the outcome; `digest` gives the
 * digest of what arrived.
 */
import { setTimeout } from 'node:timers/promises';
import { messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { ReceiveReply, VmMetadata } from './metadata.js';
import { shorten } from './peer-word.js';
import type { Settlement } from './protocol.js';
import type { MigrateRequest } from './request.js';

/** How a source reaches destinations over RPC. */
export interface Peers {
  /** VM.receive, where the request says. */
  receive(request: MigrateRequest, metadata: VmMetadata): Promise<ReceiveReply>;
  /** The destination host of an attempt, by the URL below which its channels are. */
  at(xenopsUrl: string): Peer;
}

/** The destination host of one attempt; every call carries the migration's token. */
export interface Peer {
  settle(migrationId: string, token: string): Promise<Settlement>;
  /** The source knows the outcome: the destination may forget it. */
  acknowledge(migrationId: string, token: string): Promise<void>;
  /** The digest of what the destination got, once it is complete. */
  digest(migrationId: string, token: string): Promise<string>;
}

/** What a source needs to know of an attempt to settle it. */
export interface Agreed {
  readonly migrationId: string;
  readonly xenopsUrl: string;
  readonly token: string;
}

const firstPauseMs = 200;
const longestPauseMs = 30_000;

/**
 * Settle a migration.
 *
 * @param timeoutMs give up after so long; `unknown` then
 */
export async function settleWithin(timeoutMs: number, peers: Peers, agreed: Agreed, log: Log): Promise<Settlement> {
  const until = Date.now() + timeoutMs;
  for (let pause = firstPauseMs; ; pause = Math.min(pause * 2, longestPauseMs)) {
    try {
      const settlement: unknown = await peers.at(agreed.xenopsUrl).settle(agreed.migrationId, agreed.token);
      // The VM is resumed or destroyed by this word: nothing else is taken for an outcome.
      if (settlement === 'taken' || settlement === 'refused') return settlement;
      log.warn(`settle: the destination answers ${shorten(JSON.stringify(settlement))}`);
    } catch (error) {
      log.warn(`settle: ${messageOf(error)}`);
    }
    if (Date.now() + pause > until) return 'unknown';
    await setTimeout(pause);
  }
}
