/** A small XenAPI server over real HTTP, whose database is a plain object. It records what is asked of it. */
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export type Database = Record<string, Record<string, Record<string, unknown>>>;

/** Answers one message; what it throws, as [code, ...params], is the error. */
export type Answer = (params: unknown[]) => unknown;

export interface FakeXapi {
  readonly url: string;
  /** Every message since the start, without those of sessions and of plain reading. */
  readonly calls: { readonly method: string; readonly params: unknown[] }[];
  close(): Promise<void>;
}

export const secret = 'correct horse';

/** @param answers messages by name that do something of their own */
export async function startFakeXapi(
  db: Database,
  answers: Record<string, Answer> = {},
  address = '127.0.0.1',
): Promise<FakeXapi> {
  const calls: FakeXapi['calls'] = [];
  const answer = (method: string, params: unknown[]): unknown => {
    if (method === 'session.login_with_password') return logIn(params);
    if (method === 'session.logout') return '';
    const [session, ...rest] = params;
    if (session !== 'OpaqueRef:session') throw ['SESSION_INVALID', String(session)];
    const [cls = '', name = ''] = method.split('.');
    if (answers[method] === undefined && name.startsWith('get_') && isRead(db, cls, name))
      return read(db, cls, name, rest);
    calls.push({ method, params: rest });
    return answers[method]?.(rest) ?? '';
  };
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { id, method, params } = JSON.parse(Buffer.concat(chunks).toString());
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ jsonrpc: '2.0', id, ...outcome(() => answer(method, params)) }));
    });
  });
  server.listen(0, address);
  await once(server, 'listening');
  return {
    url: `http://${address}:${(server.address() as AddressInfo).port}`,
    calls,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

function logIn([username, password]: unknown[]): string {
  if (username === 'root' && password === secret) return 'OpaqueRef:session';
  throw ['SESSION_AUTHENTICATION_FAILED', String(username), 'Authentication failure'];
}

function isRead(db: Database, cls: string, name: string): boolean {
  if (/^get_(record|all_records|by_uuid)$/.test(name)) return true;
  return Object.values(db[cls] ?? {}).some((record) => Object.hasOwn(record, name.slice('get_'.length)));
}

function read(db: Database, cls: string, name: string, [key]: unknown[]): unknown {
  const objects = db[cls] ?? {};
  if (name === 'get_all_records') return objects;
  if (name !== 'get_by_uuid') {
    const record = objects[String(key)];
    if (record === undefined) throw ['HANDLE_INVALID', cls, String(key)];
    return name === 'get_record' ? record : record[name.slice('get_'.length)];
  }
  const found = Object.entries(objects).find(([, { uuid }]) => uuid === key);
  if (found === undefined) throw ['UUID_INVALID', cls, String(key)];
  return found[0];
}

function outcome(work: () => unknown): { result: unknown } | { error: unknown } {
  try {
    return { result: work() };
  } catch (error) {
    if (!Array.isArray(error)) throw error;
    const [message, ...data] = error;
    return { error: { code: 1, message, data } };
  }
}
