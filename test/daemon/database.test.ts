import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import { xeAt } from '../cli/xe/harness.js';
import { type Daemon, openSite, type Site } from './daemon.js';

describe('the database of a daemon', function () {
  this.timeout(60_000);
  let site: Site;
  beforeEach(() => {
    site = openSite();
  });
  afterEach(() => site.close());
  const enter = (daemon: Daemon): Promise<XapiSession> => {
    const password = fs.readFileSync(path.join(site.stateDir, 'root-password'), 'utf8').trim();
    return login({ url: daemon.url, username: 'root', password }, 'test');
  };
  const createNetwork = (session: XapiSession, name: string): Promise<string> =>
    session.call('network.create', { name_label: name, name_description: '', MTU: 1500, other_config: {}, tags: [] });

  it('has every write that was answered, when the daemon is killed in the middle of a thousand', async () => {
    const daemon = await site.start();
    const session = await enter(daemon);
    const total = 1000;
    let answered = 0;
    /** A third each by a handler, a generic setter and a generic change of a map. */
    const writer = async () => {
      const own = await createNetwork(session, 'own');
      const known = { own, created: [own], keys: [] as string[], description: -1 };
      const write = async (): Promise<void> => {
        for (let i = 0; answered < total; i++) {
          if (i % 3 === 0) known.created.push(await createNetwork(session, `created ${i}`));
          else if (i % 3 === 1) {
            await session.call('network.add_to_other_config', own, `key${i}`, String(i));
            known.keys.push(`key${i}`);
          } else {
            await session.call('network.set_name_description', own, String(i));
            known.description = i;
          }
          answered += 1;
          if (answered === total / 2) process.kill(daemon.pid, 'SIGKILL');
        }
      };
      return {
        known,
        cut: await write().then(
          () => false,
          () => true,
        ),
      };
    };
    const writers = await Promise.all([writer(), writer(), writer()]);
    expect(writers.map(({ cut }) => cut)).to.deep.equal([true, true, true]);
    expect(answered)
      .to.be.at.least(total / 2)
      .and.below(total);

    const again = await enter(await site.start());
    const networks =
      await again.call<Record<string, { other_config: object; name_description: string }>>('network.get_all_records');
    for (const { known } of writers) {
      expect(networks).to.include.all.keys(...known.created);
      expect(networks[known.own]?.other_config).to.include.all.keys(...known.keys);
      expect(Number(networks[known.own]?.name_description)).to.be.at.least(known.description);
    }
  });

  it('is refused with what to do when it is damaged, left as it is, and good again from a backup', async () => {
    const first = await site.start();
    const session = await enter(first);
    await createNetwork(session, 'kept');
    const backup = path.join(site.directory, 'backup');
    const made = await site.run('--config', site.configFile, '--backup-database', backup);
    expect(made).to.deep.include({ status: 0, stderr: '' });
    expect(made.stdout).to.equal(`copied ${path.join(site.stateDir, 'db')} to ${backup}\n`);
    const twice = await site.run('--config', site.configFile, `--backup-database=${backup}`);
    expect(twice.status).to.equal(1);
    expect(twice.stderr).to.match(/^xenferryd: .*cannot be copied to .*it is not empty\n$/);
    await createNetwork(session, 'after the backup');
    await first.end('SIGTERM');

    const data = path.join(site.stateDir, 'db', 'data.mdb');
    fs.truncateSync(data, 20_000);
    const damaged = fs.readFileSync(data);
    const { status, stderr } = await site.run('--config', site.configFile);
    expect(status).to.equal(1);
    expect(stderr).to.match(/The database .*db is damaged: .*\. Put a copy of the directory back, or move it away/);
    expect(fs.readFileSync(data).equals(damaged)).to.equal(true);

    fs.rmSync(path.join(site.stateDir, 'db'), { recursive: true });
    fs.cpSync(backup, path.join(site.stateDir, 'db'), { recursive: true });
    const again = await enter(await site.start());
    const names = Object.values(await again.call<Record<string, { name_label: string }>>('network.get_all_records'));
    expect(names.map(({ name_label }) => name_label))
      .to.include('kept')
      .and.not.to.include('after the backup');
    expect(await again.call('host.get_all')).to.have.length(1);
  });

  it('is fetched by xe into a new file, and good again from that', async () => {
    const first = await site.start();
    const session = await enter(first);
    await createNetwork(session, 'kept');
    const file = path.join(site.directory, 'dump');
    const xe = (name: string) =>
      xeAt(first, ['pool-dump-database', `file-name=${name}`], {
        XE_PASSWORD_FILE: path.join(site.stateDir, 'root-password'),
        XE_PASSWORD: '',
      });
    expect(await xe(file)).to.deep.equal({ status: 0, out: '', err: '' });
    expect(fs.statSync(file).mode & 0o777).to.equal(0o600);
    const refused: [name: string, why: RegExp][] = [
      [file, /^Error: the file '\S+' cannot be written: EEXIST[^\n]*\n$/],
      [path.join(site.directory, 'none', 'dump'), /^Error: the file '\S+' cannot be written: ENOENT[^\n]*\n$/],
    ];
    const dumped = fs.readFileSync(file);
    for (const [name, why] of refused) {
      const { status, err } = await xe(name);
      expect({ status, err }).to.satisfy(() => status === 1 && why.test(err), err);
    }
    expect(fs.readFileSync(file).equals(dumped)).to.equal(true);
    expect(fs.readdirSync(site.stateDir).filter((name) => name.startsWith('db'))).to.deep.equal(['db']);
    await createNetwork(session, 'after the dump');
    await first.end('SIGTERM');

    const database = path.join(site.stateDir, 'db');
    fs.rmSync(database, { recursive: true });
    fs.mkdirSync(database, { mode: 0o700 });
    fs.copyFileSync(file, path.join(database, 'data.mdb'));
    const again = await enter(await site.start());
    const names = Object.values(await again.call<Record<string, { name_label: string }>>('network.get_all_records'));
    expect(names.map(({ name_label }) => name_label))
      .to.include('kept')
      .and.not.to.include('after the dump');
  });
});
