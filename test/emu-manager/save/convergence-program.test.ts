/**
 * Real helpers and guests, and a reader that decides how fast the link is: by what the guest has written meanwhile, so that it is
 * slower than the guest on any machine.
 */
import type { Duplex } from 'node:stream';
import { expect } from 'chai';
import { type DomainHandle, pageSize } from '../../../src/base/domain.js';
import {
  type ConvergenceStrategy,
  type CopyFigures,
  type EmuMessage,
  parseFigures,
} from '../../../src/base/protocol/emu-protocol.js';
import { checkLibxcStream } from '../../support/libxc-checker.js';
import { type Emu, followSave, type Lab, openLab } from '../harness.js';

const memoryPages = 2048;

describe('emu-manager and a guest that writes', function () {
  this.timeout(60_000);
  let lab: Lab;
  before(async () => {
    lab = await openLab();
  });
  after(() => lab.close());
  afterEach(async () => {
    for (const { handle } of await lab.simulator.list()) await lab.simulator.destroy(handle);
  });

  async function guest(dirtyPagesPerSecond: number, workingSet: number): Promise<DomainHandle> {
    const handle = await lab.createDomain({ workload: { dirtyPagesPerSecond, workingSet } });
    await lab.simulator.build(handle);
    await lab.simulator.unpause(handle, 'start');
    return handle;
  }

  function begin(handle: DomainHandle, strategy: ConvergenceStrategy, maxDowntimeMs = 1): Emu {
    const rule = ['-max_downtime', String(maxDowntimeMs), '-max_rounds', '3', '-convergence', strategy];
    return lab.emu(['-mode', 'hvm_save', '-domid', String(handle.domid), '-live', 'true', ...rule], ['pipe']);
  }

  /** Read all of a stream, a MiB at a time, each when the guest has written so many pages more, or stands still. */
  async function readBehind(stream: Duplex, handle: DomainHandle, pagesOfMiB: number): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let due = 0;
    let bytes = 0;
    for await (const chunk of stream) {
      chunks.push(chunk as Buffer);
      bytes += (chunk as Buffer).length;
      if (bytes < 1 << 20) continue;
      bytes = 0;
      const before = await lab.info(handle);
      due = before.pagesWritten + pagesOfMiB;
      for (let now = before; now.state === 'running' && now.pagesWritten < due; ) now = await lab.info(handle);
    }
    return Buffer.concat(chunks);
  }

  const figuresIn = (messages: readonly EmuMessage[]): CopyFigures[] =>
    messages.flatMap((message) => {
      const figures = message.kind === 'stdout' ? parseFigures(message.text) : undefined;
      return figures === undefined ? [] : [figures];
    });
  /** The throttle at the end of each round. */
  const throttles = (figures: readonly CopyFigures[]): number[] => [
    ...new Map(figures.map(({ round, throttlePercent }) => [round, throttlePercent])).values(),
  ];

  /** Save behind the guest; what came is the guest's memory when it stood still. */
  async function save(handle: DomainHandle, strategy: ConvergenceStrategy, pagesOfMiB: number, maxDowntimeMs = 1) {
    const emu = begin(handle, strategy, maxDowntimeMs);
    const reading = readBehind(emu.stream(0), handle, pagesOfMiB);
    const { status, messages } = await followSave(lab, emu, handle);
    const stream = await reading;
    return { status, messages, stream, figures: figuresIn(messages) };
  }

  async function expectWhole(stream: Buffer, handle: DomainHandle): Promise<void> {
    const memory = await lab.memoryOf(handle);
    const { pages } = checkLibxcStream(stream);
    expect(pages.size).to.equal(memoryPages);
    for (const [pfn, page] of pages) {
      if (!page.equals(memory.subarray(pfn * pageSize, (pfn + 1) * pageSize))) expect.fail(`page ${pfn} differs`);
    }
  }

  it('needs one round for a guest that writes nothing', async () => {
    const handle = await guest(0, 0.1);
    const { status, stream, figures } = await save(handle, 'fail', 0);
    expect(status).to.equal(0);
    expect(figures.at(-1)).to.include({ round: 2, pagesLeft: 0, dirtyPagesPerSecond: 0 });
    expect(checkLibxcStream(stream).copies).to.equal(memoryPages);
    await expectWhole(stream, handle);
  });

  it('needs one round where the rest fits the downtime', async () => {
    const handle = await guest(2000, 0.2);
    const { figures, stream } = await save(handle, 'fail', 20, 60_000);
    expect(figures.at(-1)).to.include({ round: 2, throttlePercent: 0 });
    await expectWhole(stream, handle);
  });

  it('sends pages that the guest writes all the time less often than there are rounds', async () => {
    const hot = Math.ceil(0.05 * memoryPages);
    const handle = await guest(20_000, 0.05);
    const { figures, stream } = await save(handle, 'throttle', 1000);
    const rounds = figures.at(-1)?.round as number;
    expect(rounds).to.be.at.least(3);
    expect(checkLibxcStream(stream).copies - memoryPages).to.be.lessThan((rounds - 1) * hot);
    await expectWhole(stream, handle);
  });

  it('suspends a guest that writes faster than is read, to proceed', async () => {
    const handle = await guest(20_000, 0.5);
    const { status, figures, stream } = await save(handle, 'proceed', 300);
    expect(status).to.equal(0);
    expect(figures.at(-1)?.round).to.be.within(3, 4);
    expect(throttles(figures)).to.deep.equal(throttles(figures).map(() => 0));
    expect(figures.at(-1)?.expectedDowntimeMs).to.be.greaterThan(1);
    await expectWhole(stream, handle);
  });

  it('slows such a guest down step by step, and lets go of it', async () => {
    const handle = await guest(20_000, 0.5);
    const { status, figures, stream } = await save(handle, 'throttle', 50);
    expect(status).to.equal(0);
    expect(throttles(figures)).to.include.members([20, 40]);
    expect(await lab.info(handle)).to.not.have.property('cpuShare');
    await expectWhole(stream, handle);
  });

  it('gives such a guest up, to fail, and leaves it as it is', async () => {
    const handle = await guest(20_000, 0.5);
    const { status, messages } = await save(handle, 'fail', 300);
    expect(status).to.equal(1);
    expect(messages.at(-1))
      .to.have.property('text')
      .that.matches(/^no convergence: \d+ pages\/s written, \d+ sent; downtime \d+ ms, allowed 1$/);
    expect(messages.map(({ kind }) => kind)).to.not.include('suspend');
    expect(await lab.info(handle)).to.include({ state: 'running' });
  });

  for (const [how, end] of [
    ['aborted', (emu: Emu) => emu.tell('abort')],
    ['left alone', (emu: Emu) => emu.hangUp()],
    ['killed', (emu: Emu) => emu.child.kill('SIGKILL')],
  ] as const) {
    it(`lets a guest that was slowed down run at full speed when it is ${how}`, async () => {
      const handle = await guest(20_000, 0.5);
      const emu = begin(handle, 'throttle');
      const reading = readBehind(emu.stream(0), handle, 50).catch(() => undefined);
      await emu.next();
      emu.tell('done');
      while ((await lab.info(handle)).cpuShare === undefined);
      end(emu);
      await emu.exit();
      await reading;
      while ((await lab.info(handle)).cpuShare !== undefined);
      expect(await lab.info(handle)).to.include({ state: 'running' });
    });
  }
});
