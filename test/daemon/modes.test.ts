import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { openSite, type Site } from './daemon.js';

describe('a daemon', function () {
  this.timeout(60_000);
  let site: Site;
  beforeEach(() => {
    site = openSite();
  });
  afterEach(() => site.close());

  it('leaves all that it makes to its owner alone, whatever the umask that it is started with', async () => {
    const umask = process.umask(0);
    try {
      const { pid } = await site.start();
      // What helpers and libraries make has no mode of its own.
      expect(fs.readFileSync(`/proc/${pid}/status`, 'latin1')).to.match(/^Umask:\s0077$/m);
    } finally {
      process.umask(umask);
    }
    const made = fs.readdirSync(site.stateDir, { recursive: true, encoding: 'utf8' });
    const open = made.filter((name) => (fs.lstatSync(path.join(site.stateDir, name)).mode & 0o077) !== 0);
    expect(made).to.include.members(['root-password', 'hypervisor.log', path.join('db', 'data.mdb')]);
    expect(open).to.deep.equal([]);
    expect(fs.statSync(path.join(site.directory, 'log')).mode & 0o777, 'what its group may read').to.equal(0o640);
  });
});
