/** What web pages may do, by the Origin that their browser sends. */

import os from 'node:os';
import { expect } from 'chai';
import { createBodies } from '../../src/api/bodies.js';
import type { OriginPolicyInit } from '../../src/api/origin-policy.js';
import { createOriginPolicy } from '../../src/api/origin-policy.js';
import { defined } from '../../src/base/defined.js';
import { type ApiServer, startApi } from './api-server.js';
import { fakeDeps, rootSession } from './fake-deps.js';

const login = '{"id":1,"method":"session.login_with_password","params":["root","secret"]}';
const read = `{"id":1,"method":"VM.get_all_where","params":["${rootSession}","false"]}`;
const named = 'https://xo.example';

const policy = (init: Partial<OriginPolicyInit> = {}) =>
  createOriginPolicy({
    named: () => [named, 'http://192.0.2.9:8080'],
    names: ['Host1.example', 'machine-1', '192.0.2.7', '2001:db8::7', 'a name of words'],
    listenAddress: '192.0.2.7',
    port: 8480,
    ...init,
  });
const elsewhere = '198.51.100.1';

describe('a web page', () => {
  const rows: [origin: string, mayLogIn: boolean, listen?: string, caller?: string, port?: number][] = [
    [named, true],
    ['HTTPS://XO.example:443', true],
    ['http://xo.example', false],
    ['https://xo.example:8443', false],
    ['https://xo.example.evil.example', false],
    ['http://192.0.2.9:8080', true],
    ['http://192.0.2.9', false],
    ['http://host1.example:8480', true],
    ['http://HOST1.EXAMPLE:8480', true],
    ['http://machine-1:8480', true],
    ['http://192.0.2.7:8480', true],
    ['http://[2001:db8::7]:8480', true],
    ['http://[2001:0DB8:0:0::7]:8480', true],
    ['http://host1.example', false],
    ['http://host1.example:8481', false],
    ['https://host1.example:8480', false],
    ['http://host1.example', true, '192.0.2.7', elsewhere, 80],
    ['http://host1.example:80', true, '192.0.2.7', elsewhere, 80],
    ['http://evil.example:8480', false],
    ['http://localhost:8480', false],
    ['http://localhost:8480', false, '0.0.0.0'],
    ['http://localhost:8480', true, '0.0.0.0', '127.0.0.1'],
    ['http://localhost:8480', true, '127.0.0.1', '127.0.0.1'],
    ['http://127.0.0.1:8480', true, '127.0.0.1', '127.0.0.1'],
    ['http://127.1:8480', true, '127.0.0.1', '127.0.0.1'],
    ['http://127.0.0.1:8480', true, '::', '::ffff:127.0.0.1'],
    ['http://[::1]:8480', true, '::1', '::1'],
    ['http://127.0.0.2:8480', true, '127.0.0.2', '127.0.0.1'],
    ['http://localhost:8480', false, '127.0.0.2', '127.0.0.1'],
    ['null', false],
    ['', false],
    ['*', false],
    [`${named}, ${named}`, false],
    [`${named}/path`, false],
    ['file://', false],
    ['chrome-extension://host1.example:8480', false],
  ];
  for (const [origin, mayLogIn, listenAddress = '192.0.2.7', caller = elsewhere, port = 8480] of rows) {
    it(`of '${origin}', called from ${caller}, ${mayLogIn ? 'may' : 'may not'} log in at ${listenAddress} port ${port}`, () => {
      expect(policy({ listenAddress, port }).isForeign(origin, caller)).to.equal(!mayLogIn);
    });
  }

  it('of any address of the machine may log in where the daemon listens on every address', () => {
    const addresses = Object.values(os.networkInterfaces()).flatMap((all = []) => all.map(({ address }) => address));
    const origins = addresses.map((address) => `http://${address.includes(':') ? `[${address}]` : address}:8480`);
    const every = policy({ listenAddress: '::' });
    expect(origins.filter((origin) => every.isForeign(origin, '::1'))).to.deep.equal([]);
    expect(
      origins.filter((origin) => !policy().isForeign(origin, '::1') && !origin.includes('192.0.2.7')),
    ).to.deep.equal([]);
  });
});

describe('the API, asked by a browser', () => {
  let api: ApiServer;
  let logins: number;
  before(async () => {
    const deps = fakeDeps({
      handlers: {
        session: {
          login_with_password: () => {
            logins += 1;
            return rootSession;
          },
        },
      },
    });
    api = await startApi(deps, {}, createBodies(), policy());
  });
  after(() => api.close());
  beforeEach(() => (logins = 0));

  const ask = (body: string, origin?: string, path = '/jsonrpc') => api.send('POST', path, body, defined({ origin }));

  it('lets a page that is named log in, and read the answer', async () => {
    const { body, headers } = await ask(login, named);
    expect(body).to.contain(`"result":"${rootSession}"`);
    expect(headers).to.include({ 'access-control-allow-origin': named, vary: 'Origin' });
    expect(headers).not.to.have.property('access-control-allow-credentials');
  });

  it('lets a page of this host log in, which needs no leave to read', async () => {
    const { body, headers } = await ask(login, 'http://host1.example:8480');
    expect(body).to.contain(`"result":"${rootSession}"`);
    expect(headers).not.to.have.property('access-control-allow-origin');
  });

  it('lets a client that sends no Origin log in, whatever its Host', async () => {
    const { body } = await api.send('POST', '/jsonrpc', login, { host: 'evil.example' });
    expect(body).to.contain(`"result":"${rootSession}"`);
  });

  for (const origin of ['https://evil.example', 'null', 'http://evil.example:8480']) {
    it(`refuses a login of ${origin} before it looks at the password, in JSON and in XML`, async () => {
      const json = await api.send('POST', '/jsonrpc', login, { origin, host: 'evil.example:8480' });
      expect(json.body).to.equal(`{"result":null,"error":["PERMISSION_DENIED","${origin}"],"id":1}`);
      const xml =
        '<methodCall><methodName>session.login_with_password</methodName><params><param>root</param><param>secret</param></params></methodCall>';
      expect(
        (await ask(xml.replaceAll('<param>', '<param><value>').replaceAll('</param>', '</value></param>'), origin, '/'))
          .body,
      ).to.contain(`<value>PERMISSION_DENIED</value><value>${origin}</value>`);
      expect(logins).to.equal(0);
      expect(json.headers).not.to.have.property('access-control-allow-origin');
    });
  }

  for (const message of ['slave_login', 'slave_local_login', 'slave_local_login_with_password']) {
    it(`refuses session.${message} of a foreign page like any message without a session`, async () => {
      const params = message === 'slave_local_login' ? ['secret'] : ['OpaqueRef:host', 'secret'];
      const { body } = await ask(JSON.stringify({ id: 1, method: `session.${message}`, params }), 'null');
      expect(body).to.contain('"PERMISSION_DENIED"');
    });
  }

  it('answers a foreign page that shows a session, which it can have from its user alone, and lets no browser give it the answer', async () => {
    const { body, headers } = await ask(read, 'https://evil.example');
    expect(body).to.equal('{"result":[],"error":null,"id":1}');
    expect(headers).not.to.have.property('access-control-allow-origin');
  });

  it('answers the preflight of a page that is named, with the headers that were asked for', async () => {
    const headers = { origin: named, 'access-control-request-headers': 'content-type' };
    const reply = await api.send('OPTIONS', '/jsonrpc', '', headers);
    expect(reply.status).to.equal(200);
    expect(reply.headers).to.include({
      'access-control-allow-origin': named,
      'access-control-allow-headers': 'content-type, X-Requested-With',
      'access-control-allow-methods': 'POST',
      vary: 'Origin',
      'content-length': '0',
    });
    const plain = await api.send('OPTIONS', '/', '', { origin: named });
    expect(plain.headers['access-control-allow-headers']).to.equal('X-Requested-With');
  });

  for (const origin of ['https://evil.example', 'null', 'http://host1.example:8480']) {
    it(`refuses the preflight of ${origin}`, async () => {
      const reply = await api.send('OPTIONS', '/jsonrpc', '', { origin, 'access-control-request-method': 'POST' });
      expect(reply.status).to.equal(403);
      expect(Object.keys(reply.headers).filter((name) => name.startsWith('access-control'))).to.deep.equal([]);
    });
  }

  it('lets a page that is named read refusals too', async () => {
    const { status, headers } = await api.send('GET', '/nothing', '', { origin: named });
    expect([status, headers['access-control-allow-origin']]).to.deep.equal([404, named]);
  });
});
