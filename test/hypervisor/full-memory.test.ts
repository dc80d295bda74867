import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import type { DomainHandle } from '../../src/base/domain.js';
import { type FullDisk, fillUp, tmpfsKind } from '../support/full-disk.js';
import {
  boot,
  eventually,
  failureOf,
  type HypervisorProcess,
  infoOf,
  makeDirectory,
  mebibyte,
  runFor,
  specOf,
  startHypervisor,
} from './hypervisor-process.js';

const tmpfs = tmpfsKind();
const room = 24 * mebibyte;
const zeros = { zero: 1, program: 0, text: 0, random: 0 };

// It needs a file system of its own, which only root may mount.
(tmpfs === undefined ? describe.skip : describe)('guest memory on a tmpfs that somebody else fills', () => {
  let parent: string;
  let disk: FullDisk;
  let hypervisor: HypervisorProcess;
  const start = async (): Promise<HypervisorProcess> => {
    hypervisor = await startHypervisor({ memoryDirectory: disk.path });
    return hypervisor;
  };
  beforeEach(() => {
    parent = makeDirectory();
    disk = (tmpfs as NonNullable<typeof tmpfs>).open(parent, room);
  });
  afterEach(async () => {
    await hypervisor.stop();
    disk.close();
    fs.rmSync(parent, { recursive: true });
  });
  const fill = (): void => disk.fill(hypervisor.child.pid as number);
  const giveRoom = (): void => disk.resize(room);
  const unpause = (handle: DomainHandle, token: string) => hypervisor.client.call('unpause', { handle, token });

  for (const [what, profile] of [
    ['was never written', zeros],
    ['was written at its boot', specOf().profile],
  ] as const) {
    it(`is all there when its domain is: what ${what} is written by the guest when there is room for nothing`, async () => {
      const { client } = await start();
      const handle = await boot(client, { profile, workload: { dirtyPagesPerSecond: 20_000, workingSet: 1 } });
      fill();
      await runFor(client, handle, 3000);
      expect((await client.call('verify', { handle })).result.badPages).to.equal(0);
      expect((await infoOf(client, handle))?.state).to.equal('paused');
      expect((await infoOf(client, handle))?.stalled).to.equal(undefined);
    });
  }

  it('that was promised and is gone when the domain is made: refuses that, and has promised nothing any more', async () => {
    const { client, memoryFiles } = await start();
    await client.call('reserve', { key: 'a', bytes: 8 * mebibyte });
    fill();
    const refused = await failureOf(client.call('create', { spec: specOf(), reservation: 'a' }));
    expect(refused.code).to.equal('HOST_NOT_ENOUGH_FREE_MEMORY');
    expect(refused.params[0]).to.equal(String(8 * mebibyte));
    expect((await client.call('list', {})).result).to.deep.equal([]);
    expect((await client.call('memory', {})).result).to.include({ used: 0, reserved: 0 });
    await eventually(() => (memoryFiles().length === 0 ? true : undefined));
    giveRoom();
    await client.call('reserve', { key: 'a', bytes: 8 * mebibyte });
    await client.call('create', { spec: specOf(), reservation: 'a' });
  });

  it('that cannot be written all the same: pauses the domain, says why, and it goes on when there is room', async () => {
    const { client } = await start();
    const handle = await boot(client, { profile: zeros });
    const { path: file } = (await client.call('memory_of', { handle })).result;
    // A page is taken from the guest behind the hypervisor's back.
    fs.truncateSync(file, 0);
    fs.truncateSync(file, 8 * mebibyte);
    fill();
    await unpause(handle, 'one');
    const stalled = await eventually(async () => (await infoOf(client, handle))?.stalled);
    expect(stalled).to.match(/the guest's memory cannot be written: ENOSPC/);
    expect((await infoOf(client, handle))?.state).to.equal('paused');
    expect(fs.readFileSync(path.join(hypervisor.directory, 'hypervisor.log'), 'utf8')).to.contain(stalled);
    giveRoom();
    await runFor(client, handle, 500);
    expect((await infoOf(client, handle))?.stalled).to.equal(undefined);
  });

  it('does not keep the hypervisor from starting, and is had once there is room', async () => {
    fillUp(path.join(disk.path, 'filler'));
    const { client } = await start();
    expect((await failureOf(boot(client))).code).to.equal('HOST_NOT_ENOUGH_FREE_MEMORY');
    giveRoom();
    await boot(client);
  });

  it('does not keep it from starting where there is no room for a directory either', async () => {
    disk.close();
    disk = (tmpfs as NonNullable<typeof tmpfs>).open(parent, room, 1);
    const { client } = await start();
    expect((await failureOf(boot(client))).code).to.equal('HOST_NOT_ENOUGH_FREE_MEMORY');
    expect(fs.readFileSync(path.join(hypervisor.directory, 'hypervisor.log'), 'utf8')).to.match(/not used now: ENOSPC/);
  });
});
