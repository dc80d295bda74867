import { once } from 'node:events';
import http from 'node:http';
import type net from 'node:net';
import { expect } from 'chai';
import type { XapiError } from '../../../src/base/errors.js';
import { createRpcClient, type RpcClient } from '../../../src/wire/connection/rpc-client.js';
import { nothingOpenSince, openDescriptors, readAll } from './connections.js';

interface Call {
  readonly path: string | undefined;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: { readonly method: string; readonly params: readonly unknown[]; readonly id: unknown };
}

describe('the RPC client', () => {
  let server: http.Server;
  let url: string;
  let client: RpcClient;
  let calls: Call[];
  let connections: number;
  /** What is sent back: an object as the reply with the call's id, a text as it is, undefined never. */
  let answer: (call: Call) => object | string | undefined;
  let status: number;
  let location: string;

  beforeEach(async () => {
    calls = [];
    connections = 0;
    status = 200;
    location = '';
    server = http.createServer(async (request, response) => {
      const body = JSON.parse(String(await readAll(request))) as Call['body'];
      const call = { path: request.url, headers: request.headers, body };
      calls.push(call);
      const reply = answer(call);
      if (reply === undefined) return;
      response.writeHead(status, { 'content-type': 'application/json', ...(location === '' ? {} : { location }) });
      response.end(typeof reply === 'string' ? reply : JSON.stringify({ jsonrpc: '2.0', id: body.id, ...reply }));
    });
    server.on('connection', () => {
      connections += 1;
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    url = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
    client = createRpcClient(`${url}/services/xenops`);
  });
  afterEach(async () => {
    client.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const failureOf = async (promise: Promise<unknown>): Promise<XapiError> => {
    const failure: unknown = await promise.then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).to.have.property('name', 'XapiError');
    return failure as XapiError;
  };

  it('calls a method with its parameters at the path of its URL', async () => {
    answer = ({ body }) => ({ result: body.params });
    const params = ['text', 7, true, null, { a: ['ü', 1.5] }, []];
    expect(await client.call('VM.receive', params)).to.deep.equal(params);
    expect(calls[0]).to.deep.include({ path: '/services/xenops' });
    expect(calls[0]?.body).to.include({ jsonrpc: '2.0', method: 'VM.receive' });
  });

  it('reads JSON in a string where it is asked to', async () => {
    answer = () => ({ result: '{"a":[1,null]}' });
    expect(await client.json('state', [])).to.deep.equal({ a: [1, null] });
    expect(await client.call('state', [])).to.equal('{"a":[1,null]}');
  });

  it('sends the headers that it was given', async () => {
    answer = () => ({ result: '' });
    const own = createRpcClient(`${url}/jsonrpc?a=b`, { headers: { 'x-secret': 's' } });
    await own.call('pool.get_all', []);
    own.close();
    expect(calls[0]?.path).to.equal('/jsonrpc?a=b');
    expect(calls[0]?.headers).to.include({ 'x-secret': 's' });
  });

  it('keeps its connection for the next call, and closes it in the end', async () => {
    const before = openDescriptors();
    answer = () => ({ result: 'x'.repeat(100_000) });
    for (let count = 0; count < 5; count += 1) await client.call('state', []);
    expect(connections).to.equal(1);
    client.close();
    await nothingOpenSince(before);
  });

  it('has many calls under way at once, each with its own answer', async () => {
    answer = ({ body }) => ({ result: body.params[0] });
    const numbers = Array.from({ length: 50 }, (_, index) => index);
    expect(await Promise.all(numbers.map((number) => client.call('echo', [number])))).to.deep.equal(numbers);
  });

  const errors: [what: string, error: object, code: string, params: string[]][] = [
    [
      'with its parameters',
      { code: 1, message: 'VM_BAD_POWER_STATE', data: ['OpaqueRef:1', 'running', 'halted'] },
      'VM_BAD_POWER_STATE',
      ['OpaqueRef:1', 'running', 'halted'],
    ],
    ['without parameters', { code: 1, message: 'PERMISSION_DENIED' }, 'PERMISSION_DENIED', []],
    [
      'with numbers as parameters',
      { code: 1, message: 'HANDLE_INVALID', data: ['VM', 7] },
      'HANDLE_INVALID',
      ['VM', '7'],
    ],
    ['that has no code of its own', { code: 1, message: 'Fault', data: ['why'] }, 'Fault', ['why']],
    [
      'of an unknown code',
      { code: 1, message: 'FROM_THE_FUTURE', data: ['a', 'b'] },
      'INTERNAL_ERROR',
      ['FROM_THE_FUTURE a b'],
    ],
  ];
  for (const [what, error, code, params] of errors) {
    it(`throws the other side's error ${what}`, async () => {
      answer = () => ({ error });
      expect(await failureOf(client.call('VM.start', []))).to.deep.include({ code, params });
      expect(await failureOf(client.json('VM.start', []))).to.deep.include({ code, params });
    });
  }

  const broken: [what: string, httpStatus: number, text: string, said: RegExp][] = [
    [
      'an error of JSON-RPC itself',
      200,
      '{"error":{"code":-32601,"message":"Method not found"}}',
      /: Method not found$/,
    ],
    ['an error without a code', 200, '{"error":"none"}', /: none$/],
    ['text that is no JSON', 200, 'hello\nyou', /: the answer is not of JSON-RPC: hello you$/],
    ['JSON that is no object', 200, 'null', /: the answer is not of JSON-RPC: null$/],
    ['empty', 200, '', /: the answer is empty$/],
    ['a web page', 200, '\n<!DOCTYPE html>\n<html></html>\n', /: HTTP 200: it answers with a web page$/],
    [
      'a web page that says that there is none',
      404,
      '<html>\nnot here</html>',
      /: HTTP 404: it answers with a web page$/,
    ],
    ['a web page of a proxy', 502, `<html>${'\nBad Gateway'.repeat(1000)}`, /: HTTP 502: it answers with a web page$/],
    ['an error of the server', 500, 'internal\nerror\n', /: HTTP 500: internal error$/],
    ['a long error of the server', 500, 'x'.repeat(100_000), /: HTTP 500: x{500}$/],
    ['an empty error of the server', 503, '', /: HTTP 503$/],
  ];
  for (const [what, httpStatus, text, said] of broken) {
    it(`names method and URL when the answer is ${what}`, async () => {
      status = httpStatus;
      answer = () => text;
      const { code, params } = await failureOf(client.call('state', []));
      expect(code).to.equal('INTERNAL_ERROR');
      expect(params.join())
        .to.match(new RegExp(`^state at ${url}: `))
        .and.to.match(said);
    });
  }

  it('names method and URL when the result is not the JSON that it has to be', async () => {
    for (const result of ['no JSON', '', undefined, { a: 1 }]) {
      answer = () => ({ result });
      const { code, params } = await failureOf(client.json('state', []));
      expect(code).to.equal('INTERNAL_ERROR');
      expect(params.join()).to.match(new RegExp(`^state at ${url}: `));
    }
  });

  it('names where it is sent instead', async () => {
    status = 301;
    answer = () => '<html>moved</html>';
    location = 'https://127.0.0.1/jsonrpc';
    expect((await failureOf(client.call('state', []))).params.join()).to.equal(
      `state at ${url}: HTTP 301: it leads to https://127.0.0.1/jsonrpc`,
    );
  });

  it('refuses a URL of another scheme than it speaks', () => {
    expect(() => createRpcClient(url.replace('http', 'https'))).to.throw('https is not spoken; allowed: http');
  });

  it('names method and URL when nobody is there', async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    const { code, params } = await failureOf(client.call('state', []));
    expect(code).to.equal('INTERNAL_ERROR');
    expect(params.join()).to.match(new RegExp(`^state at ${url}: .*ECONNREFUSED`));
    server.listen(0, '127.0.0.1');
  });

  it('names method and URL when the connection breaks', async () => {
    answer = () => {
      server.closeAllConnections();
      return undefined;
    };
    expect((await failureOf(client.call('state', []))).params.join()).to.match(new RegExp(`^state at ${url}: `));
  });

  it('waits as long as it was told', async () => {
    const before = openDescriptors();
    answer = () => undefined;
    const { code, params } = await failureOf(client.call('state', [], 30));
    expect({ code, params }).to.deep.equal({
      code: 'INTERNAL_ERROR',
      params: [`state at ${url}: no answer within 0.03 s`],
    });
    client.close();
    await nothingOpenSince(before);
  });

  it('keeps no connection to a server that does not answer', async () => {
    const before = openDescriptors();
    answer = ({ body }) => (body.method === 'state' ? undefined : { result: 'there' });
    for (let count = 0; count < 3; count += 1) await failureOf(client.call('state', [], 30));
    await nothingOpenSince(before);
    expect(await client.call('other', [])).to.equal('there');
  });

  it('fails what is under way when it is closed', async () => {
    let asked: () => void = () => undefined;
    const arrived = new Promise<void>((resolve) => {
      asked = resolve;
    });
    answer = () => {
      asked();
      return undefined;
    };
    const failure = failureOf(client.call('events', []));
    await arrived;
    client.close();
    expect((await failure).params.join()).to.match(new RegExp(`^events at ${url}: `));
  });
});
