import { expect } from 'chai';
import { startLocalPool } from '../../../src/cli/local-pool/local-pool.js';

describe('a local pool that cannot be made', function () {
  this.timeout(60_000);

  it('says why, and what its daemons have warned of, as their logs go with it', async () => {
    const config = { 'simulator-memory': '32MiB', 'no-such-key': '1' };
    const message = await startLocalPool({ hosts: 1, vms: 1, memory: 64 * 2 ** 20, config }).then(
      () => 'started',
      (error: Error) => error.message,
    );
    expect(message).to.match(
      /^HOST_NOT_ENOUGH_FREE_MEMORY \d+ \d+\nhost1: .* warn {2}.*no-such-key is not a known key/,
    );
  });
});
