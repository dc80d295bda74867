import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { expect } from 'chai';
import { nullLog } from '../../../src/base/log.js';
import { openChannel } from '../../../src/wire/connection/channel.js';
import { createListener } from '../../../src/wire/connection/listener.js';
import { openConnections } from './connections.js';

/**
 * For each open end of the connections with this port: in how many seconds TCP asks for the other; undefined where it
 * never does.
 */
function asksIn(port: number): (number | undefined)[] {
  const name = `:${port.toString(16).toUpperCase().padStart(4, '0')} `;
  return readFileSync('/proc/net/tcp', 'latin1')
    .split('\n')
    .filter((line) => line.includes(name) && line.includes(' 01 '))
    .map((line) => / 02:([0-9A-F]{8}) /.exec(line)?.[1])
    .map((ticks) => (ticks === undefined ? undefined : Number.parseInt(ticks, 16) / 100));
}

describe('TCP keep-alive on migration channels', () => {
  const connections = openConnections();
  afterEach(connections.close);
  const channelAt = (port: number) => `http://127.0.0.1:${port}/migrate/vm/12345678-1234-4123-8123-123456789abc`;

  for (const [what, keepAliveMs, most] of [
    ['the configured time', 90_000, 90],
    ['a second, where less is configured', 10, 1],
  ] as const) {
    it(`begins after ${what}, at both ends`, async () => {
      let deliver: () => void = () => undefined;
      const arrived = new Promise<void>((resolve) => {
        deliver = resolve;
      });
      const listener = createListener({
        log: nullLog,
        keepAliveMs: () => keepAliveMs,
        onRequest: () => undefined,
        onChannel(_head, socket) {
          connections.keep(socket);
          deliver();
        },
      });
      const port = await listener.listen(0, '127.0.0.1');
      connections.keep(await openChannel(channelAt(port), 'token', {}, 5_000, keepAliveMs));
      await arrived;
      const [near, far] = asksIn(port);
      expect(near).to.be.within(0, most);
      expect(far).to.be.within(0, most);
      connections.close();
      await listener.close();
    });
  }

  it('is not asked for where no time is given', async () => {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const accepted = once(server, 'connection');
    const { port } = server.address() as net.AddressInfo;
    connections.keep(await openChannel(channelAt(port), 'token', {}, 5_000));
    const [socket] = (await accepted) as [net.Socket];
    expect(asksIn(port)).to.deep.equal([undefined, undefined]);
    socket.destroy();
    server.close();
  });
});
