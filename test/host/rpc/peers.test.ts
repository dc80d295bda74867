import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { toXapiError } from '../../../src/base/errors.js';
import { createPeers } from '../../../src/host/rpc/peers.js';
import { testDomain } from '../../support/hosts.js';
import { captureLog } from '../../support/log.js';

describe('the call of another pool for a migration', () => {
  const session = `OpaqueRef:${randomUUID()}`;

  for (const [what, error] of [
    ['a session that is none', { code: 1, message: 'SESSION_INVALID', data: [session] }],
    ['no code of the model', { code: 1, message: `${session} is unknown`, data: ['to us', session] }],
  ] as const) {
    it(`fails without the session where the other pool repeats it, with ${what}`, async () => {
      const server = http.createServer((request, response) => {
        request.resume().once('end', () => response.end(JSON.stringify({ jsonrpc: '2.0', id: 1, error })));
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const master = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const domain = testDomain();
      const metadata = { version: 1, domain, vifs: [] } as const;
      const peers = createPeers(
        () => ['secret'],
        captureLog().log,
        () => 5000,
      );
      const destination = { kind: 'foreign', hostRef: 'OpaqueRef:host', master, session } as const;
      const request = {
        ...{ migrationId: randomUUID(), task: 'OpaqueRef:task', uuid: domain.uuid, source: randomUUID() },
        ...{ destination, metadata, compress: false },
      };
      const failure = await peers.receive(request, metadata).then(() => undefined, toXapiError);
      expect(failure?.params.join(' ')).to.contain('***');
      expect(`${failure?.stack} ${failure?.params}`).not.to.contain(session);
      server.closeAllConnections();
      server.close();
    });
  }
});
