import { expect } from 'chai';
import type { SimulatedSpec } from '../../../src/base/protocol/hypervisor-protocol.js';
import type { MigrationOutcome } from '../../../src/migrate/request.js';
import { goesOn, migrate, openTestHost, outcomeOf, requestTo, type TestHost, testDomain } from '../../support/hosts.js';
import { type Damage, type NetworkProxy, openProxy } from '../../support/proxy.js';

/** The text of a failure. */
function failureOf(outcome: MigrationOutcome): string {
  expect(outcome.status).to.equal('failure');
  return 'error' in outcome ? [outcome.error.code, ...outcome.error.params].join(' ') : '';
}

describe('A migration that fails before the commit point', function () {
  this.timeout(60_000);
  let source: TestHost;
  let destination: TestHost;
  let proxy: NetworkProxy;
  let domain: SimulatedSpec;

  before(async () => {
    [source, destination] = await Promise.all([openTestHost(), openTestHost()]);
    proxy = await openProxy(destination.url);
    destination.advertise(proxy.url);
    domain = testDomain();
    await source.engine.service.start(domain, false);
  });
  after(async () => {
    await proxy.close();
    await Promise.all([source.close(), destination.close()]);
  });
  afterEach(async () => {
    proxy.damage(undefined);
    destination.configure({});
    source.configure({});
    const outcome = await migrate(source, requestTo(destination, domain, false));
    expect(outcome.status).to.equal('success');
    for (const { handle } of await destination.simulator.list()) await destination.simulator.destroy(handle);
    await source.engine.service.start(domain, false);
  });

  const middle = 4 << 20;
  const damages: [compressor: 'none' | 'stream' | 'xenguest', Damage, cause: RegExp][] = [
    ['none', { channel: '/migrate/mem/', at: 20, how: 'flip' }, /./],
    ['none', { channel: '/migrate/mem/', at: middle, how: 'cut' }, /./],
    ['none', { channel: '/migrate/mem/', at: middle, how: 'reset' }, /./],
    ['stream', { channel: '/migrate/mem/', at: middle, how: 'flip' }, /zstd|emu-manager|suspend image/],
    ['stream', { channel: '/migrate/mem/', at: middle, how: 'cut' }, /zstd|emu-manager/],
    ['stream', { channel: '/migrate/mem/', at: middle, how: 'reset' }, /./],
    ['xenguest', { channel: '/migrate/mem/', at: middle, how: 'flip' }, /checksum|record|emu-manager/],
    ['xenguest', { channel: '/migrate/mem/', at: middle, how: 'cut' }, /./],
    ['xenguest', { channel: '/migrate/mem/', at: middle, how: 'reset' }, /./],
    ['stream', { channel: '/migrate/vm/', at: 20, how: 'reset' }, /./],
  ];
  for (const [compressor, damage, cause] of damages) {
    const what = `${damage.how} at byte ${damage.at} of ${damage.channel} (${compressor})`;
    it(`${what}: the VM runs on at the source, and the error names phase, side and cause`, async () => {
      proxy.damage(damage);
      if (compressor !== 'none') source.configure({ 'migration-compressor': compressor });
      const outcome = await migrate(source, requestTo(destination, domain, compressor !== 'none'));
      const text = failureOf(outcome);
      expect(text).to.match(/^VM_MIGRATE_FAILED /);
      expect(text).to.match(/(prepare|connect|copy|restore|commit), (source|destination): /);
      expect(text).to.match(cause);
      await goesOn(source, destination, domain);
    });
  }

  it('is refused with HOST_NOT_ENOUGH_FREE_MEMORY where the VM does not fit, before anything is written', async () => {
    const { free } = await destination.simulator.memory();
    await destination.simulator.reserve('filler', free - 1024);
    const outcome = await migrate(source, requestTo(destination, domain, false));
    expect(failureOf(outcome)).to.match(/^HOST_NOT_ENOUGH_FREE_MEMORY \d+ 1024$/);
    await destination.simulator.release('filler');
    await goesOn(source, destination, domain);
  });

  it('says which host cannot be reached', async () => {
    const request = requestTo(destination, domain, false);
    const nowhere = {
      ...request,
      destination: { ...request.destination, url: 'http://127.0.0.1:1' },
    } as typeof request;
    expect(failureOf(await migrate(source, nowhere))).to.match(/prepare, destination: .*127\.0\.0\.1:1.*ECONNREFUSED/);
    await goesOn(source, destination, domain);
  });

  it('shows the pool secret of another pool as such', async () => {
    const reply = fetch(`${destination.url}/services/xenops`, {
      method: 'POST',
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'VM.receive', params: ['wrong', 'id', '{}'] }),
    });
    expect(await (await reply).json()).to.have.nested.property('error.message', 'SESSION_AUTHENTICATION_FAILED');
  });

  it('is cancelled while it copies: TASK_CANCELLED, and the VM runs on', async () => {
    const request = requestTo(destination, domain, true);
    await source.engine.service.migrate(request);
    await reaches(source, request.migrationId, 'copy');
    await source.engine.service.cancel(request.migrationId);
    const outcome = await outcomeOf(source, request.migrationId);
    expect(outcome).to.deep.equal({ status: 'cancelled', error: { code: 'TASK_CANCELLED', params: [request.task] } });
    await goesOn(source, destination, domain);
  });

  it('cannot be cancelled when it has ended', async () => {
    const request = requestTo(destination, domain, false);
    proxy.damage({ channel: '/migrate/mem/', at: middle, how: 'cut' });
    await migrate(source, request);
    await source.engine.service.cancel(request.migrationId).then(
      () => expect.fail('it was cancelled'),
      (error: unknown) => expect(error).to.have.property('code', 'OPERATION_NOT_ALLOWED'),
    );
  });

  for (const [channel, point] of [
    ['/migrate/vm/', '1'],
    ['/migrate/mem/', '1-mem'],
  ] as const) {
    it(`fails in bounded time where ${channel} goes silent before point ${point}`, async () => {
      proxy.damage({ channel, at: 0, how: 'stall' });
      source.configure({ 'migration-step-timeout': '1' });
      const outcome = await migrate(source, requestTo(destination, domain, false));
      expect(failureOf(outcome)).to.match(
        new RegExp(`connect, destination: no synchronisation point ${point} within 1 s`),
      );
      await goesOn(source, destination, domain);
    });
  }
});

/** Wait until a migration has got to a phase. */
async function reaches(source: TestHost, migrationId: string, phase: string): Promise<void> {
  for (let since = 0; ; ) {
    const { events, next } = await source.engine.service.events(since, 10);
    const there = events.some(
      (event) => event.kind === 'migration-progress' && event.migrationId === migrationId && event.phase === phase,
    );
    if (there) return;
    since = next;
  }
}
