import net from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';
import { login } from '../../../src/cli/client/xapi-client.js';
import { type LocalPools, startLocalPool } from '../../../src/cli/local-pool/local-pool.js';

const xe = fileURLToPath(new URL('../../../src/cli/xe/main.js', import.meta.url));

describe('pools whose hosts have a loopback address each', function () {
  this.timeout(60_000);
  let running: LocalPools;
  /** Of each host, pool after pool. */
  let urls: URL[];
  let port: string;
  before(async () => {
    running = await startLocalPool({ hosts: 2, vms: 1, memory: 2 ** 23, pools: 2, loopbackPerHost: true });
    urls = running.pools.flatMap(({ hosts }) => hosts.map(({ url }) => new URL(url)));
    port = urls[0]?.port as string;
  });
  after(() => running?.stop());

  it('have one port, and addresses from 127.0.0.2 on', () => {
    const addresses = ['127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.5'];
    expect(urls.map(({ host }) => host)).to.deep.equal(addresses.map((address) => `${address}:${port}`));
  });

  it('are reached by the address of a host and the port that a client knows already', async () => {
    for (const { credentials, hosts } of running.pools) {
      const session = await login(credentials, 'test');
      const records = await session.call<Record<string, { uuid: string; address: string }>>('host.get_all_records');
      await session.logout();
      for (const { uuid, address } of Object.values(records)) {
        const { url } = hosts.find((host) => host.uuid === uuid) ?? {};
        expect(`http://${address}:${port}`).to.equal(url);
        // A member names its coordinator by the address alone.
        const there = await login({ ...credentials, url: `http://${address}:${port}` }, 'test');
        expect(there.url).to.equal(credentials.url);
        await there.logout();
      }
    }
  });

  it('migrate VMs within their pool, as xe is told at either address', async () => {
    const [pool] = running.pools;
    const [vm, member] = [pool?.vms[0]?.name, pool?.hosts[1]?.name];
    const at = (address: string, ...args: string[]) => {
      const { username, password } = pool?.credentials ?? {};
      return execa(process.execPath, [
        xe,
        '-s',
        address,
        '-p',
        port,
        '-u',
        `${username}`,
        '-pw',
        `${password}`,
        ...args,
      ]);
    };
    await at('127.0.0.2', 'vm-migrate', `vm=${vm}`, `host=${member}`);
    const { stdout } = await at('127.0.0.3', 'vm-list', `name-label=${vm}`, 'params=resident-on', '--minimal');
    expect(stdout).to.equal(pool?.hosts[1]?.uuid);
  });

  it('take a port that is given, and say where it is taken at one of the addresses', async () => {
    const server = net.createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.3', resolve));
    const taken = (server.address() as net.AddressInfo).port;
    const options = { hosts: 2, vms: 0, memory: 2 ** 20, port: taken, loopbackPerHost: true };
    const said = await startLocalPool(options).catch((error: Error) => error.message);
    server.close();
    expect(said).to.match(/the daemon of host2 ended .*\n.*EADDRINUSE: address already in use 127\.0\.0\.3/);
  });
});
