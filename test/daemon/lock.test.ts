/** One daemon for one state directory and one database. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { openSite, type Site } from './daemon.js';

describe('a daemon beside others', function () {
  this.timeout(60_000);
  const sites: Site[] = [];
  let site: Site;
  const another = (prefix: readonly string[] = []): Site => {
    const opened = openSite({ prefix: () => prefix });
    sites.push(opened);
    return opened;
  };
  beforeEach(() => {
    site = another();
  });
  afterEach(async () => {
    for (const each of sites.splice(0)) await each.close();
  });

  it('is the only one on its state directory, by whatever path', async () => {
    const first = await site.start();
    const link = path.join(site.directory, 'link');
    fs.symlinkSync(site.stateDir, link);
    const pidfile = path.join(site.directory, 'pid');
    for (const stateDir of [site.stateDir, link]) {
      const args = ['--config', site.configFile, `--state-dir=${stateDir}`, `--pidfile=${pidfile}`];
      const { status, stdout, stderr } = await site.run(...args);
      expect({ status, stdout, stderr }).to.deep.equal({
        status: 1,
        stdout: '',
        stderr: `xenferryd: another xenferryd runs with the state directory ${stateDir}\n`,
      });
    }
    expect(fs.existsSync(pidfile)).to.equal(false);
    expect((await fetch(first.url)).status).to.equal(200);
  });

  it('is the only one on its database, whatever the state directory', async () => {
    const first = await site.start();
    const second = another();
    for (const database of [path.join(site.stateDir, 'db'), path.join(site.directory, 'link')]) {
      if (!fs.existsSync(database)) fs.symlinkSync(path.join(site.stateDir, 'db'), database);
      const { status, stdout, stderr } = await second.run('--config', second.configFile, `--database-path=${database}`);
      expect({ status, stdout, stderr }).to.deep.equal({
        status: 1,
        stdout: '',
        stderr: `xenferryd: another xenferryd runs with the database ${database}\n`,
      });
      expect(fs.existsSync(second.stateDir)).to.equal(false);
    }
    expect((await fetch(first.url)).status).to.equal(200);
  });

  it('does not start on a state directory that it cannot lock, and says why', async () => {
    const { status, stderr } = await site.run('--config', site.configFile, '--state-dir=/proc/self');
    expect({ status, stderr: stderr.slice(0, 90) }).to.deep.equal({
      status: 1,
      stderr: 'xenferryd: /proc/self cannot be locked: its file system (0x9fa0) may be shared with other '.slice(0, 90),
    });
  });

  const apart = [
    ['unshare', '--net'],
    ['unshare', '--user', '--map-root-user', '--net'],
  ].filter(([command = '', ...args]) => spawnSync(command, [...args, 'true']).status === 0);
  for (const prefix of apart) {
    it(`is the only one on its state directory in another network namespace: ${prefix.join(' ')}`, async () => {
      await site.start();
      const args = ['--config', site.configFile, '--listen-address=0.0.0.0', '--address=192.0.2.1'];
      const { status, stderr } = await another(prefix).run(...args);
      expect({ status, stderr }).to.deep.equal({
        status: 1,
        stderr: `xenferryd: another xenferryd runs with the state directory ${site.stateDir}\n`,
      });
    });
  }
});
