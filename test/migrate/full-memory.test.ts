import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { fillUp, tmpfsKind } from '../support/full-disk.js';
import { goesOn, migrate, openTestHost, requestTo, testDomain } from '../support/hosts.js';

const tmpfs = tmpfsKind();

// It needs a file system of its own, which only root may mount.
(tmpfs === undefined ? describe.skip : describe)('A migration whose memory somebody else takes', function () {
  this.timeout(60_000);

  it('is refused when the domain is made, keeps nothing, and the VM goes on at the source; it is done when there is room', async () => {
    const parent = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-full-memory-'));
    const room = 16 << 20;
    const disk = (tmpfs as NonNullable<typeof tmpfs>).open(parent, room);
    const [source, destination] = await Promise.all([
      openTestHost(),
      openTestHost({ options: { 'memory-dir': disk.path } }),
    ]);
    const domain = testDomain({ memoryBytes: 8 << 20 });
    try {
      await source.engine.service.start(domain, false);
      const { reserve } = destination.simulator;
      Object.assign(destination.simulator, {
        reserve: async (...promise: Parameters<typeof reserve>) => {
          await reserve(...promise);
          fillUp(path.join(disk.path, 'filler'));
        },
      });
      const outcome = await migrate(source, requestTo(destination, domain, false));
      const [code, params] = 'error' in outcome ? [outcome.error.code, outcome.error.params.join(' ')] : ['none', ''];
      expect(code).to.equal('VM_MIGRATE_FAILED');
      expect(params).to.match(/destination: .*HOST_NOT_ENOUGH_FREE_MEMORY/);
      await goesOn(source, destination, domain);
      Object.assign(destination.simulator, { reserve });
      disk.resize(room);
      expect((await migrate(source, requestTo(destination, domain, false))).status).to.equal('success');
    } finally {
      await Promise.all([source.close(), destination.close()]);
      disk.close();
      fs.rmSync(parent, { recursive: true });
    }
  });
});
