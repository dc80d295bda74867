/** Where xe connects to, with something that listens where it must not: at the port that a URL has by default. */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';
import { type FakeXapi, secret, startFakeXapi } from './fake-xapi.js';
import { database } from './xe-harness.js';

const program = fileURLToPath(new URL('../../src/cli/xe.js', import.meta.url));

describe('xe and the name of its server', () => {
  // An address that nothing else uses, so that port 80 of it is free.
  const address = `127.${randomInt(1, 255)}.${randomInt(1, 255)}.${randomInt(2, 255)}`;
  let server: FakeXapi;
  let port: string;
  let decoy: net.Server;
  let touched = 0;
  before(async () => {
    server = await startFakeXapi(database(), {}, address);
    port = new URL(server.url).port;
    decoy = net.createServer((socket) => {
      touched += 1;
      socket.destroy();
    });
    // Where port 80 is for others alone there is nobody to be told a password.
    await once(decoy.listen(80, address), 'listening').catch(() => undefined);
  });
  after(async () => {
    await server.close();
    decoy.close();
  });
  const xe = (...args: string[]) => execa(process.execPath, [program, ...args, '-pw', secret], { reject: false });
  const list = ['vm-list', 'params=name-label', '--minimal'];

  for (const form of [
    'URL',
    'URL/',
    'URL/jsonrpc',
    'URL?x=y',
    'URL#x',
    'HOST:PORT',
    'HOST:PORT/jsonrpc',
    'HOST:PORT?x',
  ]) {
    it(`asks the server that ${form} names`, async () => {
      const named = form.replace('URL', server.url).replace('HOST', address).replace('PORT', port);
      const { exitCode, stdout, stderr } = await xe('-s', named, ...list);
      expect({ exitCode, stderr }).to.deep.equal({ exitCode: 0, stderr: '' });
      expect(stdout).to.include('web');
      expect(touched).to.equal(0);
    });
  }

  it('asks it at the port of -p', async () => {
    expect((await xe('-s', address, '-p', port, ...list)).stdout).to.include('web');
    expect(touched).to.equal(0);
  });

  const refused: [what: string, args: (port: string) => string[]][] = [
    ...['abc', '99999', '-1', '', '1e3', '0', '80x', ' 80'].map((bad): [string, (port: string) => string[]] => [
      `-p '${bad}'`,
      () => ['-s', address, '-p', bad, ...list],
    ]),
    ['a port of a URL that is none', () => ['-s', `http://${address}:port/jsonrpc`, ...list]],
    ['a port that is empty', () => ['-s', `http://${address}:`, ...list]],
    ['a port that is too large', () => ['-s', `${address}:65616`, ...list]],
    [
      'a bad port of remote-master=',
      (good) => [
        ...['-s', `${address}:${good}`, 'vm-migrate', 'vm=web', `remote-master=http://${address}:65616`],
        ...['remote-username=root', 'remote-password=x'],
      ],
    ],
  ];
  for (const [what, args] of refused) {
    it(`refuses ${what} before anything is sent`, async () => {
      const { exitCode, stdout, stderr } = await xe(...args(port));
      expect({ exitCode, stdout }).to.deep.equal({ exitCode: 1, stdout: '' });
      expect(stderr).to.match(/is no port; allowed: 1 to 65535/);
      expect(touched).to.equal(0);
    });
  }

  it('asks the pool that remote-master= names at its port', async () => {
    const before = server.calls.length;
    const there = ['remote-username=root', `remote-password=${secret}`, `remote-master=${server.url}/jsonrpc`];
    await xe('-s', `${address}:${port}`, 'vm-migrate', 'vm=web', ...there);
    const logins = server.calls.slice(before).filter(({ method }) => method === 'host.migrate_receive');
    expect(logins).to.have.length(1);
    expect(touched).to.equal(0);
  });
});
