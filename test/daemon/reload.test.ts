import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { eventually } from '../hypervisor/hypervisor-process.js';
import { openSite, type Site } from './daemon.js';

describe('the daemon that is told to read its configuration again', function () {
  this.timeout(60_000);
  let site: Site;
  beforeEach(() => {
    site = openSite();
  });
  afterEach(() => site.close());

  it('logs each change with file, line, old and new value, and what needs a restart', async () => {
    site.configure('loglevel = info');
    const daemon = await site.start();
    site.configure('', 'migration-compressor = xenguest', 'loglevel = debug', 'worker-pool-size = 9');
    daemon.reload();
    await site.logged(/configuration read again, 3 changed/);
    expect(site.log()).to.contain(`${site.configFile}:7: migration-compressor: stream is now xenguest`);
    expect(site.log()).to.contain(`${site.configFile}:8: loglevel: info is now debug`);
    expect(site.log()).to.contain(`${site.configFile}:9: worker-pool-size: 9 needs a restart; 4 stays in effect`);
    daemon.reload();
    await site.logged(/configuration read again, 0 changed|configuration read again, 1 changed/);
  });

  it('lets web pages of other origins log in once it is told of them', async () => {
    const daemon = await site.start();
    const origin = 'https://xo.example';
    const logIn = async (from: string) => {
      const body = JSON.stringify({ id: 1, method: 'session.login_with_password', params: ['root', 'wrong'] });
      const reply = await fetch(`${daemon.url}/jsonrpc`, { method: 'POST', headers: { origin: from }, body });
      const { error } = (await reply.json()) as { error: string[] };
      return [error[0], reply.headers.get('access-control-allow-origin')];
    };
    expect(await logIn(daemon.url)).to.deep.equal(['SESSION_AUTHENTICATION_FAILED', null]);
    expect(await logIn(origin)).to.deep.equal(['PERMISSION_DENIED', null]);
    site.configure(`cors-origins = HTTPS://XO.example:443, https://other.example`);
    daemon.reload();
    await site.logged(/:6: cors-origins: \(nothing\) is now https:\/\/xo\.example https:\/\/other\.example/);
    await site.logged(/configuration read again, 1 changed/);
    expect(await logIn(origin)).to.deep.equal(['SESSION_AUTHENTICATION_FAILED', origin]);
    site.configure(`cors-origins = *`);
    daemon.reload();
    await site.logged(/:6: cors-origins = \*: allowed is a list of origins, each http/);
    expect(await logIn(origin)).to.deep.equal(['SESSION_AUTHENTICATION_FAILED', origin]);
  });

  it('may be told so as soon as it has a pidfile', async () => {
    const pidfile = path.join(site.directory, 'pid');
    site.configure(`pidfile = ${pidfile}`);
    const starting = site.start();
    const pid = await eventually(
      () => (fs.existsSync(pidfile) && Number(fs.readFileSync(pidfile, 'utf8'))) || undefined,
    );
    process.kill(pid, 'SIGHUP');
    await starting;
    await site.logged(/configuration read again, 0 changed/);
  });

  it('refuses a file with an error as a whole, and keeps the old values', async () => {
    const daemon = await site.start();
    site.configure('migration-compressor = xenguest', 'loglevel = shouting', 'migration-digest = perhaps');
    daemon.reload();
    await site.logged(/refused.*migration-digest = perhaps/);
    const refused = (what: string) =>
      `configuration refused, the old one stays: ${site.configFile}:${what}: allowed is`;
    expect(site.log()).to.contain(refused('7: loglevel = shouting'));
    expect(site.log()).to.contain(refused('8: migration-digest = perhaps'));
    expect(site.log()).not.to.contain('is now xenguest');
    site.configure('migration-compressor = xenguest', 'migration-compresor = stream');
    daemon.reload();
    await site.logged(/configuration read again, 1 changed/);
    expect(site.log()).to.contain(`${site.configFile}:6: migration-compressor: stream is now xenguest`);
    expect(site.log()).to.match(/ warn .*:7: migration-compresor is not a known key/);
    expect((await fetch(daemon.url)).status).to.equal(200);
  });

  it('refuses to lose its file, and keeps the old values', async () => {
    const daemon = await site.start();
    fs.rmSync(site.configFile);
    daemon.reload();
    await site.logged(/configuration refused, the old one stays: .*xenopsd\.conf: cannot be read/);
    expect((await fetch(daemon.url)).status).to.equal(200);
  });

  it('takes the fragments of its config-dir in the order of their names, over the file', async () => {
    const fragments = path.join(site.directory, 'conf.d');
    fs.mkdirSync(fragments);
    site.configure(`config-dir = ${fragments}`, 'migration-step-timeout = 10');
    const daemon = await site.start();
    fs.writeFileSync(path.join(fragments, '20-b.conf'), 'migration-compressor = xenguest\n');
    fs.writeFileSync(
      path.join(fragments, '10-a.conf'),
      '# a\nmigration-compressor = stream\nmigration-step-timeout = 20\n',
    );
    fs.writeFileSync(path.join(fragments, 'ignored.txt'), 'loglevel = debug\n');
    daemon.reload();
    await site.logged(/configuration read again, 2 changed/);
    expect(site.log()).to.contain(`${fragments}/20-b.conf:1: migration-compressor: stream is now xenguest`);
    expect(site.log()).to.contain(`${fragments}/10-a.conf:3: migration-step-timeout: 10 is now 20`);
    fs.rmSync(path.join(fragments, '20-b.conf'));
    daemon.reload();
    await site.logged(/configuration read again, 1 changed/);
    expect(site.log()).to.contain(`${fragments}/10-a.conf:2: migration-compressor: xenguest is now stream`);
  });

  it('opens its log anew after that was renamed, and lives on when it cannot', async () => {
    const logs = path.join(site.directory, 'logs');
    fs.mkdirSync(logs);
    const log = path.join(logs, 'daemon');
    const daemon = await site.start(`--log=${log}`);
    fs.renameSync(log, `${log}.1`);
    daemon.reload();
    await eventually(() => (fs.existsSync(log) && fs.readFileSync(log, 'utf8').includes('read again')) || undefined);
    expect(fs.readFileSync(`${log}.1`, 'utf8')).to.contain('listening on');
    fs.renameSync(logs, `${logs}.moved`);
    daemon.reload();
    await eventually(
      () =>
        fs
          .readFileSync(path.join(`${logs}.moved`, 'daemon'), 'utf8')
          .includes('the log goes on in its old file: ENOENT') || undefined,
    );
    expect((await fetch(daemon.url)).status).to.equal(200);
  });
});
