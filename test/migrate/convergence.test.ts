import { expect } from 'chai';
import { XapiError } from '../../src/base/errors.js';
import type { CopyFigures } from '../../src/base/protocol/emu-protocol.js';
import type { SimulatedSpec } from '../../src/base/protocol/hypervisor-protocol.js';
import { notSupported, withAdvice } from '../../src/migrate/convergence.js';
import type { MigrationOutcome } from '../../src/migrate/request.js';
import { writeEmuWrapper } from '../support/emu-wrapper.js';
import { openTestHost, requestTo, type TestHost, testDomain } from '../support/hosts.js';

describe('The rule of convergence', () => {
  it('says what can be done where it fails the migration', () => {
    const failed = new XapiError('INTERNAL_ERROR', ['emu-manager: no convergence: 5000 pages/s written, 4000 sent']);
    expect(withAdvice(failed))
      .to.be.instanceOf(XapiError)
      .with.nested.property('params[0]')
      .that.matches(/^emu-manager: no convergence: .*; raise migration-max-downtime, or set migration-convergence to /);
  });
});

describe('A VM that writes while it moves', function () {
  this.timeout(60_000);
  let one: TestHost;
  let two: TestHost;
  let domain: SimulatedSpec;

  before(async () => {
    [one, two] = await Promise.all([openTestHost(), openTestHost()]);
  });
  after(() => Promise.all([one.close(), two.close()]));
  beforeEach(async () => {
    domain = testDomain({ memoryBytes: 64 << 20, workload: { dirtyPagesPerSecond: 50_000, workingSet: 0.5 } });
    await one.engine.service.start(domain, false);
  });
  afterEach(async () => {
    for (const host of [one, two]) {
      for (const { handle } of await host.simulator.list()) await host.simulator.destroy(handle);
    }
  });

  /** Migrate, and tell the figures that came before the end. */
  async function migrate(): Promise<{ outcome: MigrationOutcome; figures: CopyFigures[] }> {
    const request = requestTo(two, domain, false);
    const figures: CopyFigures[] = [];
    await one.engine.service.migrate(request);
    for (let since = 0; ; ) {
      const { events, next } = await one.engine.service.events(since, 30);
      for (const event of events) {
        if (!('migrationId' in event) || event.migrationId !== request.migrationId) continue;
        if (event.kind === 'migration-figures') figures.push(event.figures);
        if (event.kind === 'migration-ended') return { outcome: event.outcome, figures };
      }
      since = next;
    }
  }

  it('tells how that goes, round by round, and at its end', async () => {
    one.configure({ 'migration-max-downtime': '1' });
    const { outcome, figures } = await migrate();
    if (outcome.status !== 'success') throw new Error(JSON.stringify(outcome));
    const { report } = outcome;
    expect(report.convergence).to.equal('proceed');
    expect(report.emuFlags.join(' ')).to.contain('-max_downtime 1 -max_rounds 4 -convergence proceed');
    expect(report.copy).to.deep.equal(figures.at(-1));
    expect(report.rounds).to.equal(report.copy?.round).and.to.be.within(2, 5);
    expect(new Set(figures.map(({ round }) => round)).size).to.equal(report.rounds);
    const first = figures.find(({ round }) => round === 1) as CopyFigures;
    expect(first.pagesPerSecond).to.be.greaterThan(0);
    expect(first.expectedDowntimeMs).to.be.greaterThan(1);
    expect(figures.at(-1)).to.include({ pagesLeft: 0, throttlePercent: 0, level: 'none' });
    expect(figures.at(-1)?.dirtyPagesPerSecond).to.be.greaterThan(0);
  });

  it('goes on where it is, at full speed, when it is to fail rather than stand still', async () => {
    one.configure({
      ...{ 'migration-max-downtime': '1', 'migration-max-rounds': '1', 'migration-convergence': 'fail' },
    });
    const { outcome } = await migrate();
    if (outcome.status !== 'failure') throw new Error(JSON.stringify(outcome));
    expect(outcome.error.code).to.equal('VM_MIGRATE_FAILED');
    expect(outcome.error.params.at(-1)).to.match(
      /^copy, source: emu-manager: no convergence: \d+ pages\/s written, \d+ sent; downtime \d+ ms, allowed 1; raise /,
    );
    const [here, ...more] = await one.simulator.list();
    expect(more).to.deep.equal([]);
    expect(here).to.include({ uuid: domain.uuid, state: 'running' }).and.to.not.have.property('cpuShare');
    expect(await two.simulator.list()).to.deep.equal([]);
  });

  it('arrives at full speed when it was slowed down', async () => {
    one.configure({
      ...{ 'migration-max-downtime': '1', 'migration-max-rounds': '1', 'migration-convergence': 'throttle' },
    });
    const { outcome, figures } = await migrate();
    expect(outcome.status).to.equal('success');
    expect(figures.map(({ throttlePercent }) => throttlePercent)).to.include(20);
    const [there] = await two.simulator.list();
    expect(there).to.include({ uuid: domain.uuid, state: 'running' }).and.to.not.have.property('cpuShare');
  });

  it('moves by an emu-manager of another make, which is told nothing of it; that is said where a rule is set', async () => {
    const other = await writeEmuWrapper(one.stateDir, 'compress');
    const warned = () => one.log.messages('warn').filter((message) => message === notSupported).length;
    one.configure({ 'emu-manager': other.path });
    expect((await migrate()).outcome.status).to.equal('success');
    expect(warned()).to.equal(0);
    for (const { handle } of await two.simulator.list()) await two.simulator.destroy(handle);
    await one.engine.service.start(domain, false);
    one.configure({ 'emu-manager': other.path, 'migration-convergence': 'fail' });
    const { outcome, figures } = await migrate();
    if (outcome.status !== 'success') throw new Error(JSON.stringify(outcome));
    expect(outcome.report).to.not.have.any.keys('convergence', 'copy');
    expect(figures).to.deep.equal([]);
    expect((await other.runs()).flat()).to.not.include('-convergence');
    expect(warned()).to.equal(1);
    one.configure({});
  });
});
