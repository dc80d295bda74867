import fs from 'node:fs';
import { expect } from 'chai';
import { pageSize } from '../../src/base/hypervisor-protocol.js';
import { createLogDirty } from '../../src/hypervisor/log-dirty.js';
import { boot, type HypervisorProcess, runFor, startHypervisor } from './hypervisor-process.js';

describe('log-dirty', () => {
  it('gives one bit a page, least significant first, set once each, and clears it', () => {
    const log = createLogDirty(20);
    const session = log.open();
    for (const pfn of [0, 9, 9, 19]) log.mark(pfn);
    expect(log.readClear(session)).to.deep.equal({ dirty: 3, bitmap: Buffer.from([1, 2, 8]) });
    expect(log.readClear(session)).to.deep.equal({ dirty: 0, bitmap: Buffer.alloc(3) });
  });

  it('begins clean in each session and names the one that ended an older', () => {
    const log = createLogDirty(8);
    const first = log.open();
    log.mark(1);
    const second = log.open();
    expect(() => log.readClear(first)).to.throw(`session ${first} was ended by session ${second}`);
    expect(log.readClear(second).dirty).to.equal(0);
  });

  it('lets an old session close without ending the new one', () => {
    const log = createLogDirty(8);
    const first = log.open();
    const second = log.open();
    log.close(first);
    log.mark(3);
    expect(log.readClear(second).dirty).to.equal(1);
    log.close(second);
    expect(() => log.readClear(second)).to.throw('was closed');
    expect(() => log.readClear(99)).to.throw('was never opened');
  });

  describe('of a running domain', () => {
    let hypervisor: HypervisorProcess;
    beforeEach(async () => {
      hypervisor = await startHypervisor();
    });
    afterEach(() => hypervisor.stop());

    it('has set the bits of exactly the pages that changed', async () => {
      const { client } = hypervisor;
      const handle = await boot(client);
      const { path } = (await client.call('memory_of', { handle })).result;
      const before = fs.readFileSync(path);
      const { session } = (await client.call('log_dirty_open', { handle })).result;
      await runFor(client, handle, 200);
      const { result, binary } = await client.call('log_dirty_read_clear', { handle, session });
      const after = fs.readFileSync(path);
      const changed = pfnsOf(before.length / pageSize, (pfn) => !pageOf(before, pfn).equals(pageOf(after, pfn)));
      const marked = pfnsOf(before.length / pageSize, (pfn) => (((binary[pfn >> 3] as number) >> (pfn & 7)) & 1) === 1);
      expect(marked).to.deep.equal(changed);
      expect(result.dirty).to.equal(changed.length);
    });

    it('misses no page when it is read while the domain runs', async () => {
      const { client } = hypervisor;
      const handle = await boot(client, { workload: { dirtyPagesPerSecond: 50_000, workingSet: 1 } });
      const { path, pages } = (await client.call('memory_of', { handle })).result;
      const { session } = (await client.call('log_dirty_open', { handle })).result;
      const copy = fs.readFileSync(path);
      await client.call('unpause', { handle, token: 'run' });
      const file = fs.openSync(path, 'r');
      for (let round = 0; round < 21; round++) {
        if (round === 20) await client.call('pause', { handle });
        const { binary } = await client.call('log_dirty_read_clear', { handle, session });
        for (const pfn of pfnsOf(pages, (page) => (((binary[page >> 3] as number) >> (page & 7)) & 1) === 1)) {
          fs.readSync(file, copy, pfn * pageSize, pageSize, pfn * pageSize);
        }
      }
      fs.closeSync(file);
      expect(copy.equals(fs.readFileSync(path))).to.equal(true);
    });
  });
});

function pfnsOf(pages: number, holds: (pfn: number) => boolean): number[] {
  return Array.from({ length: pages }, (_, pfn) => pfn).filter(holds);
}

function pageOf(memory: Buffer, pfn: number): Buffer {
  return memory.subarray(pfn * pageSize, (pfn + 1) * pageSize);
}
