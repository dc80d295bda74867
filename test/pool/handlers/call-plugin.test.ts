import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import { type Fixture, openFixture } from '../fixture.js';

describe('host.call_plugin', () => {
  let f: Fixture;
  beforeEach(async () => {
    f = await openFixture();
  });
  afterEach(() => f.close());

  const call = (host: Ref<'host'>) =>
    f.pool.dispatch.handlers.host.call_plugin(f.context(), host, 'fault', 'add', { step: 'copy' });

  it('asks the host that it names', async () => {
    const asked = { plugin: 'fault', fn: 'add', args: { step: 'copy' } };
    expect(JSON.parse(await call(f.hostA))).to.deep.equal(asked);
    expect(JSON.parse(await call(await f.joinB()))).to.deep.equal(asked);
  });

  it('is refused for a host that does not answer, and for one that is not there', async () => {
    const hostB = await f.joinB();
    const { metrics } = f.pool.db.get('host', hostB);
    f.b.reachable = false;
    f.b.emit({ kind: 'domain-gone', uuid: 'wakes the poll' });
    await f.until(() => !f.pool.db.get('host_metrics', metrics).live);
    expect(await f.failure(() => call(hostB))).to.deep.equal(['HOST_OFFLINE', hostB]);
    const nobody = 'OpaqueRef:nobody' as Ref<'host'>;
    expect(await f.failure(() => call(nobody))).to.deep.equal(['HANDLE_INVALID', 'host', nobody]);
  });
});
