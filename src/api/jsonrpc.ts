/**
 * JSON-RPC 1.0 and 2.0 around the dispatcher; the only file that knows jayson.
 *
 * jayson gets one whole call at a time and gives its answer back: what it does badly (batches, notifications, handlers that
 * throw) never reaches it. The answer's text is made here, because a result is JSON text already, by its declared type.
 */

import { isUtf8 } from 'node:buffer';
import jayson from 'jayson';
import { defined } from '../base/defined.js';
import { toXapiError } from '../base/errors.js';
import type { Call, Dispatch } from '../model/dispatch.js';
import type { AnswerBody } from './answer.js';
import { encodeJson } from './json-value.js';

type Version = 1 | 2;

interface Request {
  readonly version: Version;
  readonly id: string | number;
  readonly method: string;
  readonly params: readonly unknown[];
}

interface ApiFailure {
  readonly code: 1;
  readonly message: string;
  readonly data: readonly string[];
}

/** What jayson gives back of what `answer` gave it; its own failures have other codes. */
interface Response {
  readonly result?: { readonly text: string };
  readonly error?: ApiFailure | { readonly code: number; readonly message: string } | null;
}

const notOneCall = { status: 500, contentType: 'text/plain', text: 'the body is not one call\n' } as const;

/** @returns what answers the body of a request; bad JSON, a batch, a notification and the like are no calls */
export function createJsonRpc(dispatch: Dispatch): AnswerBody {
  // A router's plain function would get no context, so the one method knows that it wants it.
  const method = new jayson.Method(
    (_params: unknown, context: unknown, done: (error: ApiFailure | null, result?: { text: string }) => void) => {
      answer(dispatch, context as Call).then(
        (text) => done(null, { text }),
        (error: unknown) => done(failureOf(error)),
      );
    },
    { useContext: true },
  );
  const servers = {
    1: new jayson.Server({}, { version: 1, router: () => method }),
    2: new jayson.Server({}, { version: 2, router: () => method }),
  };
  return async (body, origin) => {
    const request = parseRequest(body.toString('utf8'));
    if (request === undefined) return notOneCall;
    const call: Call = { name: request.method, params: request.params, validUtf8: isUtf8(body), origin };
    const text = respond(request, await callJayson(servers[request.version], request, call));
    return text === undefined ? notOneCall : { status: 200, contentType: 'application/json', text };
  };
}

async function answer(dispatch: Dispatch, call: Call): Promise<string> {
  const { type, value } = await dispatch(call);
  return encodeJson(type, value);
}

function failureOf(error: unknown): ApiFailure {
  const { code, params } = toXapiError(error);
  return { code: 1, message: code, data: params };
}

function callJayson(server: jayson.Server, request: Request, call: Call): Promise<Response> {
  const { version, id, method, params } = request;
  const body = { ...defined({ jsonrpc: version === 2 ? '2.0' : undefined }), id, method, params: [...params] };
  return new Promise((resolve) => {
    server.call(body, call, (error, result) => resolve((error ?? result ?? {}) as Response));
  });
}

function respond({ version, id }: Request, response: Response): string | undefined {
  const echo = JSON.stringify(id);
  const { error, result } = response;
  if (error !== undefined && error !== null) {
    if (!('data' in error)) return undefined;
    const { code, message, data } = error;
    return version === 2
      ? `{"jsonrpc":"2.0","error":${JSON.stringify({ code, message, data })},"id":${echo}}`
      : `{"result":null,"error":${JSON.stringify([message, ...data])},"id":${echo}}`;
  }
  if (result === undefined) return undefined;
  return version === 2
    ? `{"jsonrpc":"2.0","result":${result.text},"id":${echo}}`
    : `{"result":${result.text},"error":null,"id":${echo}}`;
}

function parseRequest(text: string): Request | undefined {
  const json = parseJson(text);
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return undefined;
  const { jsonrpc, id, method, params = [] } = json as Readonly<Record<string, unknown>>;
  if (typeof method !== 'string' || !isId(id)) return undefined;
  if (jsonrpc !== undefined && jsonrpc !== '2.0') return undefined;
  const version = jsonrpc === undefined ? 1 : 2;
  if (Array.isArray(params)) return { version, id, method, params };
  // Named parameters are one parameter, a dictionary, to the XenAPI.
  if (version === 2 && typeof params === 'object' && params !== null) return { version, id, method, params: [params] };
  return undefined;
}

function isId(id: unknown): id is string | number {
  return typeof id === 'string' || Number.isSafeInteger(id);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
