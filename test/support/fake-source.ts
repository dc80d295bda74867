/** A source that does what a test tells it, at a real host; and images for it to send. */
import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import type { SimulatedSpec } from '../../src/base/protocol/hypervisor-protocol.js';
import type { ReceiveReply } from '../../src/migrate/metadata.js';
import { openChannel } from '../../src/wire/connection/channel.js';
import { encodeSuccess, PeerError, recvHandshake } from '../../src/wire/connection/handshake.js';
import type { RawSocket } from '../../src/wire/connection/raw-socket.js';
import { encodeHeader, encodeSignature, encodeXenops } from '../../src/wire/stream/suspend-image.js';
import { childProcesses } from '../wire/connection/connections.js';
import type { TestHost } from './hosts.js';

const waitMs = 15_000;

export interface FakeSource {
  readonly migrationId: string;
  readonly reply: ReceiveReply;
  /** @param kind `vm`, `mem` or `vgpu` with a device */
  open(kind: 'vm' | 'mem' | `vgpu.${string}`, cookies?: Record<string, string>): Promise<RawSocket>;
  /** Up to point 1-mem ACK. */
  connect(cookies?: Record<string, string>): Promise<{ control: RawSocket; memory: RawSocket }>;
  /** The Error that the destination sends in place of its next point. */
  errorOn(channel: RawSocket): Promise<string>;
  /** Whether the destination has taken the VM. */
  ended(): Promise<boolean>;
  close(): void;
}

/** VM.receive at the host, by its engine. */
export async function openFakeSource(host: TestHost, domain: SimulatedSpec): Promise<FakeSource> {
  const migrationId = randomUUID();
  const reply = await host.engine.service.receive({ migrationId, metadata: { version: 1, domain, vifs: [] } });
  const sockets: RawSocket[] = [];
  const open: FakeSource['open'] = async (kind, cookies = {}) => {
    const url = kind === 'vm' ? reply.control : kind === 'mem' ? reply.memory : (reply.vgpu[kind.slice(5)] as string);
    const socket = await openChannel(url, reply.token, { migration_id: migrationId, ...cookies }, waitMs);
    sockets.push(socket);
    return socket;
  };
  return {
    migrationId,
    reply,
    open,
    async connect(cookies = {}) {
      const control = await open('vm', cookies);
      await recvHandshake(control, waitMs);
      const memory = await open('mem', cookies);
      await recvHandshake(memory, waitMs);
      await control.write(encodeSuccess());
      return { control, memory };
    },
    async errorOn(channel) {
      const error = await recvHandshake(channel, waitMs).catch((reason: unknown) => reason);
      expect(error).to.be.instanceOf(PeerError);
      return (error as PeerError).message;
    },
    async ended() {
      for (let since = 0; ; ) {
        const { events, next } = await host.engine.service.events(since, 10);
        for (const event of events) {
          if (event.kind === 'receive-ended' && event.migrationId === migrationId) return event.taken;
        }
        since = next;
      }
    },
    close() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** What a destination has to be again after an attempt that was refused: no domain, no promise, no process. */
export async function expectNothingLeft(host: TestHost, childrenBefore: ReadonlySet<number>): Promise<void> {
  expect(await host.simulator.list()).to.deep.equal([]);
  const { total, free } = await host.simulator.memory();
  expect(free).to.equal(total);
  expect([...childProcesses()].filter((pid) => !childrenBefore.has(pid))).to.deep.equal([]);
}

/** Bytes before the memory stream in an image. */
export function imageStart(xenops = encodeXenops('{}')): Buffer {
  return Buffer.concat([encodeSignature(), encodeHeader('xenops', xenops.length), xenops, encodeHeader('libxc')]);
}

/** A whole suspend image around a memory stream. */
export function imageOf(stream: Buffer): Buffer {
  return Buffer.concat([imageStart(), stream, encodeHeader('end')]);
}
