import { expect } from 'chai';
import type { LocalPool } from '../../src/cli/local-pool.js';
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

  it('shows what is wrong with a rule, and where the configuration has them off', async () => {
    const [host] = here.hosts;
    expect((await call(here, host, 'add', 'args:step=copy', 'args:action=fail')).err).to.contain(
      'source, destination, as both have a step copy',
    );
    expect((await call(there, there.hosts[0], 'list')).err).to.contain('fault-injection = true');
  });
});
