import { expect } from 'chai';
import type { LocalPool } from '../../../src/cli/local-pool/local-pool.js';
import { sharedPools, xeIn } from './shared-pools.js';

describe('xe host-call-plugin with the plugin fault', function () {
  this.timeout(60_000);
  let here: LocalPool;
  let there: LocalPool;
  before(async () => {
    ({ here, there } = await sharedPools());
  });

  const call = async (pool: LocalPool, host: LocalPool['hosts'][number] | undefined, fn: string, ...args: string[]) =>
    xeIn(pool, 'host-call-plugin', `host-uuid=${host?.uuid}`, 'plugin=fault', `fn=${fn}`, ...args);

  it('breaks a migration at the source and at the destination, which both say so', async () => {
    const [source, destination] = here.hosts;
    const [vm] = here.vms;
    const uuid = `args:vm=${vm?.uuid}`;
    const step = ['args:step=copy', 'args:action=fail', uuid];
    const rules = [
      await call(here, source, 'add', ...step, 'args:side=source', 'args:message=broken here'),
      await call(here, destination, 'add', ...step, 'args:side=destination', 'args:message=broken there'),
    ];
    for (const rule of rules) expect(rule).to.deep.include({ status: 0, err: '' });
    for (const says of [/copy, source: broken here/, /copy, destination: .*broken there/]) {
      const { status, err } = await xeIn(here, 'vm-migrate', `uuid=${vm?.uuid}`, `host=${destination?.name}`);
      expect(status).to.equal(1);
      expect(err).to.match(says);
    }
    const { out } = await call(here, destination, 'list');
    expect(JSON.parse(out)[0]).to.include({ side: 'destination', reached: 1, fired: 1 });
    for (const host of here.hosts) expect((await call(here, host, 'clear')).status).to.equal(0);
  });

  it('holds a migration up while its task shows how the copy goes', async () => {
    const [source, destination] = here.hosts;
    const [vm] = here.vms;
    const rule = ['args:step=last round', 'args:side=source', 'args:action=stall', `args:vm=${vm?.uuid}`];
    expect(await call(here, source, 'add', ...rule)).to.deep.include({ status: 0, err: '' });
    const migration = xeIn(here, 'vm-migrate', `uuid=${vm?.uuid}`, `host=${destination?.name}`);
    const pending = ['task-list', 'name-label=Async.VM.pool_migrate', 'status=pending'];
    let shown = '';
    while (!shown.includes('expected_downtime_ms')) shown = (await xeIn(here, ...pending, 'params=other-config')).out;
    for (const key of ['rounds', 'pages_left', 'pages_per_second', 'dirty_pages_per_second', 'guest_throttle']) {
      expect(shown).to.match(new RegExp(`${key}: \\d`));
    }
    const { out: task } = await xeIn(here, ...pending, '--minimal');
    expect((await xeIn(here, 'task-cancel', `uuid=${task.trim()}`)).status).to.equal(0);
    expect((await migration).status).to.equal(1);
    expect((await call(here, source, 'clear')).status).to.equal(0);
  });

  it('shows what is wrong with a rule, and where the configuration has them off', async () => {
    const [host] = here.hosts;
    expect((await call(here, host, 'add', 'args:step=copy', 'args:action=fail')).err).to.contain(
      'allowed: source or destination; to be given where both have the step',
    );
    expect((await call(there, there.hosts[0], 'list')).err).to.contain('fault-injection = true');
  });
});
