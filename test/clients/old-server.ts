/** A server without JSON-RPC, as old ones were: a proxy before a pool's, which answers at /jsonrpc in XML. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export interface OldServer {
  readonly url: string;
  /** The paths that were asked for. */
  readonly paths: readonly string[];
  /** Returns when the calls under way have their answers. */
  close(): Promise<void>;
}

/** @param target the URL of the server behind it */
export async function startOldServer(target: string): Promise<OldServer> {
  const paths: string[] = [];
  let pending = 0;
  const server = createServer((from, to) => {
    paths.push(from.url ?? '');
    pending += 1;
    to.on('close', () => {
      pending -= 1;
    });
    if (from.url === '/jsonrpc') to.writeHead(200, { 'content-type': 'text/xml' }).end(fault);
    else pass(target, from, to);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    paths,
    async close() {
      while (pending > 0) await delay(5);
      server.closeAllConnections();
      await once(server.close(), 'close');
    },
  };
}

const fault =
  '<?xml version="1.0"?><methodResponse><fault><value><struct>' +
  '<member><name>faultCode</name><value><int>-1</int></value></member>' +
  '<member><name>faultString</name><value>not an XML-RPC call</value></member>' +
  '</struct></value></fault></methodResponse>';

function pass(target: string, from: IncomingMessage, to: ServerResponse): void {
  const { method, headers } = from;
  const onward = request(new URL(from.url ?? '/', target), { method, headers }, (answer) => {
    to.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(to);
  });
  onward.on('error', () => to.destroy());
  to.on('close', () => onward.destroy());
  from.pipe(onward);
}
