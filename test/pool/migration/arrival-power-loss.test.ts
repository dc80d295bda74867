import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { openStore } from '../../../src/base/store/store.js';
import { encodeMetadata } from '../../../src/migrate/metadata.js';
import { type SlowDisk, watchFlushes } from '../../support/slow-disk.js';
import { openTwoPools, type TwoPools } from '../two-pools.js';

describe('A VM that is to come from another pool, where the coordinator loses its power', () => {
  let disk: SlowDisk;
  let pools: TwoPools;
  let ended: Promise<string[]>;
  let migrationId: string;
  beforeEach(async () => {
    disk = await watchFlushes();
    pools = await openTwoPools();
  });
  afterEach(async () => {
    pools.here.a.end(migrationId, { status: 'failure', error: { code: 'VM_MIGRATE_FAILED', params: [] } });
    await ended;
    await pools.here.close();
    await pools.there.close();
    disk.close();
  });

  it('has its record, which is held, once its source has the answer', async () => {
    const { here, there } = pools;
    const member = await there.joinB();
    ended = here.failure(() => pools.send({ [pools.vif]: pools.networkThere() }));
    const request = await pools.asked();
    migrationId = request.migrationId;
    const metadata = encodeMetadata(request.metadata);
    await there.pool.dispatch.handlers.VM.receive(there.context(), member, migrationId, metadata, {});
    const loss = disk.lose(there.dir);
    const left = fs.mkdtempSync(path.join(there.dir, 'left-'));
    loss.restore(left, 'all');
    const store = openStore(path.join(left, 'db'));
    const rows = [...store.table<{ record: { uuid: string } }>('rows.VM').entries()];
    expect(rows.map(([, { record }]) => record.uuid)).to.include(request.uuid);
    expect(store.table('arrivals').get(migrationId)).to.include({ answered: true });
    await store.close();
  });
});
