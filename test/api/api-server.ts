/** The XenAPI's front on a loopback port, and raw requests to it. */

import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, request, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { type Bodies, createBodies } from '../../src/api/bodies.js';
import type { Download } from '../../src/api/download.js';
import { createHttpApi } from '../../src/api/http-api.js';
import type { OriginPolicy } from '../../src/api/origin-policy.js';
import { defined } from '../../src/base/defined.js';
import type { DispatchDeps } from '../../src/model/dispatch-deps.js';

interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface ApiServer {
  readonly port: number;
  send(method: string, path: string, body?: string | Buffer, headers?: Record<string, string>): Promise<Reply>;
  /** The reply's text to one body on /jsonrpc. */
  post(body: string | Buffer): Promise<string>;
  /** Everything that comes back for raw bytes until the server ends the connection. */
  raw(bytes: string | Buffer): Promise<string>;
  close(): Promise<void>;
}

export async function startApi(
  deps: DispatchDeps,
  downloads: Record<string, Download> = {},
  bodies: Bodies = createBodies(),
  pages?: OriginPolicy,
): Promise<ApiServer> {
  const server: Server = createServer(createHttpApi(deps, { downloads, bodies, ...defined({ pages }) }));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const send: ApiServer['send'] = (method, path, body = '', headers = {}) =>
    new Promise((resolve, reject) => {
      const sent = { 'content-length': String(Buffer.byteLength(body)), ...headers };
      const outgoing = request({ host: '127.0.0.1', port, method, path, headers: sent, agent: false }, (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
        incoming.on('error', reject);
        incoming.on('end', () => {
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            body: Buffer.concat(chunks).toString(),
          });
        });
      });
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  return {
    port,
    send,
    post: async (body) => (await send('POST', '/jsonrpc', body)).body,
    raw: async (bytes) => {
      const socket = connect(port, '127.0.0.1');
      const chunks: Buffer[] = [];
      socket.on('data', (chunk) => chunks.push(chunk));
      socket.on('error', () => {});
      socket.write(bytes);
      await once(socket, 'close');
      return Buffer.concat(chunks).toString();
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
