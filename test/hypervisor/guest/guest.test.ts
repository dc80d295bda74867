import fs from 'node:fs';
import { deflateRawSync } from 'node:zlib';
import { expect } from 'chai';
import type { HypervisorClient } from '../../../src/backend/simulator/client.js';
import { type DomainHandle, pageSize } from '../../../src/base/domain.js';
import type { MemoryProfile } from '../../../src/base/protocol/hypervisor-protocol.js';
import {
  boot,
  eventually,
  failureOf,
  type HypervisorProcess,
  infoOf,
  mebibyte,
  runFor,
  specOf,
  startHypervisor,
} from '../hypervisor-process.js';

const none: MemoryProfile = { zero: 0, program: 0, text: 0, random: 0 };

describe('a simulated guest', () => {
  let hypervisor: HypervisorProcess;
  let client: HypervisorClient;
  beforeEach(async () => {
    hypervisor = await startHypervisor();
    client = hypervisor.client;
  });
  afterEach(() => hypervisor.stop());

  const memoryOf = async (handle: DomainHandle): Promise<Buffer> => {
    return fs.readFileSync((await client.call('memory_of', { handle })).result.path);
  };
  const overwrite = async (handle: DomainHandle, at: number, bytes: Uint8Array): Promise<void> => {
    const file = fs.openSync((await client.call('memory_of', { handle })).result.path, 'r+');
    fs.writeSync(file, bytes, 0, bytes.length, at);
    fs.closeSync(file);
  };
  const badPages = async (handle: DomainHandle): Promise<number> =>
    (await client.call('verify', { handle })).result.badPages;

  describe('memory', () => {
    it('has the shares of its profile, and all of it its room', async () => {
      const handle = await boot(client, { profile: { ...none, zero: 0.7, text: 0.3 } });
      const memory = await memoryOf(handle);
      const zeros = pages(memory).filter((page) => page.every((byte) => byte === 0)).length;
      expect(zeros / pages(memory).length).to.be.closeTo(0.7, 0.02);
      const { blocks } = fs.statSync((await client.call('memory_of', { handle })).result.path);
      expect(blocks * 512).to.be.at.least(memory.length);
    });

    for (const [kind, least, most] of [
      ['program', 0.2, 0.7],
      ['text', 0.2, 0.6],
      ['random', 0.99, 1.01],
    ] as const) {
      it(`of kind ${kind} compresses as such memory does`, async () => {
        const memory = await memoryOf(await boot(client, { profile: { ...none, [kind]: 1 } }));
        expect(deflateRawSync(memory, { level: 1 }).length / memory.length).to.be.within(least, most);
      });
    }

    it('is decided by seed and profile, and every page that is not zero is another', async () => {
      const [a, b, c] = [
        await memoryOf(await boot(client, { uuid: 'a' })),
        await memoryOf(await boot(client, { uuid: 'b' })),
        await memoryOf(await boot(client, { uuid: 'c', seed: 8 })),
      ];
      expect(a.equals(b)).to.equal(true);
      expect(a.equals(c)).to.equal(false);
      const filled = pages(a).filter((page) => page.some((byte) => byte !== 0));
      expect(new Set(filled.map((page) => page.toString('latin1'))).size).to.equal(filled.length);
    });

    it('may end in the middle of an extent', async () => {
      const handle = await boot(client, { memoryBytes: 21 * pageSize, profile: { ...none, text: 1 } });
      expect((await client.call('verify', { handle })).result).to.deep.equal({ badPages: 0, pages: 21 });
      expect(await memoryOf(handle)).to.have.length(21 * pageSize);
    });
  });

  describe('verification', () => {
    it('finds every page right after boot, after a run and while it runs', async () => {
      const handle = await boot(client);
      expect(await badPages(handle)).to.equal(0);
      await runFor(client, handle, 500);
      expect(await badPages(handle)).to.equal(0);
      await client.call('unpause', { handle, token: 'again' });
      expect(await badPages(handle)).to.equal(0);
    });

    const rows: [string, (memory: Buffer) => [number, Uint8Array][], number][] = [
      [
        'one flipped byte',
        (memory) => [[5 * pageSize + 1000, Buffer.from([(memory[5 * pageSize + 1000] as number) ^ 1])]],
        1,
      ],
      ['a byte in a zero page', (memory) => [[zeroPageOf(memory) * pageSize + 9, Buffer.from([1])]], 1],
      ['a flipped byte in a stamp', () => [[6 * pageSize + 5, Buffer.from([0xee])]], 1],
      ['a lost page', () => [[7 * pageSize, Buffer.alloc(pageSize)]], 1],
      [
        'two swapped pages',
        (memory) => [
          [0, page(memory, 1)],
          [pageSize, page(memory, 0)],
        ],
        2,
      ],
    ];
    for (const [what, damage, bad] of rows) {
      it(`finds ${what}`, async () => {
        const handle = await boot(client, { seed: 3 });
        // The first extent of this seed is not zero, so that there is something to damage.
        const memory = await memoryOf(handle);
        expect([0, 1, 5, 6, 7].every((pfn) => page(memory, pfn).some((byte) => byte !== 0))).to.equal(true);
        for (const [at, bytes] of damage(memory)) await overwrite(handle, at, bytes);
        expect(await badPages(handle)).to.equal(bad);
      });
    }

    it('finds pages that are older than the guest wrote them', async () => {
      const handle = await boot(client);
      const old = await memoryOf(handle);
      await runFor(client, handle, 100);
      const changed = pages(await memoryOf(handle)).filter((now, pfn) => !now.equals(page(old, pfn))).length;
      await overwrite(handle, 0, old);
      expect(await badPages(handle)).to.equal(changed);
    });
  });

  describe('virtual CPU', () => {
    it('writes into its working set alone', async () => {
      const handle = await boot(client, { workload: { dirtyPagesPerSecond: 20_000, workingSet: 0.25 } });
      const before = await memoryOf(handle);
      await runFor(client, handle, 2000);
      const after = await memoryOf(handle);
      const changed = pages(after).flatMap((now, pfn) => (now.equals(page(before, pfn)) ? [] : [pfn]));
      expect(changed.length).to.be.greaterThan(400);
      expect(Math.max(...changed)).to.be.lessThan(before.length / pageSize / 4);
    });

    it('only counts when it is idle', async () => {
      const handle = await boot(client, { workload: { dirtyPagesPerSecond: 0, workingSet: 1 } });
      const before = await memoryOf(handle);
      await client.call('unpause', { handle, token: 'run' });
      await eventually(async () => ((await infoOf(client, handle))?.ticks ?? 0) > 5 || undefined);
      await client.call('pause', { handle });
      expect((await infoOf(client, handle))?.pagesWritten).to.equal(0);
      expect((await memoryOf(handle)).equals(before)).to.equal(true);
    });

    it('crashes, and takes nothing else along, when its memory fails', async () => {
      const handle = await boot(client);
      fs.truncateSync((await client.call('memory_of', { handle })).result.path, 0);
      await client.call('arm_digest', { handle });
      await client.call('unpause', { handle, token: 'run' });
      await eventually(async () => (await infoOf(client, handle))?.state === 'shutdown' || undefined);
      expect((await failureOf(client.call('unpause', { handle, token: 'on' }))).params.join()).to.contain(
        'is shutdown',
      );
      await client.call('destroy', { handle });
      await boot(client);
    });

    it('stands still once pause has returned', async () => {
      const handle = await boot(client, { workload: { dirtyPagesPerSecond: 50_000, workingSet: 1 } });
      await runFor(client, handle, 1000);
      const [memory, info] = [await memoryOf(handle), await infoOf(client, handle)];
      const other = await boot(client, { uuid: 'other' });
      await runFor(client, other, 100);
      expect((await memoryOf(handle)).equals(memory)).to.equal(true);
      expect(await infoOf(client, handle)).to.deep.equal(info);
    });
  });

  describe('digest', () => {
    const digestOf = async (handle: DomainHandle): Promise<string> => {
      await client.call('arm_digest', { handle });
      return (await client.call('digest', { handle })).result.digest;
    };

    it('is equal for equal domains and differs by one byte of memory, by context and by virtual GPU', async () => {
      const vgpus = ['0'];
      const [a, b] = [await boot(client, { uuid: 'a', vgpus }), await boot(client, { uuid: 'b', vgpus })];
      const digest = await digestOf(a);
      expect(digest).to.match(/^[0-9a-f]{64}$/);
      expect(await digestOf(b)).to.equal(digest);
      await overwrite(b, 12345, Buffer.from([0xa5]));
      const seen = new Set([digest, await digestOf(b)]);
      const { binary } = await client.call('get_context', { handle: a });
      binary.writeDoubleLE(17, 8);
      await client.call('set_context', { handle: a }, { binary });
      seen.add(await digestOf(a));
      await client.call('set_vgpu', { handle: a, device: '0' }, { binary: Buffer.alloc(100) });
      expect(seen.add(await digestOf(a)).size).to.equal(4);
    });

    it('is that of the paused instant, though the guest runs before it is taken', async () => {
      const handle = await boot(client, { vgpus: ['0'], workload: { dirtyPagesPerSecond: 20_000, workingSet: 1 } });
      await runFor(client, handle, 300);
      const digest = await digestOf(handle);
      await client.call('arm_digest', { handle });
      await client.call('unpause', { handle, token: 'on' });
      const written = (await infoOf(client, handle))?.pagesWritten ?? 0;
      await eventually(async () => ((await infoOf(client, handle))?.pagesWritten ?? 0) > written + 2000 || undefined);
      expect((await client.call('digest', { handle })).result.digest).to.equal(digest);
      await client.call('pause', { handle });
      expect(await digestOf(handle)).not.to.equal(digest);
    });

    it('cannot be armed while the guest runs, nor had when none was armed', async () => {
      const handle = await boot(client);
      expect((await failureOf(client.call('digest', { handle }))).params.join()).to.contain('none was armed');
      await client.call('unpause', { handle, token: 'run' });
      expect((await failureOf(client.call('arm_digest', { handle }))).params.join()).to.contain('is running');
    });

    it('fails when its domain is destroyed meanwhile', async () => {
      const handle = await boot(client, { memoryBytes: 64 * mebibyte });
      await client.call('arm_digest', { handle });
      const failure = failureOf(client.call('digest', { handle }));
      await client.call('destroy', { handle });
      expect((await failure).params.join()).to.contain('destroyed');
    });
  });

  it('goes on from where it was on another hypervisor, with every page right and the digests equal', async () => {
    const other = await startHypervisor();
    try {
      const handle = await boot(client, { vgpus: ['0', '11'] });
      await runFor(client, handle, 1000);
      await client.call('arm_digest', { handle });
      const there = (await other.client.call('create', { spec: specOf({ vgpus: ['0', '11'] }) })).result;
      fs.writeFileSync((await other.client.call('memory_of', { handle: there })).result.path, await memoryOf(handle));
      await other.client.call('set_context', { handle: there }, await client.call('get_context', { handle }));
      for (const device of ['0', '11']) {
        const { binary } = await client.call('get_vgpu', { handle, device });
        expect(binary.length).to.be.greaterThan(256 * 1024);
        await other.client.call('set_vgpu', { handle: there, device }, { binary });
      }
      await other.client.call('built', { handle: there });
      await other.client.call('arm_digest', { handle: there });
      const [source, destination] = [await infoOf(client, handle), await infoOf(other.client, there)];
      expect(destination).to.deep.equal({ ...source, handle: there, everRan: false });
      await runFor(other.client, there, 1000);
      const went = await infoOf(other.client, there);
      expect(went?.ticks).to.be.greaterThan(source?.ticks ?? 0);
      expect(went?.pagesWritten).to.be.at.least((source?.pagesWritten ?? 0) + 1000);
      expect((await other.client.call('verify', { handle: there })).result.badPages).to.equal(0);
      expect((await other.client.call('digest', { handle: there })).result).to.deep.equal(
        (await client.call('digest', { handle })).result,
      );
    } finally {
      await other.stop();
    }
  });
});

function page(memory: Buffer, pfn: number): Buffer {
  return memory.subarray(pfn * pageSize, (pfn + 1) * pageSize);
}

function pages(memory: Buffer): Buffer[] {
  return Array.from({ length: memory.length / pageSize }, (_, pfn) => page(memory, pfn));
}

function zeroPageOf(memory: Buffer): number {
  return pages(memory).findIndex((each) => each.every((byte) => byte === 0));
}
