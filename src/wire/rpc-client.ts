/**
 * A JSON-RPC client over HTTP, for what hosts and pools ask of each other. Failures of the other side come back as the
 * XapiError that it threw; a connection that fails is an INTERNAL_ERROR that names the method and the URL.
 */
import http from 'node:http';
import jayson from 'jayson/promise/index.js';
import { within } from '../base/deadline.js';
import { isErrorCode, messageOf, XapiError } from '../base/errors.js';

/** The longest body of a call that a server of ours reads, in bytes. */
export const bodyLimit = 300 * 1024;

export interface RpcClient {
  call<T>(method: string, params: readonly unknown[], timeoutMs?: number): Promise<T>;
  /** The same for a host-level call, whose result is JSON in a string. */
  json<T>(method: string, params: readonly unknown[], timeoutMs?: number): Promise<T>;
  close(): void;
}

interface Reply {
  readonly result?: unknown;
  readonly error?: { readonly message: string; readonly data?: unknown };
}

/** The longest answer, in bytes, unless told otherwise: the records of a large pool are some MiB. */
const longestAnswer = 64 << 20;

/**
 * @param headers sent with every call, e.g. what authenticates it
 * @param answerLimit the longest answer that is read, in bytes
 */
export function createRpcClient(
  url: string,
  headers: Readonly<Record<string, string>> = {},
  answerLimit = longestAnswer,
): RpcClient {
  const to = new URL(url);
  const agent = new http.Agent({ keepAlive: true });
  const client = jayson.Client.http({
    host: to.hostname.replace(/^\[|\]$/g, ''),
    port: Number(to.port || 80),
    path: to.pathname + to.search,
    agent,
    headers: { ...headers },
  });
  client.on('http response', (response: http.IncomingMessage, request: http.ClientRequest) => {
    // The library does not notice that an answer breaks off, and would wait for ever.
    const fail = (why: string) => request.emit('error', new Error(why));
    let length = 0;
    response.on('data', (chunk: string) => {
      length += chunk.length;
      if (length > answerLimit) fail(`the answer is longer than ${answerLimit} bytes`);
    });
    response.once('aborted', () => fail('the connection ended within the answer'));
  });
  let newest: http.ClientRequest | undefined;
  client.on('http request', (request: http.ClientRequest) => {
    newest = request;
  });
  const failed = (method: string) => (error: unknown) => {
    throw new XapiError('INTERNAL_ERROR', [`${method} at ${to.origin}: ${reasonOf(error)}`], error);
  };
  const call = async <T>(method: string, params: readonly unknown[], timeoutMs?: number): Promise<T> => {
    const answer = client.request(method, [...params]) as Promise<Reply>;
    // Made by now. Else its connection to a host that is stopped would stay for as long as that is so.
    const request = newest;
    const giveUp = () => request?.destroy();
    const reply = await (timeoutMs === undefined ? answer : within(answer, timeoutMs, 'no answer', giveUp)).catch(
      failed(method),
    );
    if (reply.error !== undefined) throw wireError(reply.error);
    return reply.result as T;
  };
  return {
    call,
    async json<T>(method: string, params: readonly unknown[], timeoutMs?: number) {
      const text = await call<unknown>(method, params, timeoutMs);
      try {
        return JSON.parse(String(text)) as T;
      } catch (error) {
        return failed(method)(error);
      }
    },
    close: () => agent.destroy(),
  };
}

/** Why there was no reply; an answer that is none comes with its HTTP status. */
function reasonOf(error: unknown): string {
  if (error instanceof XapiError) return error.params.join(' ');
  const { code } = error as { code?: unknown };
  return `${typeof code === 'number' ? `HTTP ${code}: ` : ''}${messageOf(error).trim().slice(0, 500)}`;
}

function wireError(error: { message: string; data?: unknown }): XapiError {
  const params = Array.isArray(error.data) ? error.data.map(String) : [];
  return isErrorCode(error.message)
    ? new XapiError(error.message, params)
    : new XapiError('INTERNAL_ERROR', [[error.message, ...params].join(' ')]);
}
