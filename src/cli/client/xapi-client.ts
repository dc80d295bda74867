/** A session with a XenAPI server, as the command-line programs use it. A call may last as long as it needs. */
import { configKeys } from '../../base/config/keys.js';
import { XapiError } from '../../base/errors.js';
import { portNumber, serverOrigin } from '../../base/server-address.js';
import { createRpcClient, type RpcClient } from '../../wire/connection/rpc-client.js';

export interface XapiSession {
  /** `http://host:port` of the server that the session is with. */
  readonly url: string;
  readonly ref: string;
  /**
   * Send one message, with the session before its parameters.
   * @param method `Class.message`, with `Async.` before it for a task
   * @returns its result; the caller names the type that the model gives it
   * @throws XapiError as the server answers; an Error that names the URL when it cannot be reached
   */
  call<T = unknown>(method: string, ...params: unknown[]): Promise<T>;
  /** End the session, if the server is still there, and its connections. */
  logout(): Promise<void>;
}

export interface Credentials {
  readonly url: string;
  readonly username: string;
  readonly password: string;
}

/** Times to wait for a server, in milliseconds. */
export interface Patience {
  /** Time to wait for a connection. */
  readonly connectMs: number;
  /** Without a byte of the answer, unless the message may wait for something to happen. */
  readonly silenceMs: number;
}

export const usualPatience: Patience = { connectMs: 10_000, silenceMs: 120_000 };

/** Time in which a session is ended, in milliseconds: the server ends those that nobody uses. */
const logoutMs = 10_000;

/** Messages that may say nothing for as long as they like. */
const waiting: readonly string[] = ['event.from', 'event.next', 'host.call_plugin'];

/**
 * Open a session; a member names its coordinator, and the session is opened there, at the same port where it names none.
 * @param originator who asks, for the server's session row
 * @throws XapiError, SESSION_AUTHENTICATION_FAILED among others; an Error that names the URL when it cannot be reached
 */
export async function login(to: Credentials, originator: string, patience = usualPatience): Promise<XapiSession> {
  const client = createRpcClient(`${to.url}/jsonrpc`, {
    connectMs: patience.connectMs,
    silenceMs: (method) => (waiting.includes(method) ? undefined : patience.silenceMs),
  });
  try {
    const params = [to.username, to.password, '2.0', originator];
    return sessionOf(to.url, client, await ask<string>(to.url, client, 'session.login_with_password', params));
  } catch (error) {
    client.close();
    const coordinator = error instanceof XapiError && error.code === 'HOST_IS_SLAVE' ? error.params[0] : undefined;
    if (coordinator === undefined) throw error;
    const url = serverUrl(coordinator, new URL(to.url).port || '80');
    if (url === to.url) throw error;
    return login({ ...to, url }, originator, patience);
  }
}

function sessionOf(url: string, client: RpcClient, ref: string): XapiSession {
  return {
    url,
    ref,
    call: (method, ...params) => ask(url, client, method, [ref, ...params]),
    async logout() {
      await client.call('session.logout', [ref], logoutMs).catch(() => undefined);
      client.close();
    },
  };
}

/** The client's own failures have a cause; those that the server answered have none. */
async function ask<T>(url: string, client: RpcClient, method: string, params: readonly unknown[]): Promise<T> {
  try {
    return await client.call<T>(method, params);
  } catch (error) {
    if (!(error instanceof XapiError) || error.cause === undefined) throw error;
    const reason = error.params.join(' ').replace(`${method} at ${url}: `, '');
    throw new Error(`cannot reach a XenAPI server at ${url}: ${reason}`, { cause: error });
  }
}

/**
 * The URL of a server, see serverOrigin.
 * @param port for a server that names none; without it, the daemon's default one, and for a URL that of HTTP
 * @throws an Error that says what is allowed
 */
export function serverUrl(server: string, port?: string): string {
  if (port !== undefined) portNumber(port);
  return serverOrigin(server, port ?? configKeys.port.default);
}
