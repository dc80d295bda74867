import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { expect } from 'chai';
import { createShutdown, type ShutdownInit } from '../../src/shutdown.js';
import { createRpcClient } from '../../src/wire/connection/rpc-client.js';
import { eventually } from '../hypervisor/hypervisor-process.js';
import { testDomain } from '../support/hosts.js';
import { captureLog } from '../support/log.js';
import { processExists } from '../wire/connection/connections.js';
import { openSite, type Site } from './daemon.js';

describe('the end of the daemon', () => {
  const never = new Promise<void>(() => undefined);
  /** What it does, until it would exit. */
  const endBy = async (
    act: (shutdown: ReturnType<typeof createShutdown>) => void,
    over: Partial<ShutdownInit> = {},
  ) => {
    const captured = captureLog();
    let killed = 0;
    const status = await new Promise<number>((exit) => {
      const log = { ...captured.log, setLevel: () => undefined, reopen: () => undefined, close: async () => undefined };
      const killHelpers = () => {
        killed += 1;
        return 3;
      };
      act(createShutdown({ log, close: async () => undefined, timeoutMs: () => 20, killHelpers, exit, ...over }));
    });
    return { status, killed, log: captured };
  };

  it('is in order on a signal', async () => {
    const { status, killed, log } = await endBy(({ onSignal }) => onSignal('SIGTERM'));
    expect({ status, killed }).to.deep.equal({ status: 0, killed: 0 });
    expect(log.messages('info')).to.deep.equal(['SIGTERM: stopping', 'stopped']);
  });

  it('comes when the time is up, with the helpers killed', async () => {
    const { status, killed, log } = await endBy(({ onSignal }) => onSignal('SIGINT'), { close: () => never });
    expect({ status, killed }).to.deep.equal({ status: 0, killed: 1 });
    expect(log.messages('warn').join()).to.match(/^stopped after 0.02 s with work left, .*; 3 helpers were killed$/);
  });

  it('comes at once on the second signal', async () => {
    const twice = ({ onSignal }: ReturnType<typeof createShutdown>) => {
      onSignal('SIGTERM');
      onSignal('SIGINT');
    };
    const { status, killed } = await endBy(twice, { close: () => never, timeoutMs: () => 1_000 });
    expect({ status, killed }).to.deep.equal({ status: 1, killed: 1 });
  });

  it('comes with status 1 when the closing fails', async () => {
    const close = () => Promise.reject(new Error('no disk'));
    const { status, log } = await endBy(({ onSignal }) => onSignal('SIGTERM'), { close });
    expect(status).to.equal(1);
    expect(log.messages('error')).to.deep.equal(['stopped, not in order']);
  });

  for (const [how, act, said] of [
    ['on an error that nobody has caught', 'onUncaught', 'an error that nobody has caught'],
    ['where the database has failed', 'onStoreFailed', 'the database cannot be written any more'],
  ] as const) {
    it(`comes with status 1, and the stack in the log, ${how}`, async () => {
      const { status, killed, log } = await endBy((shutdown) => shutdown[act](new Error('a mistake')));
      expect({ status, killed }).to.deep.equal({ status: 1, killed: 1 });
      expect(log.messages('error')).to.deep.equal([`${said}: the daemon ends`]);
    });
  }
});

describe('a daemon that is to end', function () {
  this.timeout(60_000);
  let site: Site;
  beforeEach(() => {
    site = openSite();
  });
  afterEach(() => site.close());

  it('ends within its time when the hypervisor does not answer, and at once on the second signal', async () => {
    for (const [timeout, again] of [
      ['200ms', false],
      ['1h', true],
    ] as const) {
      site.configure(`shutdown-timeout = ${timeout}`, 'backend-timeout = 1h');
      const daemon = await site.start();
      const pid = site.hypervisor() as number;
      process.kill(pid, 'SIGSTOP');
      try {
        const secret = fs.readFileSync(path.join(site.stateDir, 'pool-secret'), 'utf8').trim();
        const client = createRpcClient(`${daemon.url}/services/xenops`);
        client.json('state', [secret]).catch(() => undefined);
        const stopping = daemon.end('SIGTERM');
        await site.logged(/SIGTERM: stopping/);
        if (again) process.kill(daemon.pid, 'SIGINT');
        const { status } = await stopping;
        expect(status).to.be.oneOf(again ? [0, 1] : [0]);
        client.close();
      } finally {
        process.kill(pid, 'SIGCONT');
      }
    }
  });

  it('ends a helper that is stopped, and then in order', async () => {
    const pids = path.join(site.directory, 'pids');
    const script = path.join(site.directory, 'emu');
    fs.writeFileSync(script, `#!/bin/sh\necho $$ >> ${pids}\nkill -STOP $$\n`, { mode: 0o755 });
    site.configure(`emu-manager = ${script}`, 'helper-stop-timeout = 100ms');
    const daemon = await site.start();
    const secret = fs.readFileSync(path.join(site.stateDir, 'pool-secret'), 'utf8').trim();
    const client = createRpcClient(`${daemon.url}/services/xenops`);
    const domain = testDomain();
    await client.json('start', [secret, domain, false]);
    client.json('suspend', [secret, domain.uuid]).catch(() => undefined);
    const pid = await eventually(
      () => (fs.existsSync(pids) && Number.parseInt(fs.readFileSync(pids, 'utf8'), 10)) || undefined,
    );
    const { status } = await daemon.end('SIGTERM');
    client.close();
    expect(status).to.equal(0);
    expect(processExists(pid)).to.equal(false);
    expect(site.log()).to.match(/ stopped$/m);
  });

  it('removes its pidfile when it cannot start', async () => {
    const taken = net.createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const pidfile = path.join(site.directory, 'pid');
    site.configure(`port = ${(taken.address() as net.AddressInfo).port}`, `pidfile = ${pidfile}`);
    const { status, stderr } = await site.run('--config', site.configFile);
    expect(status).to.equal(1);
    expect(stderr).to.contain('EADDRINUSE');
    expect(fs.existsSync(pidfile)).to.equal(false);
    taken.close();
  });
});
