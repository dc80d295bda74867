import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { encodeRecord, encodeStreamHead, recordTypes } from '../../src/wire/stream/libxc-stream.js';
import { eventually } from '../hypervisor/hypervisor-process.js';
import { expectNothingLeft, imageStart, openFakeSource } from '../support/fake-source.js';
import { openTestHost, type TestHost, testDomain } from '../support/hosts.js';
import { childProcesses } from '../wire/connection/connections.js';

const start = Buffer.concat([imageStart(), encodeStreamHead(), encodeRecord(recordTypes.staticDataEnd)]);
/** An optional record, which is skipped. */
const optional = encodeRecord(0x80000001, Buffer.alloc(12_800));

describe('A destination to which a source sends more slowly than a copy may be whose place is awaited', function () {
  this.timeout(60_000);
  let host: TestHost;
  before(async () => {
    host = await openTestHost({ options: { 'migration-incoming-limit': '1', 'migration-progress-timeout': '1' } });
  });
  after(() => host.close());

  it('gives its place to a migration that waits, and says so', async () => {
    const children = childProcesses();
    const source = await openFakeSource(host, testDomain({ memoryBytes: 16 << 20 }));
    try {
      const { control, memory } = await source.connect();
      let wanted = true;
      const sending = (async () => {
        await memory.write(start);
        for (; wanted; await delay(100)) await memory.write(optional);
      })().catch(() => undefined);
      const [id, uuid] = [randomUUID(), randomUUID()];
      const said = source.errorOn(control);
      await eventually(() =>
        host.engine.service.assertTurn(id, uuid).then(
          () => true,
          () => undefined,
        ),
      );
      expect(await said).to.contain('while another waits for its place');
      expect(await source.ended()).to.equal(false);
      wanted = false;
      await sending;
      await expectNothingLeft(host, children);
    } finally {
      source.close();
    }
  });
});
