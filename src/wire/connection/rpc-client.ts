/**
 * A JSON-RPC client over HTTP, for what hosts and pools ask of each other. Failures of the other side come back as the
 * XapiError that it threw; where there is no answer of the XenAPI, that is a NoAnswer.
 */
import http from 'node:http';
import jayson from 'jayson/promise/index.js';
import { within } from '../../base/deadline.js';
import { isErrorCode, messageOf, XapiError } from '../../base/errors.js';
import { spokenUrl } from '../../base/server-address.js';
import { limitConnecting, limitSilence } from './patience.js';

/** An INTERNAL_ERROR that names the method and the URL: the connection has failed, or what came is no answer of the XenAPI. */
export class NoAnswer extends XapiError {
  constructor(why: string, cause: unknown) {
    super('INTERNAL_ERROR', [why], cause);
  }
}

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
  readonly error?: WireError | null;
}

interface WireError {
  readonly message: unknown;
  readonly data?: unknown;
}

/** The longest answer, in bytes, unless told otherwise: the records of a large pool are some MiB. */
const longestAnswer = 64 << 20;

/** How a client of this kind asks; all of it may be left out. */
export interface RpcClientInit {
  /** Sent with every call, e.g. what authenticates it. */
  readonly headers?: Readonly<Record<string, string>>;
  /** The longest answer that is read, in bytes. */
  readonly answerLimit?: number;
  /** How long a connection may take to come about, in milliseconds; as long as the system lets it unless given. */
  readonly connectMs?: number;
  /** How long the other side may send no byte while a message is answered, in milliseconds; for ever where undefined. */
  readonly silenceMs?: (method: string) => number | undefined;
}

/** A call under way, with what has come of its answer. */
interface Exchange {
  readonly request: http.ClientRequest;
  response?: http.IncomingMessage;
  start: string;
}

/**
 * @param url of what answers, `http://` alone
 * @throws Error for another URL, see spokenUrl
 */
export function createRpcClient(url: string, init: RpcClientInit = {}): RpcClient {
  const { headers = {}, answerLimit = longestAnswer, connectMs, silenceMs = () => undefined } = init;
  const to = spokenUrl(url);
  const agent = new http.Agent({ keepAlive: true });
  const client = jayson.Client.http({
    host: to.hostname.replace(/^\[|\]$/g, ''),
    port: Number(to.port || 80),
    path: to.pathname + to.search,
    agent,
    headers: { ...headers },
  });
  let newest: Exchange | undefined;
  const exchanges = new WeakMap<http.ClientRequest, Exchange>();
  client.on('http request', (request: http.ClientRequest) => {
    newest = { request, start: '' };
    exchanges.set(request, newest);
    if (connectMs !== undefined) limitConnecting(request, connectMs);
  });
  client.on('http response', (response: http.IncomingMessage, request: http.ClientRequest) => {
    const exchange = exchanges.get(request) as Exchange;
    exchange.response = response;
    // The library does not notice that an answer breaks off, and would wait for ever.
    const fail = (why: string) => request.emit('error', new Error(why));
    let length = 0;
    response.on('data', (chunk: string) => {
      if (length < longestQuote) exchange.start += chunk.slice(0, longestQuote);
      length += chunk.length;
      if (length > answerLimit) fail(`the answer is longer than ${answerLimit} bytes`);
    });
    response.once('aborted', () => fail('the connection ended within the answer'));
  });
  const failed = (method: string, error: unknown, exchange?: Exchange): never => {
    throw new NoAnswer(`${method} at ${to.origin}: ${reasonOf(error, exchange)}`, error);
  };
  const call = async <T>(method: string, params: readonly unknown[], timeoutMs?: number): Promise<T> => {
    const answer = client.request(method, [...params]) as Promise<Reply | undefined>;
    // Made by now.
    const exchange = newest;
    const silence = silenceMs(method);
    if (exchange !== undefined && silence !== undefined) limitSilence(exchange.request, silence);
    // Else the connection to a host that is stopped would stay for as long as that is so.
    const giveUp = () => exchange?.request.destroy();
    const reply = await (timeoutMs === undefined ? answer : within(answer, timeoutMs, 'no answer', giveUp)).catch(
      (error: unknown) => failed(method, error, exchange),
    );
    if (typeof reply !== 'object' || reply === null) return failed(method, new SyntaxError('no reply'), exchange);
    const { error } = reply;
    if (error !== undefined && error !== null) throw wireError(error) ?? failed(method, new Error(textOf(error)));
    return reply.result as T;
  };
  return {
    call,
    async json<T>(method: string, params: readonly unknown[], timeoutMs?: number) {
      const text = await call<unknown>(method, params, timeoutMs);
      try {
        return JSON.parse(String(text)) as T;
      } catch (error) {
        return failed(method, error);
      }
    },
    close: () => agent.destroy(),
  };
}

/** How much of an answer is looked at and quoted to say why it is none, in characters. */
const longestQuote = 500;

/** Why there was no reply, on one line. */
function reasonOf(error: unknown, exchange: Exchange | undefined): string {
  if (error instanceof XapiError) return error.params.join(' ');
  // Node names every address that it tried in an AggregateError whose own message is empty.
  if (error instanceof AggregateError) return error.errors.map(messageOf).join(', ');
  const { code } = error as { code?: unknown };
  const response = exchange?.response;
  if (response !== undefined && (typeof code === 'number' || error instanceof SyntaxError)) {
    return otherAnswer(response, exchange?.start ?? '');
  }
  if (String(code).startsWith('HPE_')) return 'what answers there does not speak HTTP';
  if (messageOf(error) === 'socket hang up') return 'the connection was closed without an answer';
  return messageOf(error).trim().slice(0, longestQuote);
}

/** What an answer is that is none of JSON-RPC. */
function otherAnswer({ statusCode, headers }: http.IncomingMessage, start: string): string {
  if (headers.location !== undefined) return `HTTP ${statusCode}: it leads to ${headers.location}`;
  if (/^\s*</.test(start)) return `HTTP ${statusCode}: it answers with a web page`;
  const text = start.slice(0, longestQuote).replace(/\s+/g, ' ').trim();
  if (statusCode !== 200) return `HTTP ${statusCode}${text === '' ? '' : `: ${text}`}`;
  return text === '' ? 'the answer is empty' : `the answer is not of JSON-RPC: ${text}`;
}

/** The XenAPI's error, one of a later version of it included; undefined where it is none. */
function wireError({ message, data = [] }: WireError): XapiError | undefined {
  if (typeof message !== 'string' || !Array.isArray(data)) return undefined;
  const params = data.map(String);
  if (isErrorCode(message)) return new XapiError(message, params);
  return /^[A-Z][A-Z0-9_]*$/.test(message)
    ? new XapiError('INTERNAL_ERROR', [[message, ...params].join(' ')])
    : undefined;
}

function textOf(error: WireError): string {
  const { message = error, data } = error;
  return [message, ...(Array.isArray(data) ? data : [])].map(String).join(' ');
}
