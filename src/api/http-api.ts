/**
 * The XenAPI over HTTP: which path is which protocol, what a body may be, and the headers of every reply.
 *
 * A failure of the API is a reply like any other, with status 200. Only what is no call gets 500, and its connection ends.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { DispatchDeps } from '../base/dispatch-deps.js';
import type { CallOrigin } from '../base/handlers.js';
import { createDispatch, type Dispatch } from './dispatch.js';
import { type AnswerBody, createJsonRpc } from './jsonrpc.js';

/** The longest body, in bytes. */
export const bodyLimit = 300 * 1024;

/** How much of an over-long body is read and thrown away, in bytes, so that the caller gets to read the refusal. */
const drainLimit = 16 * bodyLimit;

/** One protocol of calls. */
interface RpcProtocol {
  /** Exactly what the reply's header says; clients compare it as a whole. */
  readonly contentType: 'application/json' | 'text/xml';
  readonly answer: AnswerBody;
}

const commonHeaders = { 'cache-control': 'no-cache, no-store', 'access-control-allow-origin': '*' };

const greeting = 'This is xenferry, a XenAPI toolstack. POST JSON-RPC calls to /jsonrpc.\n';

/**
 * @param others what answers JSON-RPC on further paths: the host-level calls
 * @returns what a node:http server calls for each request
 */
export function createHttpApi(
  deps: DispatchDeps,
  others: Readonly<Record<string, Dispatch>> = {},
): (request: IncomingMessage, response: ServerResponse) => void {
  // XML-RPC's place is '/', which serves every path that has no protocol of its own.
  const protocols = new Map<string, RpcProtocol>(
    Object.entries({ '/jsonrpc': createDispatch(deps), ...others }).map(([path, dispatch]) => [
      path,
      { contentType: 'application/json', answer: createJsonRpc(dispatch) },
    ]),
  );
  return (request, response) => {
    if (request.httpVersion === '1.0') response.shouldKeepAlive = false;
    // A caller that goes away is no failure of ours.
    request.on('error', () => {});
    response.on('error', () => {});
    route(protocols, request, response).catch((error: unknown) => {
      deps.log.error('request failed', { method: request.method, path: pathOf(request), error });
      if (response.headersSent) response.destroy();
      else refuse(response, 500, 'internal error');
    });
  };
}

async function route(
  protocols: ReadonlyMap<string, RpcProtocol>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = pathOf(request);
  switch (request.method) {
    case 'POST': {
      const protocol = protocols.get(path) ?? protocols.get('/');
      if (protocol === undefined) return refuse(response, 501, `POST to ${path} is not served: use /jsonrpc`);
      return await answerCall(protocol, request, response);
    }
    case 'OPTIONS':
      return answerOptions(request, response);
    case 'GET':
    case 'HEAD':
      if (path !== '/') return refuse(response, 404, `there is nothing at ${path}`);
      return reply(response, 200, 'text/plain', greeting);
    default:
      return refuse(response, 405, `${request.method} is not served: POST calls to /jsonrpc`, {
        allow: 'GET, HEAD, OPTIONS, POST',
      });
  }
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? '/').replace(/[?#].*$/s, '');
}

async function answerCall(protocol: RpcProtocol, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const length = Number(request.headers['content-length'] ?? Number.NaN);
  if (Number.isNaN(length)) return refuse(response, 500, 'the request needs a Content-Length');
  if (length > bodyLimit) {
    if (length <= drainLimit) await readBody(request, () => {});
    return refuse(response, 500, `the body is longer than ${bodyLimit} bytes`);
  }
  const chunks: Buffer[] = [];
  const complete = await readBody(request, (chunk) => chunks.push(chunk));
  if (!complete) return;
  const text = await protocol.answer(Buffer.concat(chunks), originOf(request, response));
  if (text === undefined) return refuse(response, 500, 'the body is not one call');
  reply(response, 200, protocol.contentType, text);
}

/** Read to the end; false where the caller went away before. */
function readBody(request: IncomingMessage, take: (chunk: Buffer) => void): Promise<boolean> {
  return new Promise((resolve) => {
    request.on('data', take);
    request.on('end', () => resolve(true));
    request.on('close', () => resolve(false));
  });
}

function originOf(request: IncomingMessage, response: ServerResponse): CallOrigin {
  const closed = new AbortController();
  response.on('close', () => closed.abort());
  return {
    address: request.socket.remoteAddress ?? '',
    userAgent: request.headers['user-agent'] ?? '',
    closed: closed.signal,
  };
}

function answerOptions(request: IncomingMessage, response: ServerResponse): void {
  const asked = request.headers['access-control-request-headers'];
  response.writeHead(200, {
    ...commonHeaders,
    'access-control-allow-headers': asked === undefined ? 'X-Requested-With' : `${asked}, X-Requested-With`,
    'access-control-allow-methods': 'POST',
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
