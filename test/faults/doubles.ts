/** Looks at both hypervisors all the while, so that two running copies are seen even where they do not last. */
import { setTimeout as delay } from 'node:timers/promises';
import { connectHypervisor, type HypervisorClient } from '../../src/backend/simulator/client.js';
import { socketPathOf } from '../../src/backend/simulator/program.js';
import { within } from '../../src/base/deadline.js';
import type { Pair, PairHost } from './pair.js';
import { ranSoFar } from './qemu.js';

export interface Watch {
  /** What was seen so far, once; then it is forgotten. */
  take(): string[];
  close(): Promise<void>;
}

/** How often, in milliseconds. */
const pauseMs = 40;

/** Watch for VMs that run twice. */
export function watchDoubles(pair: Pair): Watch {
  if (pair.hosts[0].backend === 'qemu') return watchTicks(pair);
  const eyes = pair.hosts.map(openEye);
  const seen = new Set<string>();
  let closed = false;
  const running = async (index: number): Promise<ReadonlySet<string>> => (await eyes[index]?.look()) ?? new Set();
  const watching = (async () => {
    while (!closed) {
      const [first, second] = [await running(0), await running(1)];
      const twice = [...first].filter((uuid) => second.has(uuid));
      // A VM may have moved between the two looks: it is doubled only if the first host has it still.
      const still = twice.length > 0 ? await running(0) : first;
      for (const uuid of twice) if (still.has(uuid)) seen.add(`${uuid} runs on both hosts`);
      await delay(pauseMs);
    }
  })();
  return {
    take() {
      const found = [...seen];
      seen.clear();
      return found;
    },
    async close() {
      closed = true;
      await watching;
      for (const eye of eyes) await eye.close();
    },
  };
}

/**
 * With QEMU a VM runs whose processors have used time. One that moves has done so on both hosts between two looks, but not again
 * between the next two.
 */
function watchTicks(pair: Pair): Watch {
  const seen = new Set<string>();
  let closed = false;
  const watching = (async () => {
    let before = pair.hosts.map((host) => ranSoFar(host.directory));
    let suspects = new Set<string>();
    while (!closed) {
      await delay(pauseMs);
      const now = pair.hosts.map((host) => ranSoFar(host.directory));
      const [first, second] = now.map((ran, index) =>
        [...ran].flatMap(([vm, ticks]) => (ticks > (before[index]?.get(vm) ?? ticks) ? [vm] : [])),
      );
      const twice = new Set(first?.filter((vm) => second?.includes(vm)));
      for (const vm of twice) if (suspects.has(vm)) seen.add(`${vm} runs on both hosts`);
      [before, suspects] = [now, twice];
    }
  })();
  return {
    take() {
      const found = [...seen];
      seen.clear();
      return found;
    },
    async close() {
      closed = true;
      await watching;
    },
  };
}

interface Eye {
  /** The uuids of the domains that run; the temporary ones count as those of their VMs. */
  look(): Promise<ReadonlySet<string>>;
  close(): Promise<void>;
}

function openEye(host: PairHost): Eye {
  let client: HypervisorClient | undefined;
  const vmOf = (uuid: string) => uuid.slice(0, 24);
  return {
    async look() {
      try {
        client ??= await connectHypervisor(socketPathOf(host.directory), 'helper');
        const { result } = await within(client.call('list', {}), 1000, 'no answer');
        return new Set(result.filter(({ state }) => state === 'running').map(({ uuid }) => vmOf(uuid)));
      } catch {
        await client?.close();
        client = undefined;
        return new Set();
      }
    },
    async close() {
      await client?.close();
    },
  };
}
