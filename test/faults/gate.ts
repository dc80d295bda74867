/** A gate before the hypervisor of a host: holds up requests of one kind until it is opened, while all others go by. */
import fs from 'node:fs';
import net from 'node:net';
import { socketPathOf } from '../../src/backend/simulator/program.js';
import {
  createFrameDecoder,
  encodeFrame,
  type Frame,
  type HypervisorOp,
} from '../../src/base/protocol/hypervisor-protocol.js';

export interface Gate {
  /** Hold up every request of this kind from now on. */
  close(op: HypervisorOp): void;
  /** How many wait at it. */
  waiting(): number;
  /** Let through what waits, but for what a daemon has asked that is gone. */
  open(): void;
  /** Take it away; connections through it end. */
  remove(): Promise<void>;
}

/** Put a gate, open, where a host's hypervisor listens. Only who connects after that comes through it. */
export async function placeGate(stateDir: string): Promise<Gate> {
  const outside = socketPathOf(stateDir);
  const inside = `${outside}-i`;
  fs.renameSync(outside, inside);
  let closedTo: HypervisorOp | undefined;
  const held = new Set<{ readonly from: net.Socket; readonly pass: () => void }>();
  const sockets = new Set<net.Socket>();
  const server = net.createServer((from) => {
    const to = net.connect(inside);
    const decode = createFrameDecoder();
    const forward = ({ text, binary }: Frame): void => {
      const message = JSON.parse(text) as { readonly op?: string };
      const pass = () => {
        for (const part of encodeFrame(message, binary)) to.write(part);
      };
      if (message.op === closedTo) held.add({ from, pass });
      else pass();
    };
    from.on('data', (chunk: Buffer) => {
      for (const frame of decode(chunk)) forward(frame);
    });
    to.pipe(from, { end: false });
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      sockets.add(one);
      one.on('error', () => undefined);
      one.once('close', () => {
        sockets.delete(one);
        other.destroy();
        for (const each of held) if (each.from === one) held.delete(each);
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(outside, resolve));
  const open = (): void => {
    closedTo = undefined;
    for (const { pass } of held) pass();
    held.clear();
  };
  return {
    close(op) {
      closedTo = op;
    },
    waiting: () => held.size,
    open,
    async remove() {
      open();
      const gone = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await gone;
      fs.renameSync(inside, outside);
    },
  };
}
