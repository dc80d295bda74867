import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { expect } from 'chai';
import type { SimulatedSpec } from '../../../src/base/protocol/hypervisor-protocol.js';
import { migrate, openTestHost, outcomeOf, requestTo, type TestHost, testDomain } from '../../support/hosts.js';
import { childProcesses } from '../../wire/connection/connections.js';

/** Stop the first helper whose command line is like this. */
async function stopHelper(commandLine: RegExp): Promise<number> {
  for (;;) {
    for (const pid of childProcesses()) {
      if (!commandLine.test(commandLineOf(pid))) continue;
      process.kill(pid, 'SIGSTOP');
      return pid;
    }
    await setImmediate();
  }
}

function commandLineOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

describe('A migration one of whose helpers is stopped', function () {
  this.timeout(60_000);
  const options = { 'migration-progress-timeout': '1', 'helper-stop-timeout': '200ms' };
  let source: TestHost;
  let destination: TestHost;
  let domain: SimulatedSpec;
  let others: Set<number>;
  before(async () => {
    [source, destination] = await Promise.all([openTestHost(), openTestHost()]);
    domain = testDomain({ memoryBytes: 64 << 20, profile: { zero: 0, program: 0, text: 0, random: 1 } });
    await source.engine.service.start(domain, false);
    others = childProcesses();
  });
  after(() => Promise.all([source.close(), destination.close()]));

  const helpers = {
    "the source's emu-manager": /-mode hvm_save /,
    "the destination's emu-manager": /-mode hvm_restore /,
    "the source's zstd": /zstd .*--fast/,
    "the destination's zstd": /zstd .*-d /,
  };
  const emus = ["the source's emu-manager", "the destination's emu-manager"] as const;
  const cases = [
    ['none', "the destination's emu-manager"],
    ['xenguest', "the source's emu-manager"],
    ...[...emus, "the source's zstd", "the destination's zstd"].map((helper) => ['stream', helper] as const),
  ] as const;
  for (const [compressor, helper] of cases) {
    it(`fails when ${helper} is (${compressor}), leaves no process, and the VM goes on`, async () => {
      const compression = compressor === 'none' ? {} : { 'migration-compressor': compressor };
      source.configure({ ...options, ...compression });
      destination.configure(options);
      const request = requestTo(destination, domain, compressor !== 'none');
      await source.engine.service.migrate(request);
      await stopHelper(helpers[helper as keyof typeof helpers]);
      const outcome = await outcomeOf(source, request.migrationId);
      const said = 'error' in outcome ? outcome.error.params.join(' ') : '';
      expect(said, said).to.match(/the copy stalled on the memory channel: less than 32 KiB\/s for/);
      expect((await source.simulator.list()).map(({ uuid, state }) => [uuid, state])).to.deep.equal([
        [domain.uuid, 'running'],
      ]);
      while ((await destination.simulator.list()).length > 0) await setImmediate();
      while ([...childProcesses()].some((pid) => !others.has(pid))) await setImmediate();
    });
  }

  it('is followed by one that succeeds', async () => {
    source.configure({});
    destination.configure({});
    const outcome = await migrate(source, requestTo(destination, domain, true));
    expect(outcome.status).to.equal('success');
  });
});
