/** How this host reaches the destinations of its migrations: VM.receive, and the host-level calls that carry a token. */
import { XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { decodeReply, encodeMetadata } from '../../migrate/metadata.js';
import type { Peers } from '../../migrate/peers.js';
import type { Permission, Settlement } from '../../migrate/protocol.js';
import { checkReply } from '../../migrate/reply-check.js';
import { xenopsPath } from '../../wire/connection/channel.js';
import { createRpcClient, type RpcClient } from '../../wire/connection/rpc-client.js';
import { receiveProof, type Secrets, withSecret } from './secrets.js';

/** What a peer says of a migration is short. */
const answerLimit = 1 << 20;
/** A digest waits until the whole memory was hashed. */
const digestTimeoutMs = 600_000;

/**
 * @param secrets the pool's, which hosts of one pool show each other
 * @param timeoutMs how long another host has to answer, in milliseconds; a digest has longer
 */
export function createPeers(secrets: Secrets, log: Log, timeoutMs: () => number): Peers {
  async function ask<T>(url: string, work: (client: RpcClient) => Promise<T>): Promise<T> {
    const client = createRpcClient(url, { answerLimit });
    try {
      return await work(client);
    } finally {
      client.close();
    }
  }
  return {
    async receive({ migrationId, destination }, metadata) {
      const text = encodeMetadata(metadata);
      log.debug('VM.receive', {
        migration: migrationId,
        at: destination.kind === 'pool' ? (destination.xenops ?? destination.url) : destination.master,
      });
      if (destination.kind === 'pool') {
        const url = destination.xenops ?? `${destination.url}${xenopsPath}`;
        const proof = (secret: string) => receiveProof(secret, destination.hostUuid, migrationId, text);
        const reply = await ask(url, (host) =>
          withSecret(secrets, (secret) => host.json('VM.receive', [proof(secret), migrationId, text], timeoutMs())),
        );
        return checkReply(decodeReply(reply), destination.url, metadata.domain);
      }
      const params = [destination.session, destination.hostRef, migrationId, text, {}];
      const url = `${destination.master}/jsonrpc`;
      const reply = await ask(url, (pool) => pool.call('VM.receive', params, timeoutMs())).catch((error: unknown) => {
        throw withoutText(error, destination.session);
      });
      return checkReply(decodeReply(reply), destination.master, metadata.domain);
    },
    at: (url) => ({
      settle: (id, token) => ask(url, (client) => client.json<Settlement>('settle', [id, token], timeoutMs())),
      acknowledge: (id, token) => ask(url, (client) => client.json<void>('acknowledge', [id, token], timeoutMs())),
      mayRun: (id, token) => ask(url, (client) => client.json<Permission>('mayRun', [id, token], timeoutMs())),
      digest: (id, token) => ask(url, (client) => client.json<string>('digest', [id, token], digestTimeoutMs)),
    }),
  };
}

/** An error of a peer, in which a secret that the peer was shown, and may repeat, is hidden. */
function withoutText(error: unknown, secret: string): unknown {
  if (secret === '' || !(error instanceof XapiError)) return error;
  if (!error.params.some((param) => param.includes(secret))) return error;
  return new XapiError(
    error.code,
    error.params.map((param) => param.replaceAll(secret, '***')),
  );
}
