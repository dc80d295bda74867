import fs from 'node:fs';
import { expect } from 'chai';
import { type DomainHandle, pageSize } from '../../../src/base/domain.js';
import type { SimulatedDomain } from '../../../src/base/protocol/hypervisor-protocol.js';
import { createLogDirty } from '../../../src/hypervisor/guest/log-dirty.js';
import {
  boot,
  eventually,
  failureOf,
  type HypervisorProcess,
  infoOf,
  runFor,
  startHypervisor,
} from '../hypervisor-process.js';

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

  it('can be looked at without being cleared', () => {
    const log = createLogDirty(8);
    const session = log.open();
    log.mark(2);
    expect(log.peek(session)).to.deep.equal({ dirty: 1, bitmap: Buffer.from([4]) });
    expect(log.readClear(session)).to.deep.equal({ dirty: 1, bitmap: Buffer.from([4]) });
    expect(log.peek(session).dirty).to.equal(0);
    log.close(session);
    expect(() => log.peek(session)).to.throw('was closed');
  });

  it('tells when a session ends, whatever ends it', () => {
    let ended = 0;
    const log = createLogDirty(8, () => {
      ended += 1;
    });
    const first = log.open();
    const second = log.open();
    expect(ended).to.equal(1);
    log.close(first);
    expect(ended).to.equal(1);
    log.close(second);
    log.close(second);
    expect(ended).to.equal(2);
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

    it('lets its session slow the guest down', async () => {
      const { client } = hypervisor;
      const [slow, fast] = [await boot(client, { uuid: 'slow' }), await boot(client, { uuid: 'fast' })];
      const { session } = (await client.call('log_dirty_open', { handle: slow })).result;
      await client.call('throttle', { handle: slow, session, share: 0.1 });
      expect(await infoOf(client, slow)).to.have.property('cpuShare', 0.1);
      expect(await infoOf(client, fast)).to.not.have.property('cpuShare');
      await Promise.all([slow, fast].map((handle) => client.call('unpause', { handle, token: 'run' })));
      await eventually(async () => ((await infoOf(client, fast))?.ticks ?? 0) >= 60 || undefined);
      const [slowed, full] = [await infoOf(client, slow), await infoOf(client, fast)];
      expect(slowed?.ticks).to.be.within(1, (full?.ticks ?? 0) / 3);
      expect(slowed?.pagesWritten).to.be.within(1, (full?.pagesWritten ?? 0) / 3);
    });

    const endings: [what: string, end: (hypervisor: HypervisorProcess, session: number) => Promise<unknown>][] = [
      [
        'is closed',
        async ({ client }, session) => client.call('log_dirty_close', { handle: await only(client), session }),
      ],
      ['is ended by another', async ({ client }) => client.call('log_dirty_open', { handle: await only(client) })],
    ];
    for (const [what, end] of endings) {
      it(`lets the guest run at full speed when the session ${what}`, async () => {
        const { client } = hypervisor;
        const handle = await boot(client);
        const { session } = (await client.call('log_dirty_open', { handle })).result;
        await client.call('throttle', { handle, session, share: 0.5 });
        await end(hypervisor, session);
        expect(await infoOf(client, handle)).to.not.have.property('cpuShare');
        const { code } = await failureOf(client.call('throttle', { handle, session, share: 0.5 }));
        expect(code).to.equal('OPERATION_NOT_ALLOWED');
      });
    }

    it('ends its session, and the guest runs at full speed, when the connection of who opened it ends', async () => {
      const { client } = hypervisor;
      const handle = await boot(client);
      const helper = await hypervisor.connect('helper');
      const { session } = (await helper.call('log_dirty_open', { handle })).result;
      await helper.call('throttle', { handle, session, share: 0.01 });
      await helper.close();
      await eventually(async () => (await infoOf(client, handle))?.cpuShare === undefined || undefined);
      const { params } = await failureOf(client.call('log_dirty_peek', { handle, session }));
      expect(params.join()).to.contain('was closed');
    });

    for (const share of [0, -1, 1.5]) {
      it(`refuses a share of ${share}`, async () => {
        const { client } = hypervisor;
        const handle = await boot(client);
        const { session } = (await client.call('log_dirty_open', { handle })).result;
        const { code, params } = await failureOf(client.call('throttle', { handle, session, share }));
        expect([code, params[0]]).to.deep.equal(['INVALID_VALUE', 'throttle.share']);
      });
    }

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

async function only(client: HypervisorProcess['client']): Promise<DomainHandle> {
  const [domain] = (await client.call('list', {})).result;
  return (domain as SimulatedDomain).handle;
}

function pfnsOf(pages: number, holds: (pfn: number) => boolean): number[] {
  return Array.from({ length: pages }, (_, pfn) => pfn).filter(holds);
}

function pageOf(memory: Buffer, pfn: number): Buffer {
  return memory.subarray(pfn * pageSize, (pfn + 1) * pageSize);
}
