/** A session with a XenAPI server, as the command-line programs use it. A call may last as long as it needs. */
import { configKeys } from '../base/config-keys.js';
import { messageOf, XapiError } from '../base/errors.js';
import { portNumber, serverOrigin } from '../base/server-address.js';
import { createRpcClient, type RpcClient } from '../wire/rpc-client.js';

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

/**
 * Open a session; a member names its coordinator, and the session is opened there, at the same port where it names none.
 * @param originator who asks, for the server's session row
 * @throws XapiError, SESSION_AUTHENTICATION_FAILED among others; an Error that names the URL when it cannot be reached
 */
export async function login(to: Credentials, originator: string): Promise<XapiSession> {
  const client = createRpcClient(`${to.url}/jsonrpc`);
  try {
    const params = [to.username, to.password, '2.0', originator];
    return sessionOf(to.url, client, await ask<string>(to.url, client, 'session.login_with_password', params));
  } catch (error) {
    client.close();
    const coordinator = error instanceof XapiError && error.code === 'HOST_IS_SLAVE' ? error.params[0] : undefined;
    if (coordinator === undefined) throw error;
    const url = serverUrl(coordinator, new URL(to.url).port || '80');
    if (url === to.url) throw error;
    return login({ ...to, url }, originator);
  }
}

function sessionOf(url: string, client: RpcClient, ref: string): XapiSession {
  return {
    url,
    ref,
    call: (method, ...params) => ask(url, client, method, [ref, ...params]),
    async logout() {
      await client.call('session.logout', [ref]).catch(() => undefined);
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
    throw new Error(`cannot reach a XenAPI server at ${url}: ${reasonOf(error.cause)}`, { cause: error });
  }
}

/** Node names every address that it tried in an AggregateError whose own message is empty. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join(', ');
  return messageOf(error);
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
