/**
 * The XenAPI over HTTP: which path is which protocol, what a body may be, and the headers of every reply.
 *
 * A failure of the API is a reply like any other, with status 200. Only what is no call gets 500, and its connection ends.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { defined } from '../base/defined.js';
import { XapiError } from '../base/errors.js';
import type { Dispatch } from '../model/dispatch.js';
import type { DispatchDeps } from '../model/dispatch-deps.js';
import type { CallOrigin } from '../model/handlers.js';
import { bodyLimit } from '../wire/connection/rpc-client.js';
import type { AnswerBody } from './answer.js';
import { type Bodies, createBodies } from './bodies.js';
import { createDispatch } from './dispatch.js';
import { answerDownload, type Download } from './download.js';
import { describeError } from './failure-log.js';
import { createJsonRpc } from './jsonrpc.js';
import { noPages, type OriginPolicy } from './origin-policy.js';
import { createXmlRpc } from './xmlrpc.js';

/** Bytes of an over-long body that are read and thrown away, so that the caller gets to read the refusal. */
const drainLimit = 16 * bodyLimit;

const commonHeaders = { 'cache-control': 'no-cache, no-store', vary: 'Origin' };

const greeting = 'This is xenferry, a XenAPI toolstack. POST JSON-RPC calls to /jsonrpc, XML-RPC calls to /.\n';

export interface HttpApiInit {
  /** Dispatchers that answer JSON-RPC on further paths: the host-level calls. */
  readonly others?: Readonly<Record<string, Dispatch>>;
  /** Files by the path at which they are fetched. */
  readonly downloads?: Readonly<Record<string, Download>>;
  /** Reads the bodies of calls. */
  readonly bodies?: Bodies;
  /** Policy for web pages; without one they may do nothing. */
  readonly pages?: OriginPolicy;
}

/** @returns what a node:http server calls for each request */
export function createHttpApi(
  deps: DispatchDeps,
  { others = {}, downloads = {}, bodies = createBodies(), pages = noPages }: HttpApiInit = {},
): (request: IncomingMessage, response: ServerResponse) => void {
  const dispatch = createDispatch(deps);
  const front: Front = {
    deps,
    byPath: new Map(
      Object.entries({ '/jsonrpc': dispatch, ...others }).map(([path, each]) => [path, createJsonRpc(each)]),
    ),
    other: createXmlRpc(dispatch),
    downloads: new Map(Object.entries(downloads)),
    bodies,
    pages,
  };
  return (request, response) => {
    if (request.httpVersion === '1.0') response.shouldKeepAlive = false;
    // A caller that goes away is no failure of ours.
    request.on('error', () => {});
    response.on('error', () => {});
    route(front, request, response).catch((error: unknown) => {
      deps.log.error('request failed', { method: request.method, ...describeError(error, [request.url]) });
      if (response.headersSent) response.destroy();
      else refuse(response, 500, 'internal error');
    });
  };
}

interface Front {
  readonly deps: DispatchDeps;
  readonly byPath: ReadonlyMap<string, AnswerBody>;
  /** Protocol of every other path: XML-RPC, whose own are `/` and `/RPC2`. */
  readonly other: AnswerBody;
  readonly downloads: ReadonlyMap<string, Download>;
  readonly bodies: Bodies;
  readonly pages: OriginPolicy;
}

async function route(front: Front, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { path, query } = targetOf(request);
  const { origin } = request.headers;
  if (origin !== undefined && front.pages.isNamed(origin)) response.setHeader('access-control-allow-origin', origin);
  const download = request.method === 'GET' ? front.downloads.get(path) : undefined;
  if (download !== undefined) {
    const refusal = await answerDownload(front.deps, query, download, response);
    return refusal === undefined ? undefined : refuse(response, refusal.status, refusal.text);
  }
  switch (request.method) {
    case 'POST':
      return await answerCall(front, front.byPath.get(path) ?? front.other, request, response);
    case 'OPTIONS':
      return answerOptions(front, request, response);
    case 'GET':
    case 'HEAD':
      if (path === '/') return reply(response, 200, 'text/plain', greeting);
      if (front.byPath.has(path) || path === '/RPC2') {
        return await turnAway(front, request, response, 405, `POST calls to ${path}`, 'OPTIONS, POST');
      }
      return await turnAway(front, request, response, 404, `there is nothing at ${path}`);
    default: {
      const what = `${request.method} is not served: POST calls to /jsonrpc or /`;
      return await turnAway(front, request, response, 405, what, 'GET, HEAD, OPTIONS, POST');
    }
  }
}

/**
 * Where a request goes: the path without the scheme and host of an absolute target, doubled slashes and one at its end; what
 * its query says.
 */
function targetOf({ url = '/', method }: IncomingMessage): { path: string; query: URLSearchParams } {
  const [, path = '', query = ''] = /^(?:https?:\/\/[^/?#]*)?([^?#]*)(?:\?([^#]*))?/is.exec(url) ?? [];
  // The target of CONNECT is a host and port.
  const plain = method === 'CONNECT' ? '/' : path.replace(/\/{2,}/g, '/').replace(/(.)\/$/, '$1');
  return { path: plain === '' ? '/' : plain, query: new URLSearchParams(query) };
}

/**
 * Refuse what is no call: read its body, so that the caller gets to read the answer, and end the task that it made for
 * it.
 */
async function turnAway(
  { deps }: Front,
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  text: string,
  allow?: string,
): Promise<void> {
  const { path, query } = targetOf(request);
  const task = query.get('task_id');
  const session =
    deps.coordinatorAddress() === undefined ? deps.sessions.use(query.get('session_id') ?? '') : undefined;
  const maySpeak = session !== undefined && session.permissions === undefined;
  if (task !== null && maySpeak) deps.tasks.end(task, new XapiError('NOT_IMPLEMENTED', [`${request.method} ${path}`]));
  await drain(request);
  refuse(response, status, text, defined({ allow }));
}

/** Read what comes, to its end or for as long as it is worth it. */
async function drain(request: IncomingMessage): Promise<void> {
  let length = 0;
  // The connection of a CONNECT is no longer HTTP, so its end does not come.
  if (request.method === 'CONNECT') return;
  await new Promise<void>((resolve) => {
    request.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length > drainLimit) resolve();
    });
    request.once('end', resolve);
    request.once('close', resolve);
  });
}

async function answerCall(
  { bodies, pages }: Front,
  answerBody: AnswerBody,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const length = Number(request.headers['content-length'] ?? Number.NaN);
  if (Number.isNaN(length)) return refuse(response, 500, 'the request needs a Content-Length');
  if (length > bodyLimit) {
    if (length <= drainLimit) await drain(request);
    return refuse(response, 500, `the body is longer than ${bodyLimit} bytes`);
  }
  const body = await bodies.read(request, length);
  if (body === undefined) return;
  const answer = await answerBody(body, originOf(pages, request, response));
  if (answer.status === 500) response.shouldKeepAlive = false;
  reply(response, answer.status, answer.contentType, answer.text);
}

function originOf(pages: OriginPolicy, request: IncomingMessage, response: ServerResponse): CallOrigin {
  const { origin } = request.headers;
  const address = request.socket.remoteAddress ?? '';
  let closed: AbortSignal | undefined;
  return {
    address,
    userAgent: request.headers['user-agent'] ?? '',
    get foreignPage() {
      return origin !== undefined && pages.isForeign(origin, address) ? origin : undefined;
    },
    // Few calls ask for it, and to make and abort one costs as much as the rest of a small call.
    get closed() {
      closed ??= closeOf(response);
      return closed;
    },
  };
}

/** Aborted once the response has been sent or can no longer be. */
function closeOf(response: ServerResponse): AbortSignal {
  const closed = new AbortController();
  if (response.closed) closed.abort();
  else response.on('close', () => closed.abort());
  return closed.signal;
}

/**
 * Say what a page may send, to a browser that asks for one that is named (CORS preflight); any other client what is
 * served.
 */
function answerOptions({ pages }: Front, request: IncomingMessage, response: ServerResponse): void {
  const { origin } = request.headers;
  if (origin !== undefined && !pages.isNamed(origin)) {
    refuse(response, 403, 'pages of this origin are not in cors-origins');
    return;
  }
  const asked = request.headers['access-control-request-headers'];
  response.writeHead(200, {
    ...commonHeaders,
    ...(origin === undefined
      ? { allow: 'GET, HEAD, OPTIONS, POST' }
      : {
          'access-control-allow-headers': asked === undefined ? 'X-Requested-With' : `${asked}, X-Requested-With`,
          'access-control-allow-methods': 'POST',
        }),
    'content-length': 0,
  });
  response.end();
}

function reply(response: ServerResponse, status: number, contentType: string, text: string): void {
  response.writeHead(status, {
    ...commonHeaders,
    'content-type': contentType,
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}

/** Say what was wrong, and end the connection: what follows on it may be the rest of a body that nobody reads. */
function refuse(response: ServerResponse, status: number, text: string, headers: Record<string, string> = {}): void {
  response.shouldKeepAlive = false;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  reply(response, status, 'text/plain', `${text}\n`);
}
