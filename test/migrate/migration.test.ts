import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { SimulatedDomain, SimulatedSpec } from '../../src/base/protocol/hypervisor-protocol.js';
import type { Compressor } from '../../src/migrate/compressor.js';
import type { MigrationReport } from '../../src/migrate/request.js';
import { type EmuWrapper, writeEmuWrapper } from '../support/emu-wrapper.js';
import { migrate, openTestHost, requestTo, type TestHost, testDomain } from '../support/hosts.js';

/** Children of this process that have ended and were not waited for (proc(5)). */
async function zombies(): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const stats = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '')));
  return stats.filter((stat) => new RegExp(`\\) Z ${process.pid} `).test(stat));
}

/** The only domain of a host. */
async function onlyDomain(host: TestHost): Promise<SimulatedDomain> {
  const domains = await host.simulator.list();
  expect(domains).to.have.length(1);
  return domains[0] as SimulatedDomain;
}

/** Migrate, which must succeed, and prove it: one copy, running, every page as the guest wrote it, counting on. */
async function moves(
  source: TestHost,
  destination: TestHost,
  domain: SimulatedSpec,
  compress: boolean,
): Promise<MigrationReport> {
  const before = (await source.simulator.list()).find(({ uuid }) => uuid === domain.uuid) as SimulatedDomain;
  const outcome = await migrate(source, requestTo(destination, domain, compress));
  if (outcome.status !== 'success') throw new Error(JSON.stringify(outcome));
  const after = await onlyDomain(destination);
  expect(after.uuid).to.equal(domain.uuid);
  expect(after.state).to.equal(before.state);
  expect(after.ticks).to.be.at.least(before.ticks);
  expect(after.pagesWritten).to.be.at.least(before.pagesWritten);
  expect(await destination.simulator.verify(after.handle)).to.include({ badPages: 0 });
  if (source !== destination) expect(await source.simulator.list()).to.deep.equal([]);
  expect(outcome.report.digests?.source).to.equal(outcome.report.digests?.destination).and.be.a('string');
  return outcome.report;
}

describe('A running VM moves from one host to another', function () {
  this.timeout(60_000);
  let one: TestHost;
  let two: TestHost;
  let emu: EmuWrapper;
  let domain: SimulatedSpec;

  before(async () => {
    [one, two] = await Promise.all([openTestHost(), openTestHost()]);
    emu = await writeEmuWrapper(one.stateDir);
  });
  after(() => Promise.all([one.close(), two.close()]));
  beforeEach(async () => {
    one.configure({});
    two.configure({});
    two.heads.length = 0;
    domain = testDomain();
    await one.engine.service.start(domain, false);
  });
  afterEach(async () => {
    for (const host of [one, two]) {
      for (const { handle } of await host.simulator.list()) await host.simulator.destroy(handle);
    }
  });

  const rows: [asked: boolean, source: string, destination: string, used: Compressor][] = [
    [false, 'stream', 'stream', 'none'],
    [false, 'xenguest', 'stream', 'none'],
    [true, 'stream', 'stream', 'stream'],
    [true, 'stream', 'xenguest', 'stream'],
    [true, 'xenguest', 'xenguest', 'xenguest'],
    [true, 'xenguest', 'stream', 'xenguest'],
    [true, 'XenGuest', 'stream', 'xenguest'],
    [true, 'gzip', 'stream', 'stream'],
  ];
  for (const [asked, source, destination, used] of rows) {
    it(`${asked ? 'asked' : 'not asked'} to compress, from ${source} to ${destination}: ${used}`, async () => {
      one.configure({ 'migration-compressor': source, 'emu-manager': emu.path });
      two.configure({ 'migration-compressor': destination });
      const runsBefore = (await emu.runs()).length;
      const report = await moves(one, two, domain, asked);

      expect(report.compressorUsed).to.equal(used);
      const [argv] = (await emu.runs()).slice(runsBefore);
      expect(argv?.join(' ')).to.equal(report.emuFlags.join(' '));
      const compressAt = argv?.indexOf('-compress') ?? -1;
      expect(compressAt >= 0 && argv?.[compressAt + 1]).to.equal(used === 'xenguest' ? 'true' : false);
      expect(two.heads.map(({ kind }) => kind)).to.have.members(['vm', 'mem']);
      for (const { cookies } of two.heads) expect(cookies.compress).to.equal(used === 'stream' ? 'zstd' : undefined);
      expect(report.wireBytes).to.be.a('number');
      if (used === 'none') expect(report.wireBytes).to.be.greaterThan(domain.memoryBytes);
      else expect(report.wireBytes).to.be.lessThan(domain.memoryBytes * 0.6);
    });
  }

  it('sends the cookies that a destination needs, with the token as session', async () => {
    await moves(one, two, domain, true);
    const control = two.heads.find(({ kind }) => kind === 'vm');
    const memory = two.heads.find(({ kind }) => kind === 'mem');
    for (const head of [control, memory]) {
      expect(head?.uuid).to.match(/-000000000001$/);
      expect(head?.sessionId).to.match(/^[0-9a-f]{64}$/);
      expect(head?.cookies).to.include.keys('instance_id', 'final_id', 'dbg', 'migration_id', 'mem_migration');
    }
    expect(control?.cookies).to.include.keys('memory_limit', 'memory_total_source', 'restored_ack');
    expect(memory?.cookies).to.not.have.any.keys('memory_limit', 'restored_ack');
  });

  for (const [compress, configured] of [
    [false, 'stream'],
    [true, 'stream'],
    [true, 'xenguest'],
  ] as const) {
    it(`takes its vGPUs along on channels of their own (${compress ? configured : 'none'})`, async () => {
      one.configure({ 'migration-compressor': configured });
      const withVgpus = testDomain({ vgpus: ['0', '1'] });
      await one.simulator.destroy((await onlyDomain(one)).handle);
      await one.engine.service.start(withVgpus, false);
      await moves(one, two, withVgpus, compress);
      const vgpu = two.heads.filter(({ kind }) => kind === 'vgpu');
      expect(vgpu.map(({ device }) => device)).to.deep.equal(['0', '1']);
      for (const { cookies } of vgpu) {
        expect(cookies.compress).to.equal(compress && configured === 'stream' ? 'zstd' : undefined);
        expect(cookies).to.have.property('vgpu_migration');
      }
    });
  }

  it('leaves no descriptor and no zombie behind, whatever compresses', async () => {
    const vgpus = testDomain({ vgpus: ['0'] });
    await one.engine.service.start(vgpus, false);
    const openDescriptors = async () => (await readdir('/proc/self/fd')).length;
    const roundTrip = async (configured: string, compress: boolean) => {
      for (const [from, to] of [
        [one, two],
        [two, one],
      ] as const) {
        from.configure({ 'migration-compressor': configured });
        expect((await migrate(from, requestTo(to, vgpus, compress))).status).to.equal('success');
      }
    };
    await roundTrip('stream', true);
    const before = await openDescriptors();
    await roundTrip('stream', false);
    await roundTrip('stream', true);
    await roundTrip('xenguest', true);
    // Connections of calls that were answered close a moment later.
    for (const until = Date.now() + 5_000; (await openDescriptors()) > before && Date.now() < until; ) await delay(20);
    expect(await openDescriptors()).to.be.at.most(before);
    expect(await zombies()).to.deep.equal([]);
  });

  it('moves to the host where it is', async () => {
    const request = requestTo(one, domain, false);
    const outcome = await migrate(one, request);
    expect(outcome.status).to.equal('success');
    const moved = await onlyDomain(one);
    expect(moved).to.include({ uuid: domain.uuid, state: 'running' });
    expect(await one.simulator.verify(moved.handle)).to.include({ badPages: 0 });
  });

  it('stays paused when it was paused', async () => {
    await one.engine.service.pause(domain.uuid);
    const report = await moves(one, two, domain, false);
    expect((await onlyDomain(two)).state).to.equal('paused');
    expect(report.rounds).to.equal(1);
  });

  it('keeps the compressor that was configured when the migration was queued', async () => {
    one.configure({ 'migration-compressor': 'stream' });
    const first = migrate(one, requestTo(two, domain, true));
    one.configure({ 'migration-compressor': 'xenguest' });
    const outcome = await first;
    expect(outcome).to.have.nested.property('report.compressorUsed', 'stream');
    const back = await migrate(two, requestTo(one, domain, false));
    expect(back.status).to.equal('success');
    expect((await moves(one, two, domain, true)).compressorUsed).to.equal('xenguest');
  });

  it('warns of a compressor that is not known at each migration that it decides, as it was spelled', async () => {
    one.configure({ 'migration-compressor': 'ZStd ++' });
    const warnings = () => one.log.messages('warn').filter((message) => message.includes('"ZStd ++"'));
    await moves(one, two, domain, false);
    expect(warnings()).to.deep.equal([]);
    for (const count of [1, 2]) {
      const again = testDomain();
      await one.engine.service.start(again, false);
      expect((await migrate(one, requestTo(two, again, true))).status).to.equal('success');
      expect(warnings()).to.have.length(count);
    }
  });

  it('compresses with the zstd that comes with xenferry where there is no other, on either side', async () => {
    one.configure({ zstd: 'no-such-zstd' });
    await one.engine.reload();
    await moves(one, two, domain, true);
    const report = await migrate(two, requestTo(one, domain, true));
    expect(report).to.have.nested.property('report.compressorUsed', 'stream');
    one.configure({});
    await one.engine.reload();
  });

  it('falls back to stream, with a warning, where emu-manager does not support -compress', async () => {
    const old = await writeEmuWrapper(two.stateDir, '');
    one.configure({ 'migration-compressor': 'xenguest', 'emu-manager': old.path });
    const report = await moves(one, two, domain, true);
    expect(report).to.include({ compressorAsked: 'xenguest', compressorUsed: 'stream' });
    expect(report.fallback).to.match(/emu-manager/);
    expect(one.log.messages('warn').join()).to.match(/falls back to stream/);
    const { events } = await one.engine.service.events(0, 0);
    const { compressorAsked, compressorUsed, fallback } = report;
    const told = events.flatMap((event) => ('compression' in event ? [event.compression] : []));
    expect(told.at(-1)).to.deep.equal({ compressorAsked, compressorUsed, fallback });
  });

  it('reports guest bytes, wire bytes, rounds, seconds and downtime', async () => {
    const report = await moves(one, two, domain, false);
    expect(report.guestBytes).to.be.at.least(domain.memoryBytes);
    expect(report.rounds).to.be.within(2, 5);
    expect(report.seconds).to.be.greaterThan(0);
    expect(report.downtimeMs).to.be.within(0, report.seconds * 1000);
  });
});

describe('A destination that announces nothing', function () {
  this.timeout(60_000);
  let source: TestHost;
  let old: TestHost;

  before(async () => {
    [source, old] = await Promise.all([
      openTestHost(),
      openTestHost({ announce: { formats: [], restoredAck: false } }),
    ]);
  });
  after(() => Promise.all([source.close(), old.close()]));

  for (const [compress, configured, used] of [
    [false, 'stream', 'none'],
    [true, 'stream', 'stream'],
    [true, 'xenguest', 'stream'],
  ] as const) {
    it(`gets ${used} from a source set to ${configured}${compress ? '' : ' that compresses nothing'}, without 2-restored`, async () => {
      source.configure({ 'migration-compressor': configured });
      old.heads.length = 0;
      const domain = testDomain();
      await source.engine.service.start(domain, false);
      const report = await moves(source, old, domain, compress);
      expect(report.compressorUsed).to.equal(used);
      if (configured === 'xenguest') expect(report.fallback).to.match(/destination does not accept/);
      for (const { cookies } of old.heads) expect(cookies).to.not.have.property('restored_ack');
      await old.simulator.destroy((await onlyDomain(old)).handle);
    });
  }
});

describe('A VM with virtual GPUs, compressed in the stream', function () {
  this.timeout(60_000);
  const memoryOnly = { formats: ['inline-zstd/3', 'inline-zstd/2'], restoredAck: true };
  const olderOnly = { formats: ['inline-zstd/2'], restoredAck: true };

  for (const [what, announce, supports, flags, fallback] of [
    ['a destination that accepts both', undefined, undefined, [], undefined],
    [
      'one that accepts memory alone',
      memoryOnly,
      undefined,
      ['-compress_vgpu', 'false'],
      /vGPU stream: it stays plain/,
    ],
    [
      'one of an older version',
      olderOnly,
      undefined,
      ['-compress_format', '2', '-compress_vgpu', 'false'],
      /no checksum of the memory stream: .*; .*vGPU stream: it stays plain/,
    ],
    ['one that accepts memory alone, by an emu-manager of another make', memoryOnly, 'compress', [], undefined],
  ] as const) {
    it(`moves to ${what}`, async () => {
      const [source, destination] = await Promise.all([
        openTestHost(),
        openTestHost(announce === undefined ? {} : { announce }),
      ]);
      try {
        const emu = await writeEmuWrapper(source.stateDir, supports);
        source.configure({ 'migration-compressor': 'xenguest', 'emu-manager': emu.path });
        const domain = testDomain({ vgpus: ['0', '1'] });
        await source.engine.service.start(domain, false);
        const report = await moves(source, destination, domain, true);
        expect(report.compressorUsed).to.equal('xenguest');
        const [argv] = await emu.runs();
        const told = argv?.slice(argv.indexOf('-compress')) ?? [];
        expect(told.slice(0, 2 + flags.length)).to.deep.equal(['-compress', 'true', ...flags]);
        expect(told.includes('-compress_format')).to.equal(announce === olderOnly);
        expect(told.includes('-compress_vgpu')).to.equal(flags.length > 0);
        if (fallback === undefined) expect(report).to.not.have.property('fallback');
        else expect(report.fallback).to.match(fallback);
      } finally {
        await Promise.all([source.close(), destination.close()]);
      }
    });
  }
});
