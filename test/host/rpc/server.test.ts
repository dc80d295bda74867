import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { logFailure } from '../../../src/api/failure-log.js';
import type { XapiError } from '../../../src/base/errors.js';
import { createHostRpc, type HostRpcDeps } from '../../../src/host/rpc/server.js';
import type { HostState } from '../../../src/host/service/service.js';
import { encodeMetadata } from '../../../src/migrate/metadata.js';
import { createRpcClient, type RpcClient } from '../../../src/wire/connection/rpc-client.js';
import { openTestHost, requestTo, type TestHost, testDomain } from '../../support/hosts.js';
import { captureLog } from '../../support/log.js';

const secret = 'the secret of the pool';
const failureOf = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.fail('it did not fail'),
    (error: unknown) => error as XapiError,
  );

describe('host-level calls that are refused', function () {
  this.timeout(30_000);
  let host: TestHost;
  let client: RpcClient;
  before(async () => {
    host = await openTestHost();
    client = createRpcClient(`${host.url}/services/xenops`);
  });
  after(async () => {
    client.close();
    await host.close();
  });

  const secrets: [what: string, params: unknown[]][] = [
    ['no parameter', []],
    ['another secret', ['the secret of another']],
    ['a part of the secret', [secret.slice(0, -1)]],
    ['something that is no text', [{ secret }]],
    ['a list', [[secret]]],
    ['nothing', [null]],
  ];
  for (const name of ['state', 'start', 'shutdown', 'migrate', 'assertTurn', 'receive', 'VM.receive', 'events']) {
    for (const [what, params] of secrets) {
      it(`are refused with ${what} in place of the secret: ${name}`, async () => {
        const { code, params: said } = await failureOf(client.call(name, params));
        expect(code).to.equal('SESSION_AUTHENTICATION_FAILED');
        expect(said).to.deep.equal(['host', 'this is not the secret of the pool']);
      });
    }
  }

  for (const name of ['', 'State', 'VM.start', 'constructor', '__proto__', 'toString', 'join', 'session.login']) {
    it(`are none that are not there: ${JSON.stringify(name)}`, async () => {
      expect((await failureOf(client.call(name, [secret]))).code).to.equal('MESSAGE_METHOD_UNKNOWN');
    });
  }

  const plugins: [params: unknown[], error: string[]][] = [
    [
      ['other', 'add', {}],
      ['XENAPI_MISSING_PLUGIN', 'other'],
    ],
    [
      ['', 'add', {}],
      ['INVALID_VALUE', 'plugin', ''],
    ],
    [
      ['fault', 'add', { step: 1 }],
      ['INVALID_VALUE', 'args', '{"step":1}'],
    ],
    [
      ['fault', 'add', null],
      ['INVALID_VALUE', 'args', 'null'],
    ],
  ];
  for (const [params, error] of plugins) {
    it(`refuse to call the plugin ${JSON.stringify(params)}`, async () => {
      const failure = await failureOf(client.call('callPlugin', [secret, ...params]));
      expect([failure.code, ...failure.params]).to.deep.equal(error);
    });
  }
});

describe('the host-level calls', function () {
  this.timeout(30_000);
  let host: TestHost;
  let client: RpcClient;
  beforeEach(async () => {
    host = await openTestHost();
    client = createRpcClient(`${host.url}/services/xenops`);
  });
  afterEach(async () => {
    client.close();
    await host.close();
  });
  const reserve = async () => {
    const { migrationId, metadata } = requestTo(host, testDomain(), false);
    const reply = await client.json<{ token: string }>('VM.receive', [secret, migrationId, encodeMetadata(metadata)]);
    return { migrationId, token: reply.token };
  };

  it('give their results as JSON in a string, null where there is none', async () => {
    const state = await client.call('state', [secret]);
    expect(state).to.be.a('string');
    expect(JSON.parse(state as string)).to.include({ uuid: host.uuid });
    expect(await client.call('shutdown', [secret, randomUUID(), false])).to.equal('null');
  });

  it('take the member that joins, on a coordinator', async () => {
    const joined: unknown[] = [];
    const captured = captureLog();
    const rpc = createHostRpc({
      ...host.engine,
      secrets: () => [secret],
      hostUuid: host.uuid,
      logFailure: (call, error) => logFailure(captured.log, call, error),
      join: async (state) => joined.push(state.uuid),
    } satisfies HostRpcDeps);
    const state: HostState = await host.engine.service.state();
    const origin = { address: '127.0.0.1', userAgent: '', closed: new AbortController().signal };
    const call = (name: string, ...params: unknown[]) =>
      rpc({ name, params: [secret, ...params], validUtf8: true, origin });
    await call('join', state);
    expect(joined).to.deep.equal([state.uuid]);
    const wrong = [
      [call('join', { ...state, domains: [{ state: 7 }] }), 'host.domains.0.uuid', ''],
      [call('join', { ...state, cpus: 'two' }), 'host.cpus', 'two'],
      [call('events', -1, 0), 'since', '-1'],
    ] as const;
    for (const [answer, ...params] of wrong) {
      expect(await failureOf(answer)).to.deep.include({ code: 'INVALID_VALUE', params });
    }
    // What is wrong with it is for the operator of this host.
    const reasons = captured.records.map(({ fields }) => fields.reason);
    expect(reasons[1]).to.contain('expected number, received string');
    expect(reasons[2]).to.equal('allowed: a number from 0 to 9007199254740991');
  });

  it('promise memory for a VM that is to come, under an id, and settle that for good with its token', async () => {
    const before = await host.simulator.memory();
    const { migrationId, token } = await reserve();
    expect((await host.simulator.memory()).free).to.be.below(before.free);
    expect(await client.json('settle', [migrationId, token])).to.equal('refused');
    expect(await client.json('settle', [migrationId, token])).to.equal('refused');
    expect(await host.simulator.memory()).to.deep.equal(before);
    expect(await client.json('acknowledge', [migrationId, token])).to.equal(null);
  });

  it("settle nothing without the migration's own token, the secret of the pool included", async () => {
    const { migrationId } = await reserve();
    const other = await reserve();
    const before = await host.simulator.memory();
    for (const shown of ['', secret, other.token, null, [other.token], migrationId]) {
      for (const name of ['settle', 'acknowledge', 'digest', 'mayRun']) {
        const answer = await client.json(name, [migrationId, shown]).catch((error: XapiError) => error.code);
        expect(answer).to.be.oneOf(['unknown', 'SESSION_AUTHENTICATION_FAILED', 'SESSION_INVALID']);
      }
    }
    expect(await host.simulator.memory()).to.deep.equal(before);
  });

  it('do not know a migration that never was', async () => {
    const answer = await client.json('settle', [randomUUID(), 'token']).catch((error: XapiError) => error.code);
    expect(answer).to.be.oneOf(['unknown', 'SESSION_AUTHENTICATION_FAILED', 'SESSION_INVALID']);
  });

  it('survive parameters of every wrong kind, and go on', async () => {
    const wrong: unknown[] = [null, 7, '', 'x', [], {}, { uuid: 7 }, true];
    for (const name of [
      'start',
      'pause',
      'migrate',
      'cancel',
      'outcome',
      'assertTurn',
      'receive',
      'VM.receive',
      'events',
    ]) {
      for (const parameter of wrong) {
        // What is wrong is an error or nothing to do; no answer at all would be the end of the daemon.
        await client.call(name, [secret, parameter, 0], 5000).catch((error: XapiError) => {
          expect(error.message).not.to.contain('no answer within');
        });
      }
    }
    expect(await client.json('state', [secret])).to.include({ uuid: host.uuid });
    expect((await host.simulator.list()).length).to.equal(0);
  });
});
