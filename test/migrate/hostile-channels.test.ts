import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { expect } from 'chai';
import { openChannel, xenopsPath } from '../../src/wire/connection/channel.js';
import { encodeError, encodeSuccess, recvHandshake } from '../../src/wire/connection/handshake.js';
import type { RawSocket } from '../../src/wire/connection/raw-socket.js';
import { expectNothingLeft, type FakeSource, openFakeSource } from '../support/fake-source.js';
import { migrate, openTestHost, requestTo, type TestHost, testDomain } from '../support/hosts.js';
import { childProcesses } from '../wire/connection/connections.js';

const secret = 'the secret of the pool';

describe('A host with hostile callers', function () {
  this.timeout(30_000);
  let host: TestHost;
  let source: FakeSource;
  let children: Set<number>;
  const sockets: RawSocket[] = [];
  const small = { memoryBytes: 1 << 20, workload: { dirtyPagesPerSecond: 0, workingSet: 0.1 } };

  before(async () => {
    host = await openTestHost();
    children = childProcesses();
  });
  after(() => host.close());
  beforeEach(async () => {
    source = await openFakeSource(host, testDomain({ ...small, vgpus: ['3'] }));
  });
  afterEach(async () => {
    const { migrationId, reply } = source;
    expect(await host.engine.destination.settle(migrationId, reply.token)).to.be.oneOf(['refused', 'unknown']);
    await host.engine.destination.acknowledge(migrationId, reply.token);
    source.close();
    for (const socket of sockets.splice(0)) socket.destroy();
    await expectNothingLeft(host, children);
  });

  const ask = async (method: string, ...params: unknown[]) => {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
    return post(body);
  };
  const post = async (body: string) => {
    const reply = await fetch(`${host.url}${xenopsPath}`, { method: 'POST', body });
    const text = await reply.text();
    return { status: reply.status, text };
  };

  type Attack = () => Promise<RawSocket>;
  const channel = (token: string, cookies: Record<string, string>) => async () => {
    const socket = await openChannel(source.reply.control, token, cookies, 5000);
    sockets.push(socket);
    return socket;
  };
  const refused: [what: string, attack: Attack, says: RegExp][] = [
    [
      'with the token of another migration',
      async () => {
        const another = await openFakeSource(host, testDomain(small));
        const socket = await channel(another.reply.token, { migration_id: source.migrationId })();
        await host.engine.destination.settle(another.migrationId, another.reply.token);
        return socket;
      },
      /session_id is not that of the migration/,
    ],
    [
      'with the token, under another migration_id',
      async () => channel(source.reply.token, { migration_id: randomUUID() })(),
      /no migration is expected/,
    ],
    [
      'with the secret of the pool',
      async () => channel(secret, { migration_id: source.migrationId })(),
      /session_id is not that/,
    ],
    [
      'for a device whose cookie says another',
      async () => source.open('vgpu.3', { vgpu_migration: '4' }),
      /vgpu_migration 4, allowed: 3/,
    ],
    [
      'that is compressed where another is not',
      async () => {
        await source.open('vm');
        return source.open('mem', { compress: 'zstd' });
      },
      /compress=zstd, where an earlier channel has nothing/,
    ],
    [
      'that comes twice',
      async () => {
        await source.open('mem');
        return source.open('mem');
      },
      /such a channel already/,
    ],
    [
      'after the attempt has ended',
      async () => {
        await host.engine.destination.settle(source.migrationId, source.reply.token);
        return source.open('vm');
      },
      /no migration is expected/,
    ],
  ];
  for (const [what, attack, says] of refused) {
    it(`refuses a channel ${what}`, async () => {
      expect(await source.errorOn(await attack())).to.match(says);
    });
  }

  const success = encodeSuccess();
  const points: [what: string, send: (control: RawSocket) => Promise<unknown>, says: RegExp][] = [
    ['1-vgpu ACK before the channel', (control) => control.write(success), /1-vgpu ACK came before it was due/],
    [
      '1-mem ACK behind 1-vgpu ACK',
      async (control) => {
        await recvHandshake(await source.open('vgpu.3'), 5000);
        await control.write(Buffer.concat([success, success]));
        await recvHandshake(control, 5000);
      },
      /1-mem ACK came before it was due/,
    ],
    [
      '3 behind 1-mem ACK, where it waits for 2-restored',
      async (control) => {
        await recvHandshake(await source.open('vgpu.3'), 5000);
        await control.write(success);
        await recvHandshake(control, 5000);
        await recvHandshake(await source.open('mem'), 5000);
        await control.write(Buffer.concat([success, success]));
      },
      /point 3 came before it was due/,
    ],
  ];
  for (const [what, send, says] of points) {
    it(`refuses a source that sends ${what}`, async () => {
      const control = await source.open('vm', { restored_ack: '1' });
      await send(control);
      expect(await source.errorOn(control)).to.match(says);
      expect(await source.ended()).to.equal(false);
    });
  }

  it("ends at once at a source's Error of any length, while it waits for another channel", async () => {
    const control = await source.open('vm');
    await control.write(encodeError('€'.repeat(30_000)));
    expect(await source.ended()).to.equal(false);
    const texts = host.log.records.map((record) => JSON.stringify(record.fields));
    expect(Math.max(...texts.map((text) => text.length))).to.be.lessThan(4000);
  });

  it('waits no longer than its deadline for an Error that never ends', async () => {
    host.configure({ 'migration-step-timeout': '1', 'migration-accept-timeout': '1' });
    const late = await openFakeSource(host, testDomain(small));
    const control = await late.open('vm');
    await control.write(Buffer.from([0xff, 0xff, 0x41]));
    expect(await late.ended()).to.equal(false);
    late.close();
    host.configure({});
  });

  const calls: [what: string, method: string, params: () => unknown[], says: RegExp][] = [
    ['settle with a wrong token', 'settle', () => [source.migrationId, 'x'], /SESSION_INVALID/],
    ['settle without a token', 'settle', () => [source.migrationId], /SESSION_INVALID/],
    ['acknowledge with a wrong token', 'acknowledge', () => [source.migrationId, ''], /SESSION_INVALID/],
    ['digest with a wrong token', 'digest', () => [source.migrationId, '0'.repeat(64)], /SESSION_INVALID/],
    ['digest before there is anything', 'digest', () => [source.migrationId, source.reply.token], /has no domain here/],
    ['settle of an unknown migration', 'settle', () => ['x', 'x'], /unknown/],
    ['settle of what is no text', 'settle', () => [{ a: 1 }, ['x']], /unknown/],
    ['VM.receive without the secret', 'VM.receive', () => ['', 'id', '{}'], /SESSION_AUTHENTICATION_FAILED/],
    ['VM.receive with a token', 'VM.receive', () => [source.reply.token, 'id', '{}'], /SESSION_AUTHENTICATION_FAILED/],
    ['VM.receive with a strange id', 'VM.receive', () => [secret, '../x\n', metadata()], /INVALID_VALUE.*migration_id/],
    [
      'VM.receive of memory beyond the host',
      'VM.receive',
      () => [secret, 'id', metadata(1 << 30, 1 << 20)],
      /NOT_ENOUGH_FREE_MEMORY/,
    ],
    [
      'VM.receive of absurd memory',
      'VM.receive',
      () => [secret, 'id', metadata(Number.MAX_SAFE_INTEGER)],
      /memoryBytes|HOST_NOT_ENOUGH_FREE_MEMORY/,
    ],
    [
      'VM.receive of brackets',
      'VM.receive',
      () => [secret, 'id', '['.repeat(100_000)],
      /INVALID_VALUE","data":\["metadata"/,
    ],
    ['a call that there is not', 'constructor', () => [secret], /MESSAGE_METHOD_UNKNOWN/],
  ];
  const metadata = (memoryBytes = 4096, times = 1) =>
    JSON.stringify({ version: 1, domain: testDomain({ memoryBytes: memoryBytes * times }), vifs: [] });
  for (const [what, method, params, says] of calls) {
    it(`answers ${what} with what is wrong`, async () => {
      const { status, text } = await ask(method, ...params());
      expect(status).to.equal(200);
      expect(text, text).to.match(says);
      expect(text.length).to.be.lessThan(2000);
    });
  }

  const bodies: [what: string, body: string, status: number][] = [
    ['a body beyond the limit', ' '.repeat(400_000), 500],
    ['a body of brackets', '['.repeat(300_000), 500],
    ['a body of nested lists', `{"id":1,"method":"settle","params":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 200],
    ['a body of nested maps', `{"id":1,"method":"x","params":[${'{"a":'.repeat(40_000)}1${'}'.repeat(40_000)}]}`, 200],
    ['deep metadata', JSON.stringify({ id: 1, method: 'VM.receive', params: [secret, 'id', deepRecords()] }), 200],
  ];
  for (const [what, body, status] of bodies) {
    it(`refuses ${what}, and serves on`, async () => {
      const answer = await post(body);
      expect(answer.status).to.equal(status);
      if (status === 200) expect(answer.text).to.match(/"error":\[/);
      expect((await ask('settle', 'x', 'x')).text).to.contain('unknown');
    });
  }

  it('lets a good migration through past a thousand idle connections', async () => {
    const idle: net.Socket[] = [];
    const { port } = new URL(host.url);
    for (let count = 0; count < 1100; count += 1) {
      const socket = net.connect(Number(port), '127.0.0.1').on('error', () => undefined);
      idle.push(socket);
      await once(socket, 'connect');
      if (count % 2 === 0) socket.write('PUT /migrate/');
    }
    const domain = testDomain(small);
    await host.engine.service.start(domain, false);
    expect((await migrate(host, requestTo(host, domain, false))).status).to.equal('success');
    await host.engine.service.shutdown(domain.uuid, false);
    for (const socket of idle) socket.destroy();
  });
});

/** Metadata that is right but for records that are nested as deep as a body can hold. */
function deepRecords(): string {
  const good = JSON.stringify({ version: 1, domain: testDomain(), vifs: [] });
  return `${good.slice(0, -1)},"records":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
}
