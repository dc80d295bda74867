/** Real emu-manager processes against a real simulated hypervisor, with the daemon's side of the control channel in the test's hands. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { connectHypervisor, type HypervisorClient } from '../../src/backend/simulator/client.js';
import { socketPathOf } from '../../src/backend/simulator/program.js';
import { createSimulator, type Simulator } from '../../src/backend/simulator/simulator.js';
import type { DomainHandle } from '../../src/base/domain.js';
import {
  createLineDecoder,
  decodeMessage,
  type EmuMessage,
  encodeCommand,
} from '../../src/base/protocol/emu-protocol.js';
import type { SimulatedDomain, SimulatedSpec } from '../../src/base/protocol/hypervisor-protocol.js';

export const program = fileURLToPath(new URL('../../src/emu-manager/main.js', import.meta.url));

export interface Lab {
  readonly directory: string;
  readonly simulator: Simulator;
  readonly helper: HypervisorClient;
  /** A domain of 8 MiB that was never run. */
  createDomain(changes?: Partial<SimulatedSpec>): Promise<DomainHandle>;
  info(handle: DomainHandle): Promise<SimulatedDomain>;
  memoryOf(handle: DomainHandle): Promise<Buffer>;
  emu(argv: readonly string[], streams: readonly (number | 'pipe')[]): Emu;
  close(): Promise<void>;
}

export interface Emu {
  readonly child: ChildProcess;
  /** The next line that is not progress. @throws when the channel ends before */
  next(): Promise<EmuMessage>;
  /** All progress so far. */
  readonly percents: readonly number[];
  tell(line: 'done' | 'abort' | 'restore:xenguest' | 'restore:vgpu'): void;
  /** Close the control channel as a daemon does that dies. */
  hangUp(): void;
  /** Our end of a stream given as 'pipe'. */
  stream(index: number): Duplex;
  /** Resolves with the exit status, and all that it said besides progress. */
  exit(): Promise<{ status: number | null; messages: readonly EmuMessage[]; stderr: string }>;
}

const spec: SimulatedSpec = {
  uuid: 'e0000000-0000-4000-8000-000000000000',
  name: 'guest',
  memoryBytes: 8 << 20,
  vcpus: 1,
  profile: { zero: 0.35, program: 0.33, text: 0.22, random: 0.1 },
  workload: { dirtyPagesPerSecond: 2000, workingSet: 0.2 },
  seed: 7,
  vgpus: [],
};

/** @param memoryBytes what its domains may have in all */
export async function openLab(memoryBytes = 256 << 20): Promise<Lab> {
  const directory = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-emu-'));
  const stateDir = path.join(directory, 'hypervisor');
  const simulator = await createSimulator({ stateDir, memoryBytes });
  const environment = { XENFERRY_HYPERVISOR: socketPathOf(stateDir) };
  const helper = await connectHypervisor(environment.XENFERRY_HYPERVISOR, 'helper');
  const running = new Set<ChildProcess>();
  const streams = new Set<ChildProcess['stdio'][number]>();
  let uuids = 0;
  const info = async (handle: DomainHandle) =>
    (await simulator.list()).find((domain) => domain.handle.domid === handle.domid) as SimulatedDomain;
  return {
    directory,
    simulator,
    helper,
    createDomain: (changes = {}) => {
      uuids += 1;
      return simulator.create({
        ...spec,
        uuid: `e0000000-0000-4000-8000-${String(uuids).padStart(12, '0')}`,
        ...changes,
      });
    },
    info,
    memoryOf: async (handle) => fs.readFileSync((await helper.call('memory_of', { handle })).result.path),
    emu(argv, given) {
      const emu = startEmu(argv, given, environment);
      running.add(emu.child);
      for (const stream of emu.child.stdio.slice(5)) streams.add(stream);
      emu.child.once('exit', () => running.delete(emu.child));
      return emu;
    },
    async close() {
      for (const child of running) child.kill('SIGKILL');
      // Not before: who reads slowly reads on when the helper has ended.
      for (const stream of streams) stream?.destroy();
      await helper.close();
      await simulator.quit();
      fs.rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Descriptors in the process: 3 and 4 control, then the streams. */
function startEmu(
  argv: readonly string[],
  streams: readonly (number | 'pipe')[],
  environment: Readonly<Record<string, string>>,
): Emu {
  const child = spawn(process.execPath, [program, '-controlinfd', '3', '-controloutfd', '4', '-fd', '5', ...argv], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', ...streams],
    env: { ...process.env, ...environment },
  });
  const input = child.stdio[3] as Duplex;
  const output = child.stdio[4] as unknown as Readable;
  for (const stream of child.stdio) stream?.on('error', () => undefined);
  const exited = once(child, 'exit');
  const messages: EmuMessage[] = [];
  const percents: number[] = [];
  let given = 0;
  let stderr = '';
  let wake = () => {};
  let ended = false;
  const decode = createLineDecoder();
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  output.on('data', (chunk: Buffer) => {
    for (const line of decode(chunk)) {
      const message = decodeMessage(line);
      if (message.kind === 'progress') percents.push(message.percent);
      else messages.push(message);
    }
    wake();
  });
  const closed = once(output, 'close').then(() => {
    ended = true;
    wake();
  });
  return {
    child,
    percents,
    async next() {
      while (messages[given] === undefined) {
        if (ended) throw new Error(`emu-manager ended: ${stderr}`);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      given += 1;
      return messages[given - 1] as EmuMessage;
    },
    tell(line) {
      input.write(line.startsWith('restore:') ? `${line}\n` : encodeCommand({ kind: line as 'done' | 'abort' }));
    },
    hangUp: () => input.destroy(),
    stream: (index) => child.stdio[5 + index] as Duplex,
    async exit() {
      const [status] = (await exited) as [number | null];
      input.destroy();
      await closed;
      return { status, messages, stderr };
    },
  };
}

/** Answer what a save asks, pausing the domain when it is told to. @returns what exit() does */
export async function followSave(lab: Lab, emu: Emu, handle: DomainHandle): ReturnType<Emu['exit']> {
  for (;;) {
    const message = await emu.next();
    if (message.kind === 'suspend') await lab.simulator.pause(handle);
    if (message.kind === 'suspend' || message.kind === 'prepare') emu.tell('done');
    if (message.kind === 'result' || message.kind === 'error') return emu.exit();
  }
}
