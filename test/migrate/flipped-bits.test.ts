import { setImmediate } from 'node:timers/promises';
import { expect } from 'chai';
import type { SimulatedSpec } from '../../src/base/protocol/hypervisor-protocol.js';
import { type ChannelProxy, openChannelProxy, passChanged } from '../support/channel-proxy.js';
import { readCompressedStream } from '../support/compressed-stream-reader.js';
import { goesOn, migrate, openTestHost, requestTo, type TestHost, testDomain } from '../support/hosts.js';

/** The last record of such a name in an image. @returns where its header is */
function findRecord(image: Buffer, name: string): number {
  const start = image.indexOf(Buffer.from('ffffffffffffffff58454e46', 'hex'));
  const endHeaderBytes = 16;
  const { records } = readCompressedStream(image.subarray(start, -endHeaderBytes));
  return start + (records.findLast((record) => record.name === name)?.at as number);
}

describe('A migration in which a bit is flipped on its way', function () {
  this.timeout(60_000);
  let source: TestHost;
  let destination: TestHost;
  let proxy: ChannelProxy;
  let domain: SimulatedSpec;
  let flipped = 0;

  before(async () => {
    [source, destination] = await Promise.all([openTestHost(), openTestHost()]);
    proxy = await openChannelProxy(destination.url);
    destination.advertise(proxy.url);
    domain = testDomain({ memoryBytes: 8 << 20, vgpus: ['0'] });
    await source.engine.service.start(domain, false);
  });
  after(async () => {
    await proxy.close();
    await Promise.all([source.close(), destination.close()]);
  });

  /** Bytes from the header of a record on, which has 8. */
  const rows: [compressor: 'none' | 'xenguest', record: string, what: string, byte: number, bit: number][] = [
    ...['format', 'compressed pages', 'TSC_INFO', 'HVM_PARAMS', 'HVM_CONTEXT', 'checksum', 'END'].map(
      (record): [...(typeof rows)[number]] => ['xenguest', record, 'that makes it an optional one', 3, 7],
    ),
    ['xenguest', 'format', 'of its version', 8, 1],
    ['xenguest', 'compressed pages', 'of its codec', 8, 0],
    ['xenguest', 'compressed pages', 'of its reserved field', 8 + 20, 5],
    ['xenguest', 'compressed pages', 'of a page number', 8 + 24, 0],
    ['xenguest', 'compressed pages', 'of its payload', 8 + 24 + 8, 3],
    ['xenguest', 'TSC_INFO', 'of its content', 8, 2],
    ['xenguest', 'HVM_PARAMS', 'of a value', 8 + 16, 1],
    ['xenguest', 'HVM_CONTEXT', "of the guest's state", 8 + 24, 4],
    ['xenguest', 'checksum', 'of its value', 8, 6],
    ...Array.from({ length: 8 }, (_, index): [...(typeof rows)[number]] => [
      ...(['none', 'PAGE_DATA', `${52 + index} of a page number`] as const),
      ...([8 + 8 + 6 + ((4 + index) >> 3), (4 + index) % 8] as const),
    ]),
  ];
  for (const [compressor, record, what, byte, bit] of rows) {
    it(`is refused where it is a bit of ${record} (${compressor}) ${what}, and the VM runs on`, async () => {
      flipped = 0;
      const flip = (image: Buffer): Buffer => {
        const at = findRecord(image, record) + byte;
        image[at] = (image[at] as number) ^ (1 << bit);
        flipped += 1;
        return image;
      };
      proxy.take('/migrate/mem/', passChanged(flip));
      source.configure({ 'migration-compressor': 'xenguest' });
      const outcome = await migrate(source, requestTo(destination, domain, compressor === 'xenguest'));
      expect([outcome.status, flipped]).to.deep.equal(['failure', 1]);
      while ((await destination.simulator.list()).length > 0) await setImmediate();
      await goesOn(source, destination, domain);
    });
  }

  for (const compress of [false, true]) {
    it(`is refused where it is a bit of a vGPU's state (${compress ? 'xenguest' : 'none'}), and the VM runs on`, async () => {
      const flip = (image: Buffer): Buffer => {
        image[image.length >> 1] = (image[image.length >> 1] as number) ^ 8;
        return image;
      };
      proxy.take('/migrate/vgpu/', passChanged(flip));
      source.configure({ 'migration-compressor': 'xenguest' });
      const outcome = await migrate(source, requestTo(destination, domain, compress));
      expect(outcome.status).to.equal('failure');
      while ((await destination.simulator.list()).length > 0) await setImmediate();
      await goesOn(source, destination, domain);
    });
  }

  it('is not refused where no bit is', async () => {
    for (const channel of ['/migrate/vgpu/', '/migrate/mem/'])
      proxy.take(
        channel,
        passChanged((image) => image),
      );
    const outcome = await migrate(source, requestTo(destination, domain, true));
    expect(outcome.status).to.equal('success');
  });
});
