/** The control channel as the helper sees it: what it asks and tells the daemon, and what the daemon commands. */
import net from 'node:net';
import { within } from '../../base/deadline.js';
import { defined } from '../../base/defined.js';
import {
  createLineDecoder,
  decodeCommand,
  doneTimeoutSeconds,
  type Emu,
  type EmuMessage,
  type EmuResult,
  encodeMessage,
} from '../../base/protocol/emu-protocol.js';
import type { StreamFailure } from '../../base/stream-error.js';

export interface Control {
  /** Ask the daemon to get ready for a stream. @throws when `done` does not come within 120 s */
  prepare(emu: Emu): Promise<void>;
  /** Ask the daemon to pause the domain. @throws as prepare */
  suspend(): Promise<void>;
  /** The next stream that the daemon tells us to restore. */
  nextRestore(): Promise<Emu>;
  /** Tell how far the work is; says nothing unless it moved on, and at most ten times a second. @param share 0 to 1 */
  progress(share: number): void;
  /** Resolve when the daemon's side has the line. */
  result(result: EmuResult): Promise<void>;
  error(text: string, failure?: StreamFailure): Promise<void>;
  log(text: string): void;
}

interface Init {
  readonly inFd: number;
  readonly outFd: number;
  /** `abort`, or the daemon is gone. */
  onAbort(): void;
  /** The daemon does not keep to the protocol. */
  onError(error: Error): void;
}

const progressIntervalMs = 100;

/** Take over the two descriptors, which may be one and the same. */
export function openControl(init: Init): Control {
  const input = new net.Socket({ fd: init.inFd, writable: init.inFd === init.outFd });
  const send = openSender(
    init.outFd === init.inFd ? input : new net.Socket({ fd: init.outFd, readable: false }),
    init.onAbort,
  );
  const dones = createWaiters<void>();
  const restores = createWaiters<Emu>();
  const decode = createLineDecoder();

  const obey = (line: string) => {
    const command = decodeCommand(line);
    if (command.kind === 'abort') init.onAbort();
    else if (command.kind === 'restore') restores.give(command.emu);
    else if (!dones.isAwaited()) throw new Error('done, where nothing was asked');
    else dones.give();
  };
  input.on('data', (chunk: Buffer) => {
    try {
      for (const line of decode(chunk)) obey(line);
    } catch (error) {
      init.onError(error as Error);
    }
  });
  input.on('error', init.onAbort);
  input.on('end', init.onAbort);

  const ask = async (message: EmuMessage) => {
    const done = dones.take();
    await send(message);
    const what = encodeMessage(message).toString().trimEnd();
    await within(done, doneTimeoutSeconds * 1000, `no done to ${what}`);
  };
  return {
    prepare: (emu) => ask({ kind: 'prepare', emu }),
    suspend: () => ask({ kind: 'suspend' }),
    nextRestore: () => restores.take(),
    progress: createProgress((percent) => void send({ kind: 'progress', percent })),
    result: (result) => send({ kind: 'result', result }),
    error: (text, failure) => send({ kind: 'error', text, ...defined({ failure }) }),
    log: (text) => void send({ kind: 'stdout', text }),
  };
}

/** Report a failure where there is no control channel yet. Resolves when it is written, or cannot be. */
export async function reportError(outFd: number, text: string): Promise<void> {
  try {
    await openSender(new net.Socket({ fd: outFd, readable: false }), () => undefined)({ kind: 'error', text });
  } catch {
    // Not a descriptor of ours; stderr has the message.
  }
}

function openSender(output: net.Socket, onGone: () => void): (message: EmuMessage) => Promise<void> {
  output.on('error', onGone);
  return (message) =>
    new Promise((resolve) => {
      output.write(encodeMessage(message), () => resolve());
    });
}

function createProgress(tell: (percent: number) => void): (share: number) => void {
  let last = -1;
  let next = 0;
  return (share) => {
    const percent = Math.min(100, Math.floor(share * 100));
    if (percent <= last || (performance.now() < next && percent < 100)) return;
    last = percent;
    next = performance.now() + progressIntervalMs;
    tell(percent);
  };
}

/** Pairs what is given with who waits for it, in order; what comes before it is wanted is kept. */
function createWaiters<T>() {
  const given: T[] = [];
  const waiting: ((value: T) => void)[] = [];
  return {
    isAwaited: () => waiting.length > 0,
    give(value: T) {
      const waiter = waiting.shift();
      if (waiter === undefined) given.push(value);
      else waiter(value);
    },
    take(): Promise<T> {
      if (given.length > 0) return Promise.resolve(given.shift() as T);
      return new Promise((resolve) => waiting.push(resolve));
    },
  };
}
