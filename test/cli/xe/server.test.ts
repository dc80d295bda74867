/** Where xe connects to, with something that listens where it must not: at the port that a URL has by default. */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';
import { messageOf } from '../../../src/base/errors.js';
import { login } from '../../../src/cli/client/xapi-client.js';
import { type FakeXapi, secret, startFakeXapi } from './fake-xapi.js';
import { database, xeAt } from './harness.js';

const program = fileURLToPath(new URL('../../../src/cli/xe/main.js', import.meta.url));

describe('xe and the name of its server', () => {
  // An address that nothing else uses, so that port 80 of it is free.
  const address = `127.${randomInt(1, 255)}.${randomInt(1, 255)}.${randomInt(2, 255)}`;
  let server: FakeXapi;
  let port: string;
  let decoy: net.Server;
  let touched = 0;
  before(async () => {
    server = await startFakeXapi(database(), {}, address);
    port = new URL(server.url).port;
    decoy = net.createServer((socket) => {
      touched += 1;
      socket.destroy();
    });
    // Where port 80 is for others alone there is nobody to be told a password.
    await once(decoy.listen(80, address), 'listening').catch(() => undefined);
  });
  after(async () => {
    await server.close();
    decoy.close();
  });
  const xe = (...args: string[]) => execa(process.execPath, [program, ...args, '-pw', secret], { reject: false });
  const list = ['vm-list', 'params=name-label', '--minimal'];

  for (const form of [
    'URL',
    'URL/',
    'URL/jsonrpc',
    'URL?x=y',
    'URL#x',
    'HOST:PORT',
    'HOST:PORT/jsonrpc',
    'HOST:PORT?x',
  ]) {
    it(`asks the server that ${form} names`, async () => {
      const named = form.replace('URL', server.url).replace('HOST', address).replace('PORT', port);
      const { exitCode, stdout, stderr } = await xe('-s', named, ...list);
      expect({ exitCode, stderr }).to.deep.equal({ exitCode: 0, stderr: '' });
      expect(stdout).to.include('web');
      expect(touched).to.equal(0);
    });
  }

  it('asks it at the port of -p', async () => {
    expect((await xe('-s', address, '-p', port, ...list)).stdout).to.include('web');
    expect(touched).to.equal(0);
  });

  const refused: [what: string, args: (port: string) => string[]][] = [
    ...['abc', '99999', '-1', '', '1e3', '0', '80x', ' 80'].map((bad): [string, (port: string) => string[]] => [
      `-p '${bad}'`,
      () => ['-s', address, '-p', bad, ...list],
    ]),
    ['a port of a URL that is none', () => ['-s', `http://${address}:port/jsonrpc`, ...list]],
    ['a port that is empty', () => ['-s', `http://${address}:`, ...list]],
    ['a port that is too large', () => ['-s', `${address}:65616`, ...list]],
    [
      'a bad port of remote-master=',
      (good) => [
        ...['-s', `${address}:${good}`, 'vm-migrate', 'vm=web', `remote-master=http://${address}:65616`],
        ...['remote-username=root', 'remote-password=x'],
      ],
    ],
  ];
  for (const [what, args] of refused) {
    it(`refuses ${what} before anything is sent`, async () => {
      const { exitCode, stdout, stderr } = await xe(...args(port));
      expect({ exitCode, stdout }).to.deep.equal({ exitCode: 1, stdout: '' });
      expect(stderr).to.match(/is no port; allowed: 1 to 65535/);
      expect(touched).to.equal(0);
    });
  }

  it('says that https is not spoken where remote-master= names a pool so, and sends it nothing', async () => {
    const before = server.calls.length;
    const there = ['remote-username=root', `remote-password=${secret}`, `remote-master=https://${address}:${port}`];
    const { exitCode, stderr } = await xe('-s', `${address}:${port}`, 'vm-migrate', 'vm=web', ...there);
    expect({ exitCode, stderr }).to.deep.equal({
      exitCode: 1,
      stderr: `Error: 'https://${address}:${port}' names no server: https is not spoken; allowed: http`,
    });
    expect(server.calls.slice(before).filter(({ method }) => method === 'host.migrate_receive')).to.deep.equal([]);
    expect(touched).to.equal(0);
  });

  it('asks the pool that remote-master= names at its port', async () => {
    const before = server.calls.length;
    const there = ['remote-username=root', `remote-password=${secret}`, `remote-master=${server.url}/jsonrpc`];
    await xe('-s', `${address}:${port}`, 'vm-migrate', 'vm=web', ...there);
    const logins = server.calls.slice(before).filter(({ method }) => method === 'host.migrate_receive');
    expect(logins).to.have.length(1);
    expect(touched).to.equal(0);
  });
});

describe('xe and what is no XenAPI server', () => {
  let server: http.Server;
  let serve: http.RequestListener;
  let url: string;
  before(async () => {
    server = http.createServer((request, response) => {
      request.resume();
      serve(request, response);
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    url = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  });
  after(() => server.close());

  const page = '<!DOCTYPE html>\n<html>\n<h1>It works!</h1>\n</html>\n';
  const rows: [what: string, status: number, headers: http.OutgoingHttpHeaders, body: string, said: string][] = [
    ['a web page', 200, { 'content-type': 'text/html' }, page, 'HTTP 200: it answers with a web page'],
    ['the page of another path', 404, { 'content-type': 'text/html' }, page, 'HTTP 404: it answers with a web page'],
    ['the page of a proxy', 502, {}, page, 'HTTP 502: it answers with a web page'],
    ['a way to https', 301, { location: 'https://elsewhere/' }, page, 'HTTP 301: it leads to https://elsewhere/'],
    ['text', 200, {}, 'hello\nthere', 'the answer is not of JSON-RPC: hello there'],
    ['nothing', 200, {}, '', 'the answer is empty'],
  ];
  for (const [what, status, headers, body, said] of rows) {
    it(`says in one line that it answers with ${what}`, async () => {
      serve = (_request, response) => void response.writeHead(status, headers).end(body);
      const run = await xeAt({ url }, ['vm-list']);
      expect(run).to.deep.equal({
        status: 1,
        out: '',
        err: `Error: cannot reach a XenAPI server at ${url}: ${said}\n`,
      });
    });
  }

  it('says that https is not spoken where a member names its coordinator so', async () => {
    const error = { code: 1, message: 'HOST_IS_SLAVE', data: ['https://127.0.0.1:1'] };
    serve = (_request, response) => void response.end(JSON.stringify({ jsonrpc: '2.0', id: 1, error }));
    expect(await xeAt({ url }, ['vm-list'])).to.deep.equal({
      status: 1,
      out: '',
      err: "Error: 'https://127.0.0.1:1' names no server: https is not spoken; allowed: http\n",
    });
  });

  it('says that https is not spoken, and sends nothing', async () => {
    serve = () => expect.fail('a call was sent');
    const https = url.replace('http', 'https');
    expect(await xeAt({ url: https }, ['vm-list'])).to.deep.equal({
      status: 1,
      out: '',
      err: `Error: '${https}' names no server: https is not spoken; allowed: http\n`,
    });
  });

  it('waits no longer than it is told for what does not answer', async () => {
    serve = () => undefined;
    const failure = await login({ url, username: 'root', password: 'x' }, 'xe', {
      connectMs: 10_000,
      silenceMs: 100,
    }).then(() => expect.fail('there was an answer'), messageOf);
    expect(failure).to.equal(`cannot reach a XenAPI server at ${url}: nothing was heard for 0.1 s`);
    server.closeAllConnections();
  });
});
