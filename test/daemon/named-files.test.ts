import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { expect } from 'chai';
import { eventually } from '../hypervisor/hypervisor-process.js';
import { openSite, type Site } from './daemon.js';

describe('the daemon, of files that its configuration names', function () {
  this.timeout(60_000);
  let site: Site;
  beforeEach(() => {
    site = openSite();
  });
  afterEach(() => site.close());

  const at = (name: string) => path.join(site.directory, name);
  const fifo = (name: string): string => {
    execFileSync('mkfifo', [at(name)]);
    return at(name);
  };
  const inState = (name: string): void => {
    fs.mkdirSync(site.stateDir);
    fs.renameSync(fifo(name), path.join(site.stateDir, name));
  };

  const unfit: [what: string, prepare: () => void, said: RegExp][] = [
    [
      'a log that is a FIFO',
      () => site.configure(`log = ${fifo('x')}`),
      /:6: log = \S+: \S+ is a FIFO; allowed is a reg/,
    ],
    [
      'a log that is a device',
      () => site.configure('log = /dev/null'),
      /:6: log = \/dev\/null: \S+ is a device; allowed/,
    ],
    [
      'a pidfile that is a FIFO',
      () => site.configure(`pidfile = ${fifo('x')}`),
      /:6: pidfile = \S+: \S+ is a FIFO; all/,
    ],
    [
      'a pool secret that is a FIFO',
      () => site.configure(`pool-secret-file = ${fifo('x')}`),
      /:6: pool-secret-file = \S+: \S+ is a FIFO; allowed is/,
    ],
    [
      'a pool secret that never ends',
      () => {
        fs.writeFileSync(at('x'), '');
        fs.truncateSync(at('x'), 2 ** 40);
        site.configure(`pool-secret-file = ${at('x')}`);
      },
      /pool-secret-file \S+: it has more than 256 KiB/,
    ],
    [
      'a password that is a FIFO',
      () => inState('root-password'),
      /the first password of root, \S+: \S+ is a FIFO; all/,
    ],
    [
      'a hypervisor log that is a FIFO',
      () => inState('hypervisor.log'),
      /hypervisor\.log is a FIFO; allowed is a regular/,
    ],
    [
      'a fragment that is a FIFO',
      () => {
        fs.mkdirSync(at('d'));
        fifo('d/a.conf');
        site.configure(`config-dir = ${at('d')}`);
      },
      /d\/a\.conf: cannot be read: \S+ is a FIFO; allowed is a regular file/,
    ],
  ];
  for (const [what, prepare, said] of unfit) {
    it(`does not start with ${what}, and says why`, async () => {
      prepare();
      const { status, stdout, stderr } = await site.run('--config', site.configFile);
      expect({ status, stdout }).to.deep.equal({ status: 1, stdout: '' });
      expect(stderr).to.match(said);
    });
  }

  it('says with --check-config what cannot be used, and where it is named', async () => {
    site.configure(`log = ${fifo('x')}`, 'pidfile = /dev/null');
    const { status, stdout } = await site.run('--check-config', '--config', site.configFile);
    expect(status).to.equal(1);
    expect(stdout.split('\n').filter((line) => line.startsWith('error: '))).to.deep.equal([
      `error: ${site.configFile}:6: log = ${at('x')}: ${at('x')} is a FIFO; allowed is a regular file`,
      `error: ${site.configFile}:7: pidfile = /dev/null: /dev/null is a device; allowed is a regular file`,
    ]);
  });

  const fragments: [what: string, make: () => unknown, said: RegExp][] = [
    ['a FIFO', () => fifo('d/a.conf'), /refused, .*d\/a\.conf: cannot be read: \S+ is a FIFO; allowed is/],
    [
      'endless',
      () => fs.symlinkSync('/dev/zero', at('d/a.conf')),
      /refused, .*d\/a\.conf: cannot be read: \S+ is a dev/,
    ],
    [
      'too large',
      () => fs.writeFileSync(at('d/a.conf'), 'x'.repeat(2 ** 20)),
      /refused, .*d\/a\.conf: cannot be read: it has more than 256 KiB/,
    ],
    [
      'not in UTF-8',
      () => fs.writeFileSync(at('d/a.conf'), 'port = 0\nemu-manager = /caf\xe9\n', 'latin1'),
      /refused, .*d\/a\.conf:2: cannot be read: line 2 has bytes that are not UTF-8/,
    ],
  ];
  for (const [what, make, said] of fragments) {
    it(`serves on when it rereads a fragment that is ${what}`, async () => {
      fs.mkdirSync(at('d'));
      site.configure(`config-dir = ${at('d')}`);
      const daemon = await site.start();
      make();
      daemon.reload();
      await site.logged(said);
      expect((await fetch(daemon.url)).status).to.equal(200);
    });
  }

  it('goes on in its old log when a FIFO has taken its place', async () => {
    const daemon = await site.start(`--log=${at('l')}`);
    fs.renameSync(at('l'), at('l.old'));
    fifo('l');
    daemon.reload();
    const said = 'the log goes on in its old file: ';
    await eventually(() => fs.readFileSync(at('l.old'), 'utf8').includes(`${said}${at('l')} is a FIFO`) || undefined);
    expect((await fetch(daemon.url)).status).to.equal(200);
  });
});

describe('the daemon that logs to the log of the system', function () {
  this.timeout(60_000);
  let site: Site;
  let system: SystemLog;
  beforeEach(async () => {
    const bin = fs.mkdtempSync('/tmp/xenferry-logger-');
    system = await openSystemLog(bin);
    site = openSite({ environment: { PATH: `${bin}:${process.env.PATH}` } });
  });
  afterEach(async () => {
    await site.close();
    await system.close();
  });

  /** Every setting that the sample of xenopsd has, in its shapes; no comment of it. */
  const sample = () => [
    '# where this host notes what it is',
    'inventory = /etc/xensource-inventory',
    'use-switch = false',
    'simulate=false',
    'persist=true',
    'log=syslog:xenopsd',
    `pidfile=${path.join(site.directory, 'xenopsd.pid')}`,
    'disable-logging-for=http tracing tracing_export',
    '# worker-pool-size=4',
    '# hvmloader="/usr/lib/xen/boot/hvmloader"',
  ];

  it('loads the sample of xenopsd, and logs under the name that it gives, by severity', async () => {
    site.configure(...sample());
    const daemon = await site.start();
    const started = new RegExp(`^<30>.* xenopsd\\[${daemon.pid}\\]: .* info  listening on ${daemon.url} `, 'm');
    await system.logged(started);
    await system.logged(/^<28>.* xenopsd\[\d+\]: .* warn {2}\S+:7: inventory is not a known key and has no effect$/m);
    const { status, stderr } = await daemon.end('SIGTERM');
    expect({ status, stderr }).to.deep.equal({ status: 0, stderr: '' });
    await system.logged(/^<30>.* xenopsd\[\d+\]: .* info {2}stopped$/m);
  });

  it('starts where there is no log of the system, and then logs to its standard error', async () => {
    await system.stop();
    const daemon = await site.start('--log=syslog:xenopsd');
    await daemon.end('SIGTERM').then(({ status, stderr }) => {
      expect(status).to.equal(0);
      expect(stderr).to.match(/^xenferryd: the log of the system cannot be written: logger .*$/m);
      expect(stderr)
        .to.match(/^\S+ info {2}listening on http/m)
        .and.to.match(/^\S+ info {2}stopped$/m);
    });
  });

  it('logs there again once it can', async () => {
    const daemon = await site.start('--log=syslog:xenopsd');
    await system.logged(/listening on/);
    await system.stop();
    await system.open();
    await eventually(async () => {
      daemon.reload();
      return system.text().includes('configuration read again') || undefined;
    });
    expect((await daemon.end('SIGTERM')).status).to.equal(0);
  });
});

interface SystemLog {
  text(): string;
  logged(what: RegExp): Promise<unknown>;
  open(): Promise<void>;
  stop(): Promise<void>;
  close(): Promise<void>;
}

/** A socket in the place of /dev/log, and a `logger` in a directory that calls the system's with it. */
async function openSystemLog(directory: string): Promise<SystemLog> {
  const socketPath = path.join(directory, 'log');
  const real = execFileSync('sh', ['-c', 'command -v logger'], { encoding: 'utf8' }).trim();
  fs.writeFileSync(path.join(directory, 'logger'), `#!/bin/sh\nexec ${real} --socket ${socketPath} "$@"\n`, {
    mode: 0o755,
  });
  let text = '';
  const connections = new Set<net.Socket>();
  let server = net.createServer();
  const open = async () => {
    server = net.createServer((socket) => {
      connections.add(socket);
      socket.on('data', (chunk) => {
        text += chunk;
      });
      socket.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  };
  const stop = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const connection of connections) connection.destroy();
    await closed;
  };
  await open();
  return {
    text: () => text,
    logged: (what) => eventually(() => what.exec(text) ?? undefined),
    open,
    stop,
    close: async () => {
      if (server.listening) await stop();
      fs.rmSync(directory, { recursive: true, force: true });
    },
  };
}
