/** How this host reaches the destinations of its migrations: VM.receive, and the host-level calls that carry a token. */
import { once } from 'node:events';
import { connect, isIP, isIPv6, type LookupFunction } from 'node:net';
import { within } from '../../base/deadline.js';
import { defined } from '../../base/defined.js';
import { messageOf, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { decodeReply, encodeMetadata } from '../../migrate/metadata.js';
import { shorten } from '../../migrate/peer-text.js';
import type { Peers } from '../../migrate/peers.js';
import type { Permission, Settlement } from '../../migrate/protocol.js';
import { checkReply } from '../../migrate/reply-check.js';
import { xenopsPath } from '../../wire/connection/channel.js';
import { createRpcClient, NoAnswer, type RpcClient } from '../../wire/connection/rpc-client.js';
import { receiveProof, type Secrets, withSecret } from '../service/secrets.js';

/** The longest answer of a peer, in bytes: answers about a migration are short. */
const answerLimit = 1 << 20;
/** How many parameters of a peer's error are kept. */
const mostParams = 16;
/** How long a digest may take, in milliseconds: it waits until the whole memory was hashed. */
const digestTimeoutMs = 600_000;

/**
 * Make what reaches the other hosts of migrations.
 *
 * @param secrets
 * the pool's, which hosts of one pool show each other
 * @param timeoutMs
 * how long another host has to answer, in milliseconds; a digest has longer
 * @param lookup
 * what finds the addresses of names; the system's where absent
 */
export function createPeers(secrets: Secrets, log: Log, timeoutMs: () => number, lookup?: LookupFunction): Peers {
  return {
    locate: (url) => locate(url, timeoutMs(), lookup).catch((error: unknown) => cannotContact(log, url, error)),
    async receive(request, metadata) {
      const { migrationId, destination } = request;
      const at = destination.kind === 'pool' ? (destination.xenops ?? destination.url) : destination.master;
      log.debug('VM.receive', { migration: migrationId, at });
      const text = encodeMetadata(metadata);
      const asked = destination.kind === 'pool' ? destination.url : destination.master;
      const agree = (reply: unknown) => checkReply(decodeReply(reply), asked, metadata.domain);
      if (destination.kind === 'foreign') {
        const { master, session, hostRef } = destination;
        const params = [session, hostRef, migrationId, text, {}];
        const call = (pool: RpcClient) => pool.call<unknown>('VM.receive', params, timeoutMs());
        return askChosen(log, `${master}/jsonrpc`, call, agree, session);
      }
      const { hostUuid, url, xenops } = destination;
      const proof = (secret: string) => receiveProof(secret, hostUuid, migrationId, text);
      const call = (host: RpcClient) =>
        withSecret(secrets, (secret) =>
          host.json<unknown>('VM.receive', [proof(secret), migrationId, text], timeoutMs()),
        );
      return xenops === undefined ? agree(await ask(`${url}${xenopsPath}`, call)) : askChosen(log, xenops, call, agree);
    },
    at: (url) => ({
      settle: (id, token) => ask(url, (client) => client.json<Settlement>('settle', [id, token], timeoutMs())),
      acknowledge: (id, token) => ask(url, (client) => client.json<void>('acknowledge', [id, token], timeoutMs())),
      mayRun: (id, token) => ask(url, (client) => client.json<Permission>('mayRun', [id, token], timeoutMs())),
      digest: (id, token) => ask(url, (client) => client.json<string>('digest', [id, token], digestTimeoutMs)),
      expects: (id, token) =>
        askChosen(log, url, (client) => client.json<unknown>('expects', [id, token], timeoutMs()), readBoolean),
    }),
  };
}

/** Ask over a connection that is opened for this call. */
async function ask<T>(url: string, work: (client: RpcClient) => Promise<T>): Promise<T> {
  const client = createRpcClient(url, { answerLimit });
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

/**
 * Ask at a URL that a caller has chosen, which may be anywhere. A caller who cannot reach that place must not learn from this host
 * what is there, and so hears the XenAPI's own errors and nothing else.
 *
 * @param read
 * converts the answer
 * @throws
 * what the peer answers, without the secret that it was shown; CANNOT_CONTACT_HOST [host] for all else
 */
async function askChosen<T, R>(
  log: Log,
  url: string,
  work: (client: RpcClient) => Promise<T>,
  read: (answer: T) => R,
  secret = '',
): Promise<R> {
  const answer = await ask(url, work).catch((error: unknown) => {
    if (error instanceof XapiError && !(error instanceof NoAnswer)) throw ofPeer(error, secret);
    return cannotContact(log, url, error, secret);
  });
  try {
    return read(answer);
  } catch (error) {
    return cannotContact(log, url, error, secret);
  }
}

/** @throws CANNOT_CONTACT_HOST [host]; the log alone says why */
function cannotContact(log: Log, url: string, error: unknown, secret = ''): never {
  log.warn(`no answer of the XenAPI: ${hide(messageOf(error), secret)}`);
  throw new XapiError('CANNOT_CONTACT_HOST', [hostOf(url)]);
}

function hostOf(url: string): string {
  return new URL(url).hostname.replace(/^\[|\]$/g, '');
}

/** A name may have several addresses, of which one may answer: it is that to which a connection comes about. */
async function locate(url: string, timeoutMs: number, lookup?: LookupFunction): Promise<string> {
  const host = hostOf(url);
  if (isIP(host) !== 0) return url;
  const to = new URL(url);
  const socket = connect({ host, port: Number(to.port || 80), ...defined({ lookup }) });
  try {
    await within(once(socket, 'connect'), timeoutMs, 'no connection');
    const address = socket.remoteAddress ?? host;
    to.hostname = isIPv6(address) ? `[${address}]` : address;
    return to.href;
  } finally {
    socket.destroy();
  }
}

/** Read an answer of yes or no. @throws TypeError for any other */
function readBoolean(answer: unknown): boolean {
  if (typeof answer !== 'boolean') throw new TypeError('the answer is neither true nor false');
  return answer;
}

/** An error of a peer as it is shown: in bounds, and with the secret hidden that the peer was shown and may repeat. */
function ofPeer({ code, params, cause }: XapiError, secret: string): XapiError {
  return new XapiError(
    code,
    params.slice(0, mostParams).map((param) => shorten(hide(param, secret))),
    cause,
  );
}

function hide(text: string, secret: string): string {
  return secret === '' ? text : text.replaceAll(secret, '***');
}
