import type http from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { SimulatedSpec } from '../../src/base/protocol/hypervisor-protocol.js';
import { encodeReply } from '../../src/migrate/metadata.js';
import { temporaryUuid } from '../../src/migrate/protocol.js';
import { type ChannelHead, channelUrl } from '../../src/wire/connection/channel.js';
import { encodeError } from '../../src/wire/connection/handshake.js';
import { createListener, type Listener } from '../../src/wire/connection/listener.js';
import type { RawSocket } from '../../src/wire/connection/raw-socket.js';
import { migrate, openTestHost, requestTo, type TestHost, testDomain } from '../support/hosts.js';
import { captureLog } from '../support/log.js';
import { childProcesses, readAll } from '../wire/connection/connections.js';

const success = Buffer.alloc(2);

/** What a destination says and does; each part that is left out is as it ought to be. */
interface Lies {
  /** The answer to VM.receive, as the body of an HTTP response, from the good one. */
  readonly reply?: (good: Record<string, string>) => unknown;
  readonly raw?: (response: http.ServerResponse) => void;
  readonly restoredAck?: boolean;
  readonly accepts?: readonly string[];
  readonly control?: (socket: RawSocket) => Promise<unknown>;
  readonly memory?: (socket: RawSocket, control: RawSocket) => Promise<unknown>;
}

describe('A source whose destination lies', function () {
  this.timeout(60_000);
  let source: TestHost;
  let honest: TestHost;
  let liar: Listener;
  let base: string;
  let domain: SimulatedSpec;
  let lies: Lies;
  let control: RawSocket | undefined;
  let children: Set<number>;
  let heads: ChannelHead[];
  const sockets: RawSocket[] = [];

  const replyFor = (uuid: string) => {
    const temporary = temporaryUuid(uuid);
    return encodeReply({
      control: channelUrl(base, 'vm', temporary),
      memory: channelUrl(base, 'mem', temporary),
      vgpu: {},
      token: 'token',
      accepts: lies.accepts ?? [],
      restoredAck: lies.restoredAck ?? true,
    });
  };
  const onRequest = async (request: http.IncomingMessage, response: http.ServerResponse) => {
    const { id, method } = JSON.parse(String(await readAll(request))) as { id: unknown; method: string };
    if (method === 'VM.receive' && lies.raw !== undefined) return lies.raw(response);
    const good = replyFor(domain.uuid);
    const result = method === 'VM.receive' ? (lies.reply ?? ((same) => same))(good) : 'refused';
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ jsonrpc: '2.0', id, result: JSON.stringify(result) }));
  };
  const onChannel = async (head: ChannelHead, socket: RawSocket) => {
    heads.push(head);
    sockets.push(socket);
    if (head.kind === 'vm') {
      control = socket;
      await (lies.control ?? ((to) => to.write(success)))(socket);
    } else await (lies.memory ?? drain)(socket, control as RawSocket);
  };

  before(async () => {
    [source, honest] = await Promise.all([
      openTestHost({ options: { 'migration-step-timeout': '2' } }),
      openTestHost(),
    ]);
    liar = createListener({
      log: captureLog().log,
      onRequest: (request, response) => void onRequest(request, response).catch(() => response.destroy()),
      onChannel: (head, socket) => void onChannel(head, socket).catch(() => undefined),
    });
    base = `http://127.0.0.1:${await liar.listen(0, '127.0.0.1')}/services/xenops`;
    domain = testDomain({ memoryBytes: 4 << 20, workload: { dirtyPagesPerSecond: 10, workingSet: 0.1 } });
    await source.engine.service.start(domain, false);
    children = childProcesses();
  });
  after(async () => {
    await liar.close();
    await Promise.all([source.close(), honest.close()]);
  });
  beforeEach(() => {
    heads = [];
    control = undefined;
  });
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
  });

  const request = (compress = false) => {
    const to = requestTo(honest, domain, compress);
    return { ...to, destination: { kind: 'pool' as const, hostUuid: honest.uuid, url: new URL(base).origin } };
  };
  const drain = async (socket: RawSocket, _control: RawSocket) => {
    await socket.write(success);
    for (;;) await socket.read(1 << 16);
  };
  /** All of the image, and then this on the control channel. */
  const whole = (last: Buffer) => async (socket: RawSocket, to: RawSocket) => {
    await drain(socket, to).catch(() => undefined);
    await to.write(last);
  };
  const early = (bytes: Buffer) => async (socket: RawSocket, to: RawSocket) => {
    await socket.write(success);
    await to.write(bytes);
    for (;;) await socket.read(1 << 16);
  };

  const other = (part: string, value: unknown) => ({ reply: (good: object) => ({ ...good, [part]: value }) });
  const twoPoints = Buffer.concat([success, success]);
  const rows: [what: string, lies: Lies, says: RegExp][] = [
    ['that answers no JSON', { raw: (response) => response.end('<html>') }, /VM\.receive at http/],
    ['that answers without end', { raw: flood }, /the answer is longer than 1048576 bytes/],
    [
      'that breaks off its answer',
      { raw: (response) => breakOff(response) },
      /ended within the answer|hang up|aborted/,
    ],
    ['that answers something else', { reply: () => 7 }, /VM\.receive/],
    ['that answers brackets', { reply: () => JSON.parse('['.repeat(5000) + ']'.repeat(5000)) }, /VM\.receive/],
    ['that gives no token', other('token', undefined), /token/],
    ['whose token is a head', other('token', 'x\r\n\r\n'), /token/],
    ['whose channels are at another host', other('memory', 'http://192.0.2.1/migrate/mem/x'), /VM\.receive\.memory/],
    ['whose channels are no channels', other('control', 'http://127.0.0.1:22/'), /VM\.receive\.control/],
    ['whose channels are files', other('control', 'file:///etc/passwd'), /control/],
    ['that refuses at length', { control: (to) => to.write(encodeError('x'.repeat(65_535))) }, /x{1000}/],
    [
      'that begins an Error and stops',
      { control: (to) => to.write(Buffer.from([255, 255, 1])) },
      /no synchronisation point 1 within 2 s/,
    ],
    ['that says half a point', { control: (to) => to.write(Buffer.of(0)) }, /no synchronisation point 1 within 2 s/],
    ['that says nothing', { control: async () => undefined }, /no synchronisation point 1 within 2 s/],
    [
      'that says nothing on the memory channel',
      { memory: async () => undefined },
      /no synchronisation point 1-mem within 2 s/,
    ],
    ['that refuses in control characters', { control: (to) => to.write(encodeError('\0\x1b[2J\r\n]]>')) }, /\[2J/],
    [
      'that sends 1 and 2-restored at once',
      { control: (to) => to.write(twoPoints) },
      /2-restored came before it was due/,
    ],
    ['that sends 2-restored while the VM is copied', { memory: early(success) }, /2-restored came before it was due/],
    [
      'that sends 4 while the VM is copied, without 2-restored',
      { restoredAck: false, memory: early(success) },
      /synchronisation point 4 came before it was due/,
    ],
    [
      'that sends 2-restored and 4 at once',
      { memory: whole(twoPoints) },
      /synchronisation point 4 came before it was due/,
    ],
    [
      'that announces 2-restored and never sends it',
      { memory: whole(Buffer.alloc(0)) },
      /no synchronisation point 2-restored within 2 s/,
    ],
    ['that refuses the image', { memory: whole(encodeError('no')) }, /(restore|copy), destination: no/],
    [
      'that closes in place of 2-restored',
      { memory: async (m, c) => whole(Buffer.alloc(0))(m, c).then(() => c.destroy()) },
      /closed|ECONNRESET/,
    ],
    [
      'that never reads the image',
      {
        memory: (memory) =>
          memory
            .write(success)
            .then(() => delay(200))
            .then(() => memory.destroy()),
      },
      /./,
    ],
  ];
  for (const [what, how, says] of rows) {
    it(`goes on with the VM: one ${what}`, async () => {
      lies = how;
      const outcome = await migrate(source, request());
      expect(outcome.status).to.equal('failure');
      const text = 'error' in outcome ? [outcome.error.code, ...outcome.error.params].join(' ') : '';
      expect(text, text).to.match(says);
      expect(text.length).to.be.lessThan(3000);
      const [here, ...more] = await source.simulator.list();
      expect(more).to.deep.equal([]);
      expect(here).to.include({ uuid: domain.uuid, state: 'running' });
      expect(here?.inDoubt).to.equal(undefined);
      expect([...childProcesses()].filter((pid) => !children.has(pid))).to.deep.equal([]);
    });
  }

  it('falls back to the zstd pipe for one that accepts formats that nobody knows', async () => {
    lies = { accepts: ['inline-zstd/99', 'magic', ''], memory: whole(encodeError('enough')) };
    source.configure({ 'migration-compressor': 'xenguest', 'migration-step-timeout': '2' });
    expect((await migrate(source, request(true))).status).to.equal('failure');
    expect(heads.map(({ cookies }) => cookies.compress)).to.deep.equal(['zstd', 'zstd']);
    source.configure({});
  });

  it('migrates to an honest one afterwards', async () => {
    const outcome = await migrate(source, requestTo(honest, domain, false));
    expect(outcome.status).to.equal('success');
  });
});

function flood(response: http.ServerResponse): void {
  const chunk = Buffer.alloc(1 << 16, 0x20);
  const write = () => {
    while (!response.destroyed) if (!response.write(chunk)) return void response.once('drain', write);
  };
  write();
}

function breakOff(response: http.ServerResponse): void {
  response.setHeader('content-length', '1000');
  response.write('{"jsonrpc"');
  setImmediate(() => response.destroy());
}
