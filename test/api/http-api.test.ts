import { once } from 'node:events';
import { connect } from 'node:net';
import { expect } from 'chai';
import { bodyLimit } from '../../src/wire/connection/rpc-client.js';
import { type ApiServer, startApi } from './api-server.js';
import { fakeDeps, limitedSession, rootSession } from './fake-deps.js';

const call = `{"id":1,"method":"VM.get_all_where","params":["${rootSession}","false"]}`;
const answer = '{"result":[],"error":null,"id":1}';

function post(version: string, headers: string[] = [], body = call): string {
  const head = [`POST /jsonrpc HTTP/${version}`, 'Host: x', `Content-Length: ${Buffer.byteLength(body)}`, ...headers];
  return `${head.join('\r\n')}\r\n\r\n${body}`;
}

describe('the API over HTTP', () => {
  let api: ApiServer;
  before(async () => {
    api = await startApi(fakeDeps());
  });
  after(() => api.close());
  /** Still serving, whatever was sent before. */
  afterEach(async () => expect(await api.post(call)).to.equal(answer));

  it('replies with exactly the headers that clients rely on', async () => {
    const { status, headers } = await api.send('POST', '/jsonrpc', call);
    expect(status).to.equal(200);
    expect(headers).to.include({
      'content-type': 'application/json',
      'cache-control': 'no-cache, no-store',
      vary: 'Origin',
      'content-length': String(answer.length),
    });
    expect(headers).not.to.have.property('access-control-allow-origin');
  });

  it('replies to XML-RPC with its own content type, at / and /RPC2 and whatever path no other protocol has', async () => {
    const xmlCall = '<methodCall><methodName>VM.fly</methodName></methodCall>';
    for (const path of ['/', '/RPC2', '/nothing', '/?a=b']) {
      const { status, headers, body } = await api.send('POST', path, xmlCall, { 'content-type': 'text/plain' });
      expect([path, status, headers['content-type']]).to.deep.equal([path, 200, 'text/xml']);
      expect(headers).to.include({ 'cache-control': 'no-cache, no-store', vary: 'Origin' });
      expect(body).to.contain('<value>MESSAGE_METHOD_UNKNOWN</value><value>VM.fly</value>');
    }
  });

  it('replies with 200 to a failure of the API', async () => {
    const { status, headers } = await api.send('POST', '/jsonrpc', '{"id":1,"method":"VM.fly"}');
    expect(status).to.equal(200);
    expect(headers['content-type']).to.equal('application/json');
  });

  for (const target of [
    'http://pool.example/jsonrpc',
    'http://pool.example:80/jsonrpc?a=b',
    'HTTP://x/jsonrpc/',
    '/jsonrpc/',
    '//jsonrpc',
    '///jsonrpc//',
    '/jsonrpc?a=b',
    '/jsonrpc/?a=b',
  ]) {
    it(`takes ${target} for /jsonrpc`, async () => {
      const reply = await api.raw(post('1.1', ['Connection: close']).replace('/jsonrpc', target));
      expect(reply).to.match(/^HTTP\/1.1 200 /);
      expect(reply).to.contain(answer);
    });
  }

  for (const [what, bytes, status] of [
    [
      'a PUT with its body',
      `PUT /import HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n${'x'.repeat(5_000_000)}`,
      405,
    ],
    [
      'a PUT in chunks',
      'PUT /import HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
      405,
    ],
    ['a GET of what is not there', 'GET /export HTTP/1.1\r\nHost: x\r\n\r\n', 404],
  ] as const) {
    it(`answers ${what} whole, and ends the connection`, async () => {
      expect(await api.raw(bytes)).to.match(new RegExp(`^HTTP/1.1 ${status} [^]*(is not served|there is nothing)`));
    });
  }

  it('ends the task that names what nobody serves, for a session that may make tasks', async () => {
    const deps = fakeDeps();
    const other = await startApi(deps);
    await other.send('PUT', `/import?session_id=${rootSession}&task_id=OpaqueRef:t`, 'body');
    for (const session of ['OpaqueRef:none', limitedSession])
      await other.send('PUT', `/import?session_id=${session}&task_id=OpaqueRef:u`, 'body');
    await other.send('GET', `/export?task_id=OpaqueRef:v&session_id=${rootSession}`);
    await other.close();
    expect(deps.taskLog).to.deep.equal([
      'end OpaqueRef:t: NOT_IMPLEMENTED PUT /import',
      'end OpaqueRef:v: NOT_IMPLEMENTED GET /export',
    ]);
  });

  it('looks at no query and no content type', async () => {
    const { body } = await api.send('POST', '/jsonrpc?a=b', call, { 'content-type': 'text/plain' });
    expect(body).to.equal(answer);
  });

  const others: [string, string, number, string][] = [
    ['GET', '/', 200, 'This is xenferry, a XenAPI toolstack. POST JSON-RPC calls to /jsonrpc, XML-RPC calls to /.\n'],
    ['HEAD', '/', 200, ''],
    ['GET', '/favicon.ico', 404, 'there is nothing at /favicon.ico\n'],
    ['GET', '/jsonrpc', 405, 'POST calls to /jsonrpc\n'],
    ['GET', '/RPC2', 405, 'POST calls to /RPC2\n'],
    ['GET', '/%ff%00/../..', 404, 'there is nothing at /%ff%00/../..\n'],
    ['PUT', '/jsonrpc', 405, 'PUT is not served: POST calls to /jsonrpc or /\n'],
    ['DELETE', '/', 405, 'DELETE is not served: POST calls to /jsonrpc or /\n'],
  ];
  for (const [method, path, status, body] of others) {
    it(`answers ${method} ${path} with ${status}`, async () => {
      const reply = await api.send(method, path);
      expect([reply.status, reply.body]).to.deep.equal([status, body]);
      expect(reply.headers['cache-control']).to.equal('no-cache, no-store');
    });
  }

  it('tells what is served to OPTIONS of what is no page', async () => {
    const { status, headers } = await api.send('OPTIONS', '/jsonrpc');
    expect([status, headers.allow]).to.deep.equal([200, 'GET, HEAD, OPTIONS, POST']);
    expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).to.deep.equal([]);
  });

  it('takes a body of exactly the limit, and no byte more', async () => {
    const pad = ' '.repeat(bodyLimit - call.length);
    expect((await api.send('POST', '/jsonrpc', call + pad)).body).to.equal(answer);
    const over = await api.send('POST', '/jsonrpc', `${call}${pad} `);
    expect([over.status, over.body]).to.deep.equal([500, 'the body is longer than 307200 bytes\n']);
    expect(over.headers.connection).to.equal('close');
  });

  it('refuses an absurd length before the body comes', async () => {
    const reply = await api.raw('POST /jsonrpc HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n');
    expect(reply).to.match(/^HTTP\/1.1 500 /);
  });

  for (const length of ['-1', 'ten', '1e3', '5, 6']) {
    it(`refuses the length ${length}`, async () => {
      expect(await api.raw(`POST /jsonrpc HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n`)).to.match(
        /^HTTP\/1.1 400 /,
      );
    });
  }

  it('wants a Content-Length', async () => {
    const chunked = `POST /jsonrpc HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"id"\r\n0\r\n\r\n`;
    for (const request of [chunked, 'POST /jsonrpc HTTP/1.1\r\nHost: x\r\n\r\n']) {
      const reply = await api.raw(request);
      expect(reply).to.match(/^HTTP\/1.1 500 /);
      expect(reply).to.contain('the request needs a Content-Length');
    }
  });

  it('keeps a connection for the next call, and ends it when asked', async () => {
    const reply = await api.raw(post('1.1') + post('1.1') + post('1.1', ['Connection: close']));
    expect(reply.match(/HTTP\/1.1 200 OK/g)).to.have.length(3);
    expect(reply.match(/connection: keep-alive/gi)).to.have.length(2);
    expect(reply.match(/connection: close/gi)).to.have.length(1);
  });

  it('ends the connection after a call in HTTP/1.0, whatever it asks for', async () => {
    const reply = await api.raw(post('1.0', ['Connection: keep-alive']) + post('1.0'));
    expect(reply.match(/ 200 OK/g)).to.have.length(1);
    expect(reply).to.contain(answer);
  });

  it('takes a call byte by byte', async () => {
    const socket = connect(api.port, '127.0.0.1');
    await once(socket, 'connect');
    socket.setNoDelay(true);
    for (const byte of Buffer.from(post('1.1', ['Connection: close']))) {
      await new Promise((resolve) => socket.write(Buffer.of(byte), resolve));
    }
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    await once(socket, 'close');
    expect(Buffer.concat(chunks).toString()).to.contain(answer);
  });

  for (const [what, bytes] of [
    ['a caller that stops in the middle of a body', post('1.1').slice(0, -5)],
    ['a caller that stops in the middle of the head', 'POST /jsonrpc HTT'],
  ] as const) {
    it(`serves on after ${what}`, async () => {
      const socket = connect(api.port, '127.0.0.1');
      await once(socket, 'connect');
      await new Promise((resolve) => socket.write(bytes, resolve));
      socket.destroy();
      await once(socket, 'close');
      expect(await api.raw(post('1.1', ['Connection: close']))).to.contain(answer);
    });
  }

  it('tells a handler when its caller has gone', async () => {
    let entered = () => {};
    const inside = new Promise<void>((resolve) => (entered = resolve));
    let told = () => {};
    const gone = new Promise<void>((resolve) => (told = resolve));
    let reached = false;
    const waiting = await startApi(
      fakeDeps({
        handlers: {
          event: {
            get_current_id: async ({ origin }) => {
              origin.closed.addEventListener('abort', told);
              entered();
              await gone;
              reached = origin.closed.aborted;
              return 1;
            },
          },
        },
      }),
    );
    const socket = connect(waiting.port, '127.0.0.1');
    socket.write(post('1.1', [], `{"id":1,"method":"event.get_current_id","params":["${rootSession}"]}`));
    await inside;
    socket.destroy();
    await gone;
    await waiting.close();
    expect(reached).to.equal(true);
  });
});
