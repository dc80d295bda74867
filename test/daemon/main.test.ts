import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { expect } from 'chai';
import { connectHypervisor } from '../../src/backend/simulator/client.js';
import { configKeyNames } from '../../src/base/config/keys.js';
import { createRpcClient } from '../../src/wire/connection/rpc-client.js';
import { eventually } from '../hypervisor/hypervisor-process.js';
import { testDomain } from '../support/hosts.js';
import { processExists } from '../wire/connection/connections.js';
import { type Daemon, openSite, type Site } from './daemon.js';

/** A XenAPI call. */
async function ask(
  daemon: Daemon,
  method: string,
  ...params: unknown[]
): Promise<{ result?: unknown; error?: unknown }> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
  const response = await fetch(`${daemon.url}/jsonrpc`, { method: 'POST', body });
  return (await response.json()) as { result?: unknown; error?: unknown };
}

/** A host-level call, with the secret of the pool. */
async function askHost<T>(daemon: Daemon, site: Site, method: string, ...params: unknown[]): Promise<T> {
  const secret = fs.readFileSync(path.join(site.stateDir, 'pool-secret'), 'utf8').trim();
  const client = createRpcClient(`${daemon.url}/services/xenops`);
  try {
    return await client.json<T>(method, [secret, ...params]);
  } finally {
    client.close();
  }
}

describe('the daemon', function () {
  this.timeout(60_000);
  let site: Site;
  const sites: Site[] = [];
  const another = () => {
    const opened = openSite();
    sites.push(opened);
    return opened;
  };
  beforeEach(() => {
    site = another();
  });
  afterEach(async () => {
    for (const each of sites.splice(0)) await each.close();
  });

  describe('that is asked about itself', () => {
    it('prints every option, and starts nothing', async () => {
      const { status, stdout, stderr } = await site.run('--help');
      expect({ status, stderr }).to.deep.equal({ status: 0, stderr: '' });
      expect(stdout).to.match(/^Usage: xenferryd/);
      for (const key of ['config', 'check-config', 'help', ...configKeyNames]) expect(stdout).to.contain(`--${key}`);
      expect(fs.existsSync(site.stateDir)).to.equal(false);
    });

    it('prints what a good configuration comes to, and where from, and starts nothing', async () => {
      site.configure('migration-compressor = xenguest');
      const { status, stdout, stderr } = await site.run('--check-config', '--config', site.configFile, '--port=4711');
      expect({ status, stderr }).to.deep.equal({ status: 0, stderr: '' });
      const lines = stdout.split('\n');
      expect(lines).to.include(`migration-compressor = xenguest  # ${site.configFile}:6`);
      expect(lines).to.include('port = 4711  # command line');
      expect(lines).to.include('worker-pool-size = 4  # default');
      expect(fs.existsSync(site.stateDir)).to.equal(false);
    });

    it('names all that is wrong with a bad configuration', async () => {
      site.configure('loglevel = shouting', 'no such line', 'worker-pool-size = 0', 'migration-compresor = stream');
      const { status, stdout } = await site.run('--check-config', `--config=${site.configFile}`, '--port', 'http');
      expect(status).to.equal(1);
      const problems = stdout.split('\n').filter((line) => /^(error|warning): /.test(line));
      expect(problems.join('\n')).to.match(/warning: .*xenopsd\.conf:9: migration-compresor .*migration-compressor\?/);
      expect(problems.join('\n')).to.match(/error: .*xenopsd\.conf:6: loglevel = shouting: allowed is /);
      expect(problems.join('\n')).to.match(/error: .*xenopsd\.conf:7: /);
      expect(problems.join('\n')).to.match(/error: .*xenopsd\.conf:8: worker-pool-size = 0: allowed is /);
      expect(problems.join('\n')).to.match(/error: command line: port = http: allowed is /);
    });
  });

  const unfit: [what: string, prepare: () => string[], said: RegExp][] = [
    ['an unknown option', () => ['--ports=1'], /^xenferryd: .*--?ports/],
    [
      'a bad value',
      () => {
        site.configure('loglevel = shouting', 'port = -1');
        return [];
      },
      /^xenferryd: .*:6: loglevel = shouting.*\n.*:7: port = -1/,
    ],
    [
      'no such file',
      () => ['--config', '/nowhere/xenopsd.conf'],
      /^xenferryd: \/nowhere\/xenopsd\.conf: cannot be read/,
    ],
    [
      'a log that cannot be opened',
      () => {
        site.configure('log = /nowhere/log');
        return [];
      },
      /^xenferryd: .*\/nowhere\/log/,
    ],
    [
      'a member without the secret of its pool',
      () => {
        site.configure('coordinator = http://127.0.0.1:1');
        return [];
      },
      /^xenferryd: pool-secret-file .*pool-secret: ENOENT/,
    ],
  ];
  for (const [what, prepare, said] of unfit) {
    it(`does not start with ${what}, and says why`, async () => {
      const args = prepare();
      const { status, stdout, stderr } = await site.run('--config', site.configFile, ...args);
      expect({ status, stdout }).to.deep.equal({ status: 1, stdout: '' });
      expect(stderr).to.match(said);
    });
  }

  const refused: [what: string, options: (taken: number) => string[], said: RegExp][] = [
    ['a port that is taken', (taken) => [`--port=${taken}`], /EADDRINUSE: address already in use 127\.0\.0\.1:\d+/],
    ['an address that is not here', () => ['--listen-address=192.0.2.1'], /EADDRNOTAVAIL: .* 192\.0\.2\.1/],
  ];
  for (const [what, options, said] of refused) {
    it(`does not start on ${what}, says so, and leaves nothing behind`, async () => {
      const server = net.createServer();
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const pidfile = path.join(site.directory, 'pid');
      fs.writeFileSync(pidfile, 'of another daemon\n');
      const { port } = server.address() as net.AddressInfo;
      const args = ['--config', site.configFile, `--pidfile=${pidfile}`, ...options(port)];
      const { status, stderr } = await site.run(...args);
      server.close();
      expect(status).to.equal(1);
      expect(stderr).to.match(said);
      expect(fs.readdirSync(site.directory).sort()).to.deep.equal(['log', 'pid', 'xenopsd.conf']);
      expect(fs.readFileSync(pidfile, 'utf8')).to.equal('of another daemon\n');
    });
  }

  it('ends the hypervisor that it has started where it cannot start itself, and no other', async () => {
    const first = await site.start();
    const hypervisor = site.hypervisor() as number;
    await first.end('SIGTERM');
    // What the first start has made is there, but for the password, which is asked for last.
    const fail = async (at: Site) => {
      fs.rmSync(path.join(at.stateDir, 'db'), { recursive: true, force: true });
      fs.rmSync(path.join(at.stateDir, 'root-password'), { force: true });
      fs.mkdirSync(path.join(at.stateDir, 'root-password'), { recursive: true });
      const { status, stderr } = await at.run('--config', at.configFile);
      expect(status).to.equal(1);
      expect(stderr).to.match(/root-password is a directory/);
    };
    await fail(site);
    expect(site.hypervisor()).to.equal(hypervisor);
    expect(processExists(hypervisor)).to.equal(true);
    const fresh = another();
    await fail(fresh);
    expect(fs.existsSync(path.join(fresh.stateDir, 'hypervisor.log'))).to.equal(true);
    expect(fresh.hypervisor()).to.equal(undefined);
  });

  for (const [what, prepare, said] of [
    ['is not there', (at: string) => at, /ENOENT/],
    ['is a file', (at: string) => fs.writeFileSync(at, ''), /is no directory/],
    ['cannot be written', (at: string) => fs.symlinkSync('/proc/sys', at), /EROFS|EACCES/],
    [
      'others may rename things in',
      (at: string) => {
        fs.mkdirSync(at);
        fs.chmodSync(at, 0o777);
      },
      /mode 1777/,
    ],
  ] as const) {
    it(`does not start with a memory-dir that ${what}, which --check-config says too`, async () => {
      const memory = path.join(site.directory, 'memory');
      prepare(memory);
      const options = ['--config', site.configFile, `--memory-dir=${memory}`];
      const { status, stderr } = await site.run(...options);
      expect(status).to.equal(1);
      expect(stderr).to.contain(`xenferryd: command line: memory-dir = ${memory}: `).and.to.match(said);
      expect(fs.existsSync(site.stateDir)).to.equal(false);
      const checked = await site.run(...options, '--check-config');
      expect(checked.status).to.equal(1);
      expect(checked.stdout).to.contain(`error: command line: memory-dir = ${memory}: `);
    });
  }

  it('says where it listens in one line, where its log goes to the terminal too', async () => {
    const daemon = await site.start('--log=stderr');
    const { stdout, stderr } = await daemon.end('SIGTERM');
    expect(`${stdout}${stderr}`.match(/listening on/g)).to.have.length(1);
  });

  it('makes a password and a secret for its owner alone at its first start, says where it listens, and keeps both', async () => {
    const first = await site.start();
    expect(first.url).to.match(/^http:\/\/127\.0\.0\.1:\d+$/);
    const files = ['root-password', 'pool-secret'].map((name) => path.join(site.stateDir, name));
    expect(files.map((file) => fs.statSync(file).mode & 0o777)).to.deep.equal([0o600, 0o600]);
    expect(fs.statSync(site.stateDir).mode & 0o777).to.equal(0o700);
    const kept = files.map((file) => fs.readFileSync(file, 'utf8'));
    const login = ['root', kept[0]?.trim(), '1.0', 'a test'];
    const { result: session } = await ask(first, 'session.login_with_password', ...login);
    expect(session).to.match(/^OpaqueRef:/);
    const { result: pools } = await ask(first, 'pool.get_all', session);
    expect(pools).to.have.length(1);
    expect(await ask(first, 'session.login_with_password', 'root', 'guess')).to.have.nested.property(
      'error.message',
      'SESSION_AUTHENTICATION_FAILED',
    );
    expect(site.log()).not.to.contain(kept[0]?.trim()).and.not.to.contain(kept[1]?.trim());
    await first.end('SIGTERM');
    const second = await site.start();
    expect(files.map((file) => fs.readFileSync(file, 'utf8'))).to.deep.equal(kept);
    const { result: again } = await ask(second, 'session.login_with_password', ...login);
    expect((await ask(second, 'pool.get_all', again)).result).to.deep.equal(pools);
  });

  it('says what is wrong with a body that comes without its length', async () => {
    const { port } = new URL((await site.start()).url);
    const socket = net.connect(Number(port), '127.0.0.1', () => {
      socket.write('POST /jsonrpc HTTP/1.1\r\nHost: x\r\n\r\n{"id":1,"method":"system.listMethods"}');
    });
    let answer = '';
    for await (const chunk of socket) answer += chunk;
    expect(answer).to.match(/^HTTP\/1.1 500 .*the request needs a Content-Length/s);
  });

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`ends in order on ${signal}, and leaves its hypervisor`, async () => {
      const pidfile = path.join(site.directory, 'pid');
      const daemon = await site.start(`--pidfile=${pidfile}`);
      expect(fs.readFileSync(pidfile, 'utf8')).to.equal(`${daemon.pid}\n`);
      const { next } = await askHost<{ next: number }>(daemon, site, 'events', 0, 0);
      const waiting = askHost(daemon, site, 'events', next, 60);
      waiting.catch(() => undefined);
      const { status, stdout, stderr } = await daemon.end(signal);
      expect({ status, stderr }).to.deep.equal({ status: 0, stderr: '' });
      expect(stdout).to.equal(`xenferryd listening on ${daemon.url}\n`);
      expect(site.log()).to.match(new RegExp(`${signal}: stopping\n(.*\n)*.* stopped\n$`));
      expect(fs.existsSync(pidfile)).to.equal(false);
      expect(await fetch(daemon.url).catch(() => 'gone')).to.equal('gone');
      expect(await waiting.catch(() => 'ended')).to.equal('ended');
      expect(processExists(site.hypervisor() ?? 0)).to.equal(true);
    });
  }

  it('tells in its log how it calls zstd, and to have a newer Node where this one is too old', async () => {
    await site.start();
    expect(site.log()).to.match(/ info .*memory is compressed by zstd 1\.\d+\.\d+ /);
    const isOld = Number.parseInt(process.versions.node, 10) < 22;
    if (isOld) expect(site.log()).to.match(/ warn .*Node 2[01]\..* Node 22 or newer is advised/);
    else expect(site.log()).not.to.contain('is advised');
  });

  for (const [address, warns] of [
    ['0.0.0.0', true],
    ['127.0.0.2', false],
    ['localhost', false],
  ] as const) {
    it(`${warns ? 'logs what is at stake' : 'has nothing to warn of'} when it listens on ${address}`, async () => {
      const daemon = await site.start(`--listen-address=${address}`, '--address=127.0.0.1');
      const stakes = /warn .*every address.* without TLS.*passwords.*memory of migrating VMs/;
      if (warns) expect(site.log()).to.match(stakes);
      else expect(site.log()).not.to.match(/ warn .*TLS/);
      expect((await fetch(daemon.url.replace('127.0.0.1', address.replace('0.0.0.0', '127.0.0.1')))).status).to.equal(
        200,
      );
    });
  }

  describe('that dies', () => {
    it('leaves its domains running: the next one finds them, and they have gone on counting', async () => {
      const first = await site.start();
      const spec = testDomain();
      await askHost(first, site, 'start', spec, false);
      const hypervisor = site.hypervisor();
      const helper = await connectHypervisor(path.join(site.stateDir, 'hypervisor.sock'), 'helper');
      const domain = async () => {
        const { result } = await helper.call('list', {});
        return result.find(({ uuid }) => uuid === spec.uuid);
      };
      const before = await domain();
      expect((await first.end('SIGKILL')).status).to.equal(null);
      const during = await eventually(async () => {
        const now = await domain();
        return now !== undefined && now.ticks > (before?.ticks ?? 0) ? now : undefined;
      });
      const second = await site.start();
      const { domains } = await askHost<{ domains: unknown[] }>(second, site, 'state');
      expect(domains).to.deep.equal([{ uuid: spec.uuid, state: 'running', domid: before?.handle.domid }]);
      await eventually(async () => ((await domain())?.ticks ?? 0) > during.ticks || undefined);
      expect((await domain())?.handle).to.deep.equal(before?.handle);
      expect(site.hypervisor()).to.equal(hypervisor);
      await helper.close();
    });

    it('can be started again at once, also behind its own pidfile', async () => {
      const pidfile = path.join(site.directory, 'pid');
      for (let time = 0; time < 3; time += 1) {
        const daemon = await site.start(`--pidfile=${pidfile}`);
        expect(fs.readFileSync(pidfile, 'utf8')).to.equal(`${daemon.pid}\n`);
        await daemon.end('SIGKILL');
      }
    });
  });

  describe('of a member', () => {
    it('joins its coordinator, and answers XenAPI calls with where that is', async () => {
      const coordinator = await site.start();
      const member = another();
      member.configure(
        `coordinator = ${coordinator.url}`,
        `pool-secret-file = ${path.join(site.stateDir, 'pool-secret')}`,
        'host-name = two',
      );
      const daemon = await member.start();
      await member.logged(/joined the pool of http/);
      expect(await ask(daemon, 'session.login_with_password', 'root', 'x'))
        .to.have.nested.property('error')
        .that.includes({
          message: 'HOST_IS_SLAVE',
        });
      const password = fs.readFileSync(path.join(site.stateDir, 'root-password'), 'utf8').trim();
      const { result: session } = await ask(coordinator, 'session.login_with_password', 'root', password);
      const { result: hosts } = await ask(coordinator, 'host.get_all_records', session);
      const names = Object.values(hosts as Record<string, { name_label: string }>).map((host) => host.name_label);
      expect(names).to.include('two').and.to.have.length(2);
      expect((await daemon.end('SIGTERM')).status).to.equal(0);
    });

    it('waits for a coordinator that is not there yet, and ends when it is told to', async () => {
      const secret = path.join(site.directory, 'secret');
      fs.writeFileSync(secret, 'a secret of twenty-odd letters\n');
      site.configure('coordinator = http://127.0.0.1:1', `pool-secret-file = ${secret}`);
      const daemon = await site.start();
      await site.logged(/the coordinator has not let this host in yet: .*ECONNREFUSED/);
      expect((await daemon.end('SIGTERM')).status).to.equal(0);
    });
  });
});
