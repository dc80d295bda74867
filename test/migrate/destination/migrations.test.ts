import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import type { SimulatedSpec } from '../../../src/base/protocol/hypervisor-protocol.js';
import type { ReceiveReply } from '../../../src/migrate/metadata.js';
import { temporaryUuid } from '../../../src/migrate/protocol.js';
import { openChannel } from '../../../src/wire/connection/channel.js';
import { encodeSuccess, PeerError, recvHandshake } from '../../../src/wire/connection/handshake.js';
import type { RawSocket } from '../../../src/wire/connection/raw-socket.js';
import { openTestHost, type TestHost, testDomain } from '../../support/hosts.js';

const waitMs = 10_000;

describe('A destination', function () {
  this.timeout(30_000);
  let host: TestHost;
  let domain: SimulatedSpec;
  let migrationId: string;
  const sockets: RawSocket[] = [];

  before(async () => {
    host = await openTestHost();
  });
  after(() => host.close());
  beforeEach(() => {
    host.configure({});
    domain = testDomain();
    migrationId = randomUUID();
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    for (const { handle } of await host.simulator.list()) await host.simulator.destroy(handle);
  });

  const receive = (id = migrationId, of = domain) =>
    host.engine.service.receive({ migrationId: id, metadata: { version: 1, domain: of, vifs: [] } });
  const open = async (url: string, session: string, cookies: Record<string, string> = {}) => {
    const socket = await openChannel(url, session, { migration_id: migrationId, ...cookies }, waitMs);
    sockets.push(socket);
    return socket;
  };
  const rejection = async (work: Promise<unknown>): Promise<string> => {
    try {
      await work;
    } catch (error) {
      return (error as Error).message;
    }
    return expect.fail('it was not refused');
  };
  const isFree = async () => {
    const { total, free } = await host.simulator.memory();
    expect(free).to.equal(total);
  };

  it('promises the memory before it answers, and gives it back when it refuses', async () => {
    const { token } = await receive();
    const { total, free } = await host.simulator.memory();
    expect(total - free).to.equal(domain.memoryBytes);
    expect(await host.engine.destination.settle(migrationId, token)).to.equal('refused');
    await isFree();
  });

  it('answers the same migration_id with the same reply', async () => {
    const first = await receive();
    expect(await receive()).to.deep.equal(first);
    await host.engine.destination.settle(migrationId, first.token);
  });

  it('refuses an attempt for good of which it is asked before it has heard of it, and no other', async () => {
    const { service } = host.engine;
    expect(await service.refuseUnknown(migrationId, domain.uuid)).to.equal('refused');
    expect(await rejection(receive())).to.include(`migration ${migrationId} was refused`);
    const next = randomUUID();
    const { token } = await receive(next);
    expect(await service.refuseUnknown(next, domain.uuid)).to.equal('open');
    expect(await host.engine.destination.settle(next, token)).to.equal('refused');
    expect(await service.refuseUnknown(next, domain.uuid)).to.equal('refused');
    await isFree();
  });

  it('refuses the migration_id of another VM, also where both come at once, and once that has ended', async () => {
    const other = { ...domain, uuid: randomUUID() };
    const receiveOther = () =>
      host.engine.destination.receive({ migrationId, metadata: { version: 1, domain: other, vifs: [] } });
    const [{ token }, ...refused] = await Promise.all([receive(), rejection(receiveOther())]);
    expect(refused).to.deep.equal([`INVALID_VALUE migration_id ${migrationId}`]);
    expect(await rejection(receiveOther())).to.equal(refused[0]);
    expect(await rejection(host.engine.destination.assertTurn(migrationId, other.uuid))).to.equal(refused[0]);
    expect(await host.engine.destination.expects(migrationId, token)).to.equal(true);
    await host.engine.destination.settle(migrationId, token);
    expect(await host.engine.destination.expects(migrationId, token)).to.equal(false);
    expect(await rejection(receiveOther())).to.equal(refused[0]);
    expect(await rejection(host.engine.destination.assertTurn(migrationId, domain.uuid))).to.match(/was refused/);
    await isFree();
  });

  it('refuses an older attempt for the same VM when a newer one comes', async () => {
    const older = await receive();
    const newer = randomUUID();
    const reply = await receive(newer);
    expect(reply.token).to.not.equal(older.token);
    expect(await host.engine.destination.settle(migrationId, older.token)).to.equal('refused');
    expect(await rejection(receive())).to.match(/was refused/);
    expect(await host.engine.destination.settle(newer, reply.token)).to.equal('refused');
    await isFree();
  });

  it('answers settle the same way for good, and forgets once it is acknowledged', async () => {
    const { token } = await receive();
    expect(await host.engine.destination.settle(migrationId, token)).to.equal('refused');
    expect(await host.engine.destination.settle(migrationId, token)).to.equal('refused');
    await host.engine.destination.acknowledge(migrationId, token);
    expect(await host.engine.destination.settle(migrationId, token)).to.equal('unknown');
  });

  it('tells nothing to who has another token', async () => {
    const { token } = await receive();
    expect(await rejection(host.engine.destination.settle(migrationId, 'x'))).to.match(/SESSION_INVALID/);
    expect(await rejection(host.engine.destination.digest(migrationId, 'x'))).to.match(/SESSION_INVALID/);
    await host.engine.destination.settle(migrationId, token);
  });

  it('refuses by itself when no channel comes in time', async () => {
    host.configure({ 'migration-accept-timeout': '1' });
    const { token } = await receive();
    const ended = await receiveEnded(host, migrationId);
    expect(ended.taken).to.equal(false);
    expect(await host.engine.destination.settle(migrationId, token)).to.equal('refused');
    await isFree();
  });

  it('refuses a second migration under the temporary uuid of another VM', async () => {
    const { token } = await receive();
    await (await openControl(await receive())).read(2, waitMs);
    const twin = { ...domain, uuid: `${domain.uuid.slice(0, 24)}0123456789ab` };
    expect(temporaryUuid(twin.uuid)).to.equal(temporaryUuid(domain.uuid));
    expect(await rejection(receive(randomUUID(), twin))).to.match(/temporary uuid .* is in use/);
    await host.engine.destination.settle(migrationId, token);
    await isFree();
  });

  const openControl = (reply: ReceiveReply) => open(reply.control, reply.token);

  type Attack = (reply: ReceiveReply) => Promise<RawSocket>;
  const attacks: [what: string, attack: Attack, says: RegExp][] = [
    ['another session', (reply) => open(reply.control, 'OpaqueRef:x'), /session_id is not that/],
    ['no migration_id', (reply) => open(reply.control, reply.token, { migration_id: '' }), /no migration is expected/],
    ['an unknown migration_id', (reply) => open(reply.control, reply.token, { migration_id: 'x' }), /no migration/],
    [
      'the uuid of another VM',
      (reply) => open(reply.control.replace(/[0-9a-f]{8}-/, '00000000-'), reply.token),
      /the migration is of/,
    ],
    [
      'a vGPU that the VM lacks',
      (reply) => open(`${reply.control.replace('/vm/', '/vgpu/')}.7`, reply.token),
      /has no vGPU 7/,
    ],
    [
      'an unknown codec',
      (reply) => open(reply.memory, reply.token, { compress: 'gzip' }),
      /compress=gzip, allowed: zstd/,
    ],
    ['an unknown version', (reply) => open(reply.memory, reply.token, { mem_migration: '9' }), /mem_migration 9/],
    [
      'the id of another VM',
      (reply) => open(reply.control, reply.token, { final_id: 'x' }),
      /final_id x, allowed: [0-9a-f-]+/,
    ],
    [
      'other memory',
      (reply) => open(reply.control, reply.token, { memory_limit: '1' }),
      /memory_limit 1, allowed: \d+/,
    ],
    ['a token that is cut', (reply) => open(reply.control, reply.token.slice(0, -1)), /session_id is not that/],
    ['no token', (reply) => open(reply.control, ''), /session_id is not that/],
  ];
  for (const [what, attack, says] of attacks) {
    it(`tells a channel with ${what} why it is refused, and waits on for the right one`, async () => {
      const reply = await receive();
      const refused = await attack(reply);
      expect(await rejection(recvHandshake(refused, waitMs))).to.match(says);
      await refused.readEnd(waitMs);
      const control = await openControl(reply);
      await recvHandshake(control, waitMs);
      await host.engine.destination.settle(migrationId, reply.token);
      await isFree();
    });
  }

  it('refuses a second control channel and keeps the first', async () => {
    const reply = await receive();
    const first = await openControl(reply);
    await recvHandshake(first, waitMs);
    const second = await openControl(reply);
    expect(await rejection(recvHandshake(second, waitMs))).to.match(/such a channel already/);
    await host.engine.destination.settle(migrationId, reply.token);
    expect(await rejection(recvHandshake(first, waitMs))).to.match(/settled/);
  });

  it("takes the source's Error at any point as the end", async () => {
    const reply = await receive();
    const control = await openControl(reply);
    await recvHandshake(control, waitMs);
    const memory = await open(reply.memory, reply.token);
    await recvHandshake(memory, waitMs);
    await control.write(Buffer.from([0, 3, 0x62, 0x61, 0x64]));
    expect((await receiveEnded(host, migrationId)).taken).to.equal(false);
    expect(await host.simulator.list()).to.deep.equal([]);
    await isFree();
  });

  it('refuses point 3 before 2-restored from a source that waits for it', async () => {
    const reply = await receive();
    const control = await open(reply.control, reply.token, { restored_ack: '1' });
    await recvHandshake(control, waitMs);
    const memory = await open(reply.memory, reply.token);
    await recvHandshake(memory, waitMs);
    await control.write(encodeSuccess());
    await control.write(encodeSuccess());
    const error = await recvHandshake(control, waitMs).catch((reason: unknown) => reason);
    expect(error)
      .to.be.instanceOf(PeerError)
      .with.property('message')
      .that.matches(/point 3 came before it was due/);
    await receiveEnded(host, migrationId);
    await isFree();
  });

  it('refuses what is no suspend image', async () => {
    const reply = await receive();
    const control = await openControl(reply);
    await recvHandshake(control, waitMs);
    const memory = await open(reply.memory, reply.token);
    await recvHandshake(memory, waitMs);
    await control.write(encodeSuccess());
    await memory.write(Buffer.alloc(1 << 20, 0x58));
    expect(await rejection(recvHandshake(control, waitMs))).to.match(/not a suspend image/);
    await receiveEnded(host, migrationId);
    await isFree();
  });
});

/** Wait until a host has said how an attempt ended. */
async function receiveEnded(host: TestHost, migrationId: string): Promise<{ taken: boolean }> {
  for (let since = 0; ; ) {
    const { events, next } = await host.engine.service.events(since, 10);
    for (const event of events) if (event.kind === 'receive-ended' && event.migrationId === migrationId) return event;
    since = next;
  }
}
