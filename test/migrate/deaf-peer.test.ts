import { setImmediate } from 'node:timers/promises';
import { expect } from 'chai';
import type { SimulatedSpec } from '../../src/base/protocol/hypervisor-protocol.js';
import { type ChannelProxy, openChannelProxy, passSome } from '../support/channel-proxy.js';
import { goesOn, migrate, openTestHost, requestTo, type TestHost, testDomain } from '../support/hosts.js';

describe('A migration to where no more bytes are taken', function () {
  this.timeout(60_000);
  const memoryBytes = 8 << 20;
  let source: TestHost;
  let destination: TestHost;
  let proxy: ChannelProxy;
  let domain: SimulatedSpec;

  before(async () => {
    [source, destination] = await Promise.all([openTestHost(), openTestHost()]);
    proxy = await openChannelProxy(destination.url);
    destination.advertise(proxy.url);
    domain = testDomain({
      ...{ memoryBytes, profile: { zero: 0, program: 0, text: 0, random: 1 }, vgpus: ['0'] },
      workload: { dirtyPagesPerSecond: 0, workingSet: 0 },
    });
    await source.engine.service.start(domain, false);
  });
  after(async () => {
    await proxy.close();
    await Promise.all([source.close(), destination.close()]);
  });

  const memory = 'memory channel';
  const vgpu = 'channel of vGPU 0';
  const atTheEnd = 'before the last bytes';
  const stops: [channel: typeof memory | typeof vgpu, where: string, at: number][] = [
    [memory, 'after the first KiB', 2 << 10],
    [memory, 'in the middle', memoryBytes / 2],
    [memory, atTheEnd, memoryBytes - 900_000],
    [vgpu, 'after the first KiB', 2 << 10],
  ];
  for (const compressor of ['none', 'stream', 'xenguest'] as const) {
    for (const [channel, where, at] of stops) {
      it(`of the ${channel} ${where} (${compressor}) fails in time, and the VM runs on`, async () => {
        proxy.take(channel === memory ? '/migrate/mem/' : '/migrate/vgpu/', passSome(at));
        const compression = compressor === 'none' ? {} : { 'migration-compressor': compressor };
        source.configure({ 'migration-progress-timeout': '1', 'migration-step-timeout': '5', ...compression });
        const outcome = await migrate(source, requestTo(destination, domain, compressor !== 'none'));
        expect(outcome.status).to.equal('failure');
        const said = 'error' in outcome ? outcome.error.params.join(' ') : '';
        const still = `copy, source: the copy stalled on the ${channel}: `;
        // A system that is slow itself may give the receiver a larger buffer after all, which then has the rest.
        const restTaken = 'restore, destination: no synchronisation point 2-restored within 5 s';
        expect(said).to.satisfy(
          (text: string) => text.includes(still) || (where === atTheEnd && text.includes(restTaken)),
        );
        while ((await destination.simulator.list()).length > 0) await setImmediate();
        await goesOn(source, destination, domain);
      });
    }
  }
});
