/** Virtual disks of a daemon that is killed, or stopped, while they are made, copied and resized. */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import { eventually } from '../hypervisor/hypervisor-process.js';
import { holdCopies } from '../support/held-cp.js';
import { isAlive } from '../support/processes.js';
import { randomBytes } from '../support/random.js';
import { type Daemon, openSite, type Site } from './daemon.js';

const mib = 2 ** 20;

interface VdiRecord {
  readonly uuid: string;
  readonly SR: string;
  readonly virtual_size: number;
}

describe('virtual disks of a daemon', function () {
  this.timeout(120_000);
  let site: Site;
  let session: XapiSession;
  let sr: string;
  let dir: string;
  beforeEach(() => {
    site = openSite();
  });
  afterEach(() => site.close());

  const enter = async (daemon: Daemon): Promise<void> => {
    const password = fs.readFileSync(path.join(site.stateDir, 'root-password'), 'utf8').trim();
    session = await login({ url: daemon.url, username: 'root', password }, 'test');
    const [pool] = Object.values(await session.call<Record<string, { default_SR: string }>>('pool.get_all_records'));
    sr = pool?.default_SR ?? '';
    dir = path.join(site.stateDir, 'sr', await session.call<string>('SR.get_uuid', sr));
  };
  const create = (size = 2 * mib) =>
    session.call<string>('VDI.create', {
      name_label: 'disk',
      name_description: '',
      SR: sr,
      virtual_size: size,
      type: 'user',
      sharable: false,
      read_only: false,
      other_config: {},
      xenstore_data: {},
      sm_config: {},
      tags: [],
    });
  const records = async () => Object.entries(await session.call<Record<string, VdiRecord>>('VDI.get_all_records'));
  const files = () => fs.readdirSync(dir).sort();
  /** Each file has its record, which says its size, and each record its file. */
  const assertOne = async (): Promise<void> => {
    const found = (await records()).map(([, { uuid, virtual_size }]) => [`${uuid}.raw`, virtual_size]).sort();
    const there = files().map((name) => [name, fs.statSync(path.join(dir, name)).size]);
    expect(found).to.deep.equal(there);
  };

  const isWhole = () =>
    assertOne().then(
      () => true,
      () => undefined,
    );

  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    it(`leave nothing of a copy that a ${signal} cuts off, neither a file nor the program that copies`, async () => {
      const held = holdCopies();
      try {
        const daemon = await site.start();
        await enter(daemon);
        const vdi = await create();
        const uuid = await session.call<string>('VDI.get_uuid', vdi);
        fs.writeFileSync(path.join(dir, `${uuid}.raw`), Buffer.alloc(2 * mib, 'data'));
        await session.call('Async.VDI.copy', vdi, sr, 'OpaqueRef:NULL', 'OpaqueRef:NULL');
        await held.held();
        expect(files()).to.have.length(2);
        await daemon.end(signal);
        if (signal === 'SIGKILL') {
          await enter(await site.start());
          await assertOne();
        }
        expect(files()).to.deep.equal([`${uuid}.raw`]);
        expect(held.pids().map(isAlive)).to.deep.equal([false]);
      } finally {
        held.close();
      }
    });
  }

  it('are whole, each with its record, after kills at any moment', async () => {
    const acknowledged = new Set<string>();
    const work = async (): Promise<void> => {
      for (;;) {
        const vdi = await create();
        acknowledged.add(vdi);
        await session.call('VDI.resize', vdi, 4 * mib);
        acknowledged.add(await session.call<string>('VDI.clone', vdi, {}));
        const snapshot = await session.call<string>('VDI.snapshot', vdi, {});
        await session.call('VDI.destroy', snapshot);
      }
    };
    for (let round = 0; round < 2; round += 1) {
      const daemon = await site.start();
      await enter(daemon);
      await eventually(isWhole);
      // They end with the daemon.
      const working = [work(), work()].map((each) => each.catch(() => undefined));
      await delay(randomBytes(1)[0]);
      await daemon.end('SIGKILL');
      await Promise.all(working);
    }
    await enter(await site.start());
    await eventually(isWhole);
    await assertOne();
    expect((await records()).map(([ref]) => ref)).to.include.members([...acknowledged]);
  });
});
