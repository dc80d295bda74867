import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { XapiError } from '../../src/base/errors.js';
import { vmRecord } from '../../src/cli/client/vm-record.js';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import { eventually } from '../hypervisor/hypervisor-process.js';
import { diskKinds, type FullDisk } from '../support/full-disk.js';
import { type Daemon, openSite, type Site } from './daemon.js';

const mebibyte = 1 << 20;

describe('a daemon on a full disk', function () {
  this.timeout(60_000);
  let parent: string;
  let disk: FullDisk | undefined;
  let site: Site | undefined;
  beforeEach(() => {
    parent = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-full-'));
  });
  afterEach(async () => {
    await site?.close();
    site = undefined;
    disk?.close();
    disk = undefined;
    fs.rmSync(parent, { recursive: true, force: true });
  });

  const enter = (daemon: Daemon): Promise<XapiSession> => {
    const password = fs.readFileSync(path.join((site as Site).stateDir, 'root-password'), 'utf8').trim();
    return login({ url: daemon.url, username: 'root', password }, 'test');
  };
  const runningVm = async (session: XapiSession): Promise<string> => {
    const vm = await session.call<string>('VM.create', vmRecord({ name: 'vm', memory: 16 * mebibyte }));
    await session.call('VM.start', vm, false, false);
    return vm;
  };
  const statesOf = (session: XapiSession, vms: readonly string[]) =>
    Promise.all(vms.map((vm) => session.call<string>('VM.get_power_state', vm)));
  const networksOf = async (session: XapiSession) =>
    Object.values(await session.call<Record<string, { name_label: string }>>('network.get_all_records'));

  /**
   * Make networks, whose names have so many bytes, until one is refused.
   * @returns the names of those that were not, and what was said of the other
   */
  const createUntilRefused = async (
    session: XapiSession,
    bytes = 60_000,
  ): Promise<{ made: string[]; error: XapiError }> => {
    const made: string[] = [];
    for (;;) {
      const name_label = `network ${made.length} ${'x'.repeat(bytes)}`;
      try {
        await session.call('network.create', {
          name_label,
          name_description: '',
          MTU: 1500,
          other_config: {},
          tags: [],
        });
        made.push(name_label);
      } catch (error) {
        return { made, error: error as XapiError };
      }
    }
  };

  /** Leave no room for the smallest row. */
  const fillUp = async (session: XapiSession): Promise<void> => {
    for (const bytes of [60_000, 6000, 600]) {
      const { made } = await createUntilRefused(session, bytes);
      const [refused] = await session.call<string[]>(
        'network.get_by_name_label',
        `network ${made.length} ${'x'.repeat(bytes)}`,
      );
      // What was refused waits for space, and would keep everything behind it waiting.
      await session.call('network.destroy', refused);
    }
    await createUntilRefused(session, 1);
  };

  for (const kind of diskKinds()) {
    it(`refuses changes by name on ${kind.name}, answers the rest, and goes on when there is space`, async () => {
      disk = kind.open(parent, 32 * mebibyte);
      site = openSite({ stateParent: disk.path });
      const daemon = await site.start();
      const session = await enter(daemon);
      disk.fill(daemon.pid);
      const { made, error } = await createUntilRefused(session);
      expect(error).to.be.instanceOf(XapiError);
      expect([error.code, ...error.params]).to.deep.equal(['OUT_OF_SPACE', path.join(site.stateDir, 'db')]);
      expect((await networksOf(session)).map(({ name_label }) => name_label)).to.include.members(made);

      disk.resize(64 * mebibyte, daemon.pid);
      await site.logged(/the database is written again/);
      await session.call('pool.set_name_label', (await session.call<string[]>('pool.get_all'))[0], 'after');
      process.kill(daemon.pid, 'SIGKILL');
      const again = await enter(await site.start());
      const names = (await networksOf(again)).map(({ name_label }) => name_label);
      // The one that was refused is written as well when there is space.
      expect(names).to.include.members([...made, `network ${made.length} ${'x'.repeat(60_000)}`]);
      const [pool] = Object.values(await again.call<Record<string, { name_label: string }>>('pool.get_all_records'));
      expect(pool?.name_label).to.equal('after');
    });

    it(`lets a VM be shut down by force on ${kind.name}, and knows it when it is started anew`, async () => {
      disk = kind.open(parent, 32 * mebibyte);
      site = openSite({ stateParent: disk.path });
      const daemon = await site.start();
      const session = await enter(daemon);
      const vms = [await runningVm(session), await runningVm(session)];
      const suspended = kind.name === 'a full file system' ? await runningVm(session) : undefined;
      if (suspended !== undefined) await session.call('VM.suspend', suspended);
      disk.fill(daemon.pid);
      await fillUp(session);
      for (const vm of vms) {
        const error = await session.call('VM.pause', vm).catch((refused: unknown) => refused);
        expect((error as XapiError).code).to.equal('OUT_OF_SPACE');
      }
      expect(await statesOf(session, vms)).to.deep.equal(['Running', 'Running']);
      for (const vm of vms) await session.call('VM.hard_shutdown', vm);
      expect(await statesOf(session, vms)).to.deep.equal(['Halted', 'Halted']);
      // The end of its image makes space.
      if (suspended !== undefined) await session.call('VM.hard_shutdown', suspended);
      process.kill(daemon.pid, 'SIGKILL');
      disk.resize(64 * mebibyte);
      const again = await enter(await site.start());
      await eventually(async () => (await statesOf(again, vms)).every((state) => state === 'Halted') || undefined);
    });

    for (const bytes of [4096, 65_536, 3 * mebibyte]) {
      it(`is not started anew on ${kind.name} of ${bytes} bytes, and is as soon as there is space`, async () => {
        disk = kind.open(parent, bytes);
        site = openSite({ stateParent: disk.path, prefix: disk.prefix });
        const { status, stderr } = await site.run('--config', site.configFile);
        expect(status, stderr).to.equal(1);
        expect(stderr).to.match(/^xenferryd: OUT_OF_SPACE .*\/db: up to \d+ KiB are needed: E[A-Z]+: .*\n$/);
        disk.resize(32 * mebibyte);
        expect(await networksOf(await enter(await site.start()))).to.have.length.above(0);
      });
    }
  }
});
