import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { expect } from 'chai';
import { toXapiError, type XapiError } from '../../../src/base/errors.js';
import { createPeers } from '../../../src/host/rpc/peers.js';
import type { Destination } from '../../../src/migrate/request.js';
import { testDomain } from '../../support/hosts.js';
import { captureLog } from '../../support/log.js';

const session = `OpaqueRef:${randomUUID()}`;
const json = (body: object): string => http(JSON.stringify({ jsonrpc: '2.0', id: 1, ...body }), 'application/json');
function http(body: string, type = 'text/html'): string {
  return `HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

/** Take calls, each of which is answered with these bytes; `undefined`: the connection ends, `null`: nothing comes. */
async function serve(answer: string | undefined | null): Promise<{ port: number; close(): void }> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    if (answer === undefined) socket.destroy();
    else if (answer !== null) socket.once('data', () => socket.write(answer));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

describe('a call for a migration, at an address that its caller has given,', () => {
  const domain = testDomain();
  const metadata = { version: 1, domain, vifs: [] } as const;
  const captured = captureLog();
  const peers = createPeers(
    () => ['secret'],
    captured.log,
    () => 200,
  );
  const receive = (destination: Destination): Promise<XapiError | undefined> => {
    const request = {
      ...{ migrationId: randomUUID(), task: 'OpaqueRef:task', uuid: domain.uuid, source: randomUUID() },
      ...{ destination, metadata, compress: false },
    };
    return peers.receive(request, metadata).then(() => undefined, toXapiError);
  };
  const foreign = (port: number): Destination => ({
    ...{ kind: 'foreign', hostRef: 'OpaqueRef:host', master: `http://127.0.0.1:${port}`, session },
  });
  const inPool = (port: number): Destination => ({
    ...{ kind: 'pool', hostUuid: randomUUID(), url: 'http://192.0.2.1' },
    xenops: `http://127.0.0.1:${port}/services/xenops`,
  });

  it('fails without the session where the other pool repeats it, and so does the log', async () => {
    for (const [error, code] of [
      [{ code: 1, message: 'SESSION_INVALID', data: [session] }, 'SESSION_INVALID'],
      [{ code: 1, message: `${session} is unknown`, data: ['to us', session] }, 'CANNOT_CONTACT_HOST'],
    ] as const) {
      const server = await serve(json({ error }));
      const failure = await receive(foreign(server.port));
      server.close();
      expect(failure?.code).to.equal(code);
      expect(`${failure?.stack} ${failure?.params} ${failure?.cause} ${captured.messages()}`).not.to.contain(session);
    }
    expect(captured.messages().join()).to.contain('*** is unknown');
  });

  it('fails with the error of a XenAPI that is there, cut to what a record can bear', async () => {
    const server = await serve(
      json({ error: { code: 1, message: 'HOST_DISABLED', data: Array(99).fill('x'.repeat(5000)) } }),
    );
    for (const to of [foreign, inPool]) {
      const { code, params } = (await receive(to(server.port))) as XapiError;
      expect(code).to.equal('HOST_DISABLED');
      expect(params.join().length).to.be.within(1, 40_000);
    }
    server.close();
  });

  const others: [what: string, answer: string | undefined | null | 'closed', logged: RegExp][] = [
    ['nobody', 'closed', /ECONNREFUSED/],
    ['somebody who hangs up', undefined, /without an answer|ECONNRESET/],
    ['somebody who says nothing', null, /no answer within/],
    ['a server that speaks first', 'SSH-2.0-OpenSSH_9.2\r\n', /does not speak HTTP/],
    ['a web page', http('<html>secret</html>'), /a web page/],
    ['a text', http('secret'), /not of JSON-RPC: secret/],
    ['JSON-RPC that has no such method', json({ error: { code: -32601, message: 'no secret' } }), /no secret/],
    ['an error without a code', json({ error: 'secret' }), /secret/],
    ['JSON-RPC that takes any call', json({ result: 'secret' }), /VM.receive/],
    ['an answer that names other places', json({ result: { control: 'http://secret', token: 'x' } }), /VM.receive/],
  ];
  for (const [what, answer, logged] of others) {
    it(`fails always alike where no XenAPI is, and the log says why: ${what}`, async () => {
      const server = await serve(answer === 'closed' ? undefined : answer);
      if (answer === 'closed') server.close();
      const before = captured.records.length;
      const failures = [
        await receive(foreign(server.port)),
        await receive(inPool(server.port)),
        await peers
          .at(`http://127.0.0.1:${server.port}/services/xenops`)
          .expects('id', 'token')
          .then(() => undefined, toXapiError),
      ];
      server.close();
      for (const failure of failures) {
        expect([failure?.code, ...(failure?.params ?? []), failure?.cause]).to.deep.equal([
          'CANNOT_CONTACT_HOST',
          '127.0.0.1',
          undefined,
        ]);
      }
      const said = captured.records.slice(before).filter(({ level }) => level === 'warn');
      expect(said.map(({ message }) => message)).to.have.length(3);
      expect(said[0]?.message).to.match(logged);
    });
  }
});
