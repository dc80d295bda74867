import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { XapiError } from '../../src/base/errors.js';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
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
  const networksOf = async (session: XapiSession) =>
    Object.values(await session.call<Record<string, { name_label: string }>>('network.get_all_records'));

  /**
   * Make networks until one is refused.
   * @returns the names of those that were not, and what was said of the other
   */
  const createUntilRefused = async (session: XapiSession): Promise<{ made: string[]; error: XapiError }> => {
    const made: string[] = [];
    for (;;) {
      const name_label = `network ${made.length} ${'x'.repeat(60_000)}`;
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
