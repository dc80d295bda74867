import { expect } from 'chai';
import type { SimulatedSpec } from '../../../src/base/protocol/hypervisor-protocol.js';
import type { HostEvent } from '../../../src/host/service/service.js';
import { migrate, openTestHost, outcomeOf, requestTo, type TestHost, testDomain } from '../../support/hosts.js';

type Request = ReturnType<typeof requestTo>;

const small = () => testDomain({ memoryBytes: 2 << 20 });
const plugin = (host: TestHost, fn: string, args: Record<string, string> = {}) =>
  host.engine.service.callPlugin('fault', fn, args);

/** Wait for an event of a host, by looking at all from the beginning. */
async function heard(host: TestHost, isIt: (event: HostEvent) => boolean, times = 1): Promise<void> {
  for (let since = 0, left = times; ; ) {
    const { events, next } = await host.engine.service.events(since, 30);
    left -= events.filter(isIt).length;
    if (left <= 0) return;
    since = next;
  }
}
const inPhase =
  ({ migrationId }: Request, phase: string) =>
  (event: HostEvent) =>
    event.kind === 'migration-progress' && event.migrationId === migrationId && event.phase === phase;

/** Begins and ends of migrations that left a host, in their order. */
async function history(source: TestHost): Promise<{ begun: string[]; mostAtOnce: number; queued: Set<string> }> {
  const { events } = await source.engine.service.events(0, 0);
  const begun: string[] = [];
  const queued = new Set<string>();
  let [atOnce, mostAtOnce] = [0, 0];
  for (const event of events) {
    if (event.kind === 'migration-progress' && event.phase === 'queued') queued.add(event.migrationId);
    if (event.kind === 'migration-progress' && event.phase === 'prepare') begun.push(event.migrationId);
    if (event.kind === 'migration-progress' && event.phase === 'prepare') atOnce += 1;
    if (event.kind === 'migration-ended' && begun.includes(event.migrationId)) atOnce -= 1;
    mostAtOnce = Math.max(mostAtOnce, atOnce);
  }
  return { begun, mostAtOnce, queued };
}

describe('Migrations beyond the limits of hosts', function () {
  this.timeout(60_000);
  const open: TestHost[] = [];
  const host = async (options: Record<string, string> = {}) => {
    const opened = await openTestHost({
      options: { 'fault-injection': 'true', 'migration-digest': 'false', ...options },
    });
    open.push(opened);
    return opened;
  };
  afterEach(() => Promise.all(open.splice(0).map((each) => each.close())));

  async function boot(source: TestHost, count: number): Promise<SimulatedSpec[]> {
    const domains = Array.from({ length: count }, small);
    await Promise.all(domains.map((domain) => source.engine.service.start(domain, false)));
    return domains;
  }
  const requests = (domains: readonly SimulatedSpec[], to: TestHost) =>
    domains.map((each) => requestTo(to, each, false));
  const submit = async (source: TestHost, all: readonly Request[]) => {
    for (const request of all) await source.engine.service.migrate(request);
  };
  const statuses = async (source: TestHost, all: readonly Request[]) =>
    Promise.all(all.map(async ({ migrationId }) => (await outcomeOf(source, migrationId)).status));
  /** The first migration of these, held at its copy until the rules are cleared. */
  async function held(source: TestHost, request: Request): Promise<void> {
    await plugin(source, 'add', { side: 'source', step: 'copy', vm: request.uuid, action: 'stall' });
    await source.engine.service.migrate(request);
    await heard(source, inPhase(request, 'copy'));
  }

  it('leave in the order in which they were asked for, no more at once than the source allows', async () => {
    const [source, destination] = await Promise.all([
      host({ 'migration-outgoing-limit': '2' }),
      host({ 'migration-incoming-limit': '10' }),
    ]);
    const all = requests(await boot(source, 6), destination);
    await submit(source, all);
    expect(await statuses(source, all)).to.deep.equal(all.map(() => 'success'));
    const { begun, mostAtOnce, queued } = await history(source);
    expect(begun).to.deep.equal(all.map(({ migrationId }) => migrationId));
    expect(mostAtOnce).to.equal(2);
    expect([...queued]).to.deep.equal(begun.slice(2));
    expect(await destination.simulator.list()).to.have.length(6);
  });

  it('leave no more at once than there are workers', async () => {
    const [source, destination] = await Promise.all([
      host({ 'migration-outgoing-limit': '10', 'worker-pool-size': '2' }),
      host({ 'migration-incoming-limit': '10' }),
    ]);
    const all = requests(await boot(source, 4), destination);
    await submit(source, all);
    expect(await statuses(source, all)).to.deep.equal(all.map(() => 'success'));
    expect(await history(source)).to.have.property('mostAtOnce', 2);
  });

  it('hold no worker while they wait, and let other VMs be worked with', async () => {
    const [source, destination] = await Promise.all([
      host({ 'migration-outgoing-limit': '1', 'worker-pool-size': '2' }),
      host(),
    ]);
    const [first, ...others] = requests(await boot(source, 4), destination) as [Request, ...Request[]];
    await held(source, first);
    await submit(source, others);
    const [newcomer] = await boot(source, 1);
    await source.engine.service.pause(newcomer?.uuid ?? '');
    await plugin(source, 'clear');
    expect(await statuses(source, [first, ...others])).to.deep.equal(Array(4).fill('success'));
  });

  it('end at once when they are cancelled while they wait, and their VMs can be worked with', async () => {
    const [source, destination] = await Promise.all([host({ 'migration-outgoing-limit': '1' }), host()]);
    const [first, second, third] = requests(await boot(source, 3), destination) as [Request, Request, Request];
    await held(source, first);
    await submit(source, [second, third]);
    await source.engine.service.cancel(second.migrationId);
    expect(await outcomeOf(source, second.migrationId)).to.deep.equal({
      status: 'cancelled',
      error: { code: 'TASK_CANCELLED', params: [second.task] },
    });
    await source.engine.service.pause(second.uuid);
    await plugin(source, 'clear');
    expect(await statuses(source, [first, third])).to.deep.equal(['success', 'success']);
    expect((await source.simulator.list()).map(({ uuid, state }) => [uuid, state])).to.deep.equal([
      [second.uuid, 'paused'],
    ]);
    expect((await history(source)).begun).to.not.include(second.migrationId);
  });

  it('go on when the limit is raised', async () => {
    const [source, destination] = await Promise.all([host({ 'migration-outgoing-limit': '1' }), host()]);
    const [first, second] = requests(await boot(source, 2), destination) as [Request, Request];
    await held(source, first);
    await submit(source, [second]);
    source.configure({ 'migration-outgoing-limit': '2' });
    await source.engine.reload();
    expect(await statuses(source, [second])).to.deep.equal(['success']);
    await plugin(source, 'clear');
    expect(await statuses(source, [first])).to.deep.equal(['success']);
  });

  it('have not begun when the daemon of their source ends: their VMs run on, and it says so', async () => {
    const [source, destination] = await Promise.all([host({ 'migration-outgoing-limit': '1' }), host()]);
    const [first, second] = requests(await boot(source, 2), destination) as [Request, Request];
    await held(source, first);
    await submit(source, [second]);
    await source.engine.close();
    expect(await source.engine.service.outcome(second.migrationId)).to.have.property('status', 'failure');
    const domains = await source.simulator.list();
    expect(domains.map(({ state }) => state)).to.deep.equal(['running', 'running']);
    expect(destination.heads.some(({ cookies }) => cookies.migration_id === second.migrationId)).to.equal(false);
  });

  describe('at the destination', () => {
    /** A destination that takes one VM at a time, with one on its way there that is held. */
    async function busy(options: Record<string, string> = {}, ofOther: Record<string, string> = {}) {
      const [source, other, destination] = await Promise.all([
        host(),
        host({ 'worker-pool-size': '1', ...ofOther }),
        host({ 'migration-incoming-limit': '1', ...options }),
      ]);
      const [first] = requests(await boot(source, 1), destination) as [Request];
      await held(source, first);
      const [second] = requests(await boot(other, 1), destination) as [Request];
      await submit(other, [second]);
      await heard(other, inPhase(second, 'queued'));
      return { source, other, destination, first, second };
    }

    it('wait for their turn however long it takes: no deadline runs, nothing is reserved, no worker is held', async () => {
      const { source, other, destination, first, second } = await busy({ 'migration-accept-timeout': '200ms' });
      await heard(other, inPhase(second, 'queued'), 3);
      await boot(other, 1);
      const { total, free } = await destination.simulator.memory();
      expect(total - free).to.equal(first.metadata.domain.memoryBytes);
      await plugin(source, 'clear');
      expect(await statuses(source, [first])).to.deep.equal(['success']);
      expect(await statuses(other, [second])).to.deep.equal(['success']);
    });

    it('let VMs leave for other destinations meanwhile, whatever the limit of their source', async () => {
      const { source, other, first, second } = await busy({}, { 'migration-outgoing-limit': '1' });
      const third = requests(await boot(other, 1), await host());
      await submit(other, third);
      expect(await statuses(other, third)).to.deep.equal(['success']);
      await plugin(source, 'clear');
      expect(await statuses(source, [first])).to.deep.equal(['success']);
      expect(await statuses(other, [second])).to.deep.equal(['success']);
    });

    it('end at once when they are cancelled while they wait, and leave nothing', async () => {
      const { source, other, destination, first, second } = await busy();
      await other.engine.service.cancel(second.migrationId);
      expect(await statuses(other, [second])).to.deep.equal(['cancelled']);
      expect((await other.simulator.list()).map(({ state }) => state)).to.deep.equal(['running']);
      await plugin(source, 'clear');
      expect(await statuses(source, [first])).to.deep.equal(['success']);
      const again = requestTo(destination, second.metadata.domain, false);
      expect((await migrate(other, again)).status).to.equal('success');
      expect(await destination.simulator.list()).to.have.length(2);
    });

    it('fail when the daemon of their source ends, and their VMs run on', async () => {
      const { source, other, first, second } = await busy();
      await other.engine.close();
      expect(await other.engine.service.outcome(second.migrationId)).to.have.property('status', 'failure');
      expect((await other.simulator.list()).map(({ state }) => state)).to.deep.equal(['running']);
      await plugin(source, 'clear');
      expect(await statuses(source, [first])).to.deep.equal(['success']);
    });
  });

  it('cross between two hosts that each take and send one at a time', async () => {
    const limits = { 'migration-outgoing-limit': '1', 'migration-incoming-limit': '1', 'worker-pool-size': '1' };
    const [one, two] = await Promise.all([host(limits), host(limits)]);
    const [there, back] = [requests(await boot(one, 3), two), requests(await boot(two, 3), one)];
    await Promise.all([submit(one, there), submit(two, back)]);
    expect(await statuses(one, there)).to.deep.equal(['success', 'success', 'success']);
    expect(await statuses(two, back)).to.deep.equal(['success', 'success', 'success']);
    const uuids = async (at: TestHost) => (await at.simulator.list()).map(({ uuid }) => uuid);
    expect(await uuids(one)).to.have.members(back.map(({ uuid }) => uuid));
    expect(await uuids(two)).to.have.members(there.map(({ uuid }) => uuid));
    for (const each of [one, two]) expect(await history(each)).to.have.property('mostAtOnce', 1);
  });
});
