import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { XapiError } from '../../src/base/errors.js';
import { createHostRpc, type HostRpcDeps } from '../../src/host/rpc/server.js';
import type { HostService, HostState } from '../../src/host/service/service.js';
import type { MigrationDestination } from '../../src/migrate/destination/migrations.js';
import type { CallOrigin } from '../../src/model/handlers.js';
import { openTestHost, requestTo, type TestHost, testDomain } from '../support/hosts.js';

const secret = 'the secret of the pool';
const origin: CallOrigin = { address: '127.0.0.1', userAgent: '', closed: new AbortController().signal };

describe('The host-level calls', () => {
  const passed: unknown[][] = [];
  const take =
    (name: string) =>
    async (...params: unknown[]) =>
      void passed.push([name, ...params]);
  const names = ['state', 'start', 'pause', 'unpause', 'shutdown', 'migrate', 'cancel', 'outcome', 'receive', 'events'];
  const methods = Object.fromEntries(names.map((name) => [name, take(name)]));
  const service = { ...methods, storage: {} } as unknown as HostService;
  const destination = {} as MigrationDestination;
  const control = { takeSecrets: take('takeSecrets'), leave: take('leave') };
  const rpc = createHostRpc({
    service,
    destination,
    source: {} as HostRpcDeps['source'],
    secrets: () => [secret, 'an older one'],
    hostUuid: 'this host',
    logFailure: () => undefined,
    join: take('join'),
    control,
  });
  const call = (name: string, ...params: unknown[]) =>
    rpc({ name, params: [secret, ...params], validUtf8: true, origin });

  beforeEach(() => passed.splice(0));

  it('are refused to web pages, the secret of the pool or not', async () => {
    const ofPage = { ...origin, foreignPage: 'https://evil.example' };
    for (const name of ['state', 'VM.receive', 'settle']) {
      const { code, params } = await rpc({ name, params: [secret], validUtf8: true, origin: ofPage }).then(
        () => expect.fail('it did not fail'),
        (error: unknown) => error as XapiError,
      );
      expect([code, params, passed]).to.deep.equal(['PERMISSION_DENIED', ['https://evil.example'], []]);
    }
  });

  const domain = testDomain();
  const metadata = { version: 1, domain, vifs: [] };
  const request = {
    migrationId: randomUUID(),
    task: 'OpaqueRef:task',
    uuid: domain.uuid,
    source: 'source',
    destination: { kind: 'pool', hostUuid: randomUUID(), url: 'http://127.0.0.1:80' },
    metadata,
    compress: true,
  };
  const state: HostState = {
    uuid: randomUUID(),
    name: 'one',
    url: 'http://[::1]:8080',
    memoryTotal: 1 << 30,
    memoryFree: 0,
    cpus: 2,
    domains: [{ uuid: domain.uuid, state: 'running', domid: 1 }],
  };

  const good: [name: string, params: unknown[]][] = [
    ['start', [domain, true]],
    ['migrate', [request]],
    ['receive', [{ migrationId: 'id', metadata }]],
    ['join', [state, true]],
    ['pause', [domain.uuid]],
    ['shutdown', [domain.uuid, true]],
    ['cancel', ['id']],
    ['events', [5, 0.5]],
    ['takeSecrets', [['a secret of a pool', 'an older secret of it']]],
  ];
  for (const [name, params] of good) {
    it(`pass on what ${name} has to be`, async () => {
      await call(name, ...params);
      // A call of an earlier version comes without a job.
      expect(passed.map((each) => each.filter((param) => param !== undefined))).to.deep.equal([[name, ...params]]);
    });
  }

  const bad: [name: string, params: unknown[], what: RegExp][] = [
    ['start', [], /domain/],
    ['start', [null, true], /domain/],
    ['start', [{ ...domain, memoryBytes: 1 }, true], /memoryBytes/],
    ['start', [{ ...domain, uuid: '../x' }, true], /uuid/],
    ['migrate', [], /migration/],
    ['migrate', [{ ...request, migrationId: '' }], /migrationId/],
    ['migrate', [{ ...request, destination: undefined }], /destination/],
    ['migrate', [{ ...request, destination: { kind: 'pool', hostUuid: '', url: 'x' } }], /url/],
    ['migrate', [{ ...request, metadata: {} }], /metadata/],
    ['receive', [], /metadata/],
    ['receive', [null], /metadata/],
    ['receive', [{ migrationId: 'id', metadata: { ...metadata, domain: { ...domain, vcpus: 0 } } }], /vcpus/],
    ['pause', [], /uuid/],
    ['shutdown', [7, true], /uuid/],
    ['cancel', [''], /migration_id/],
    ['outcome', [{}], /migration_id/],
    ['events', ['5', 1], /since/],
    ['events', [5, -1], /timeout/],
    ['takeSecrets', [[]], /secrets/],
    ['takeSecrets', [['short']], /secrets/],
    ['VM.receive', ['id'], /metadata/],
    ['VM.receive', ['id', 'null'], /metadata/],
    ['join', [], /host/],
    ['join', [{ ...state, url: 'file:///etc/passwd' }], /url/],
    ['join', [{ ...state, url: undefined }], /url/],
    ['join', [{ ...state, url: 'https://127.0.0.1:80' }], /url/],
    [
      'migrate',
      [{ ...request, destination: { ...request.destination, url: 'https://127.0.0.1:80' } }],
      /destination.url/,
    ],
    ['migrate', [{ ...request, destination: { ...request.destination, xenops: 'https://[::1]/x' } }], /xenops/],
    [
      'migrate',
      [{ ...request, destination: { kind: 'foreign', hostRef: 'x', master: 'https://[::1]', session: 'x' } }],
      /master/,
    ],
    ['receive', [{ migrationId: 'id', metadata: { ...metadata, sourceUrl: 'https://[::1]/x' } }], /sourceUrl/],
    ['join', [{ ...state, uuid: 'x' }], /uuid/],
    ['join', [{ ...state, memoryTotal: '1' }], /memoryTotal/],
    ['join', [{ ...state, domains: [{}] }], /domains/],
  ];
  it('take an older secret of the pool as well, and no other', async () => {
    const ask = (shown: string) => rpc({ name: 'pause', params: [shown, domain.uuid], validUtf8: true, origin });
    await ask('an older one');
    const error = await ask('an unknown one').catch((thrown: unknown) => thrown);
    expect(error).to.have.property('code', 'SESSION_AUTHENTICATION_FAILED');
    expect(passed).to.have.length(1);
  });

  for (const [index, [name, params, what]] of bad.entries()) {
    it(`name what is wrong with ${name} ${index}: ${what.source}`, async () => {
      const error = await call(name, ...params).then(
        () => expect.fail('it was taken'),
        (reason: unknown) => reason,
      );
      expect(error).to.be.instanceOf(XapiError).with.property('code', 'INVALID_VALUE');
      expect(error).to.have.property('message').that.matches(what);
      expect(passed).to.deep.equal([]);
    });
  }
});

describe('A destination that is asked to receive', function () {
  this.timeout(20_000);
  let host: TestHost;
  before(async () => {
    host = await openTestHost();
  });
  after(() => host.close());

  for (const id of ['', 'a/b', 'x'.repeat(129), 'a\0b', 'é']) {
    it(`refuses the migration_id ${JSON.stringify(id.slice(0, 10))}`, async () => {
      const { metadata } = requestTo(host, testDomain(), false);
      const refused = await host.engine.service.receive({ migrationId: id, metadata }).catch((error: unknown) => error);
      expect(refused).to.have.property('code', 'INVALID_VALUE');
      const { total, free } = await host.simulator.memory();
      expect(free).to.equal(total);
    });
  }
});
