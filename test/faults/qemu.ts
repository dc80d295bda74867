/** What there is of QEMU domains at a host, looked at past its daemon: directories, processes, and what each process says of itself. */
import fs from 'node:fs';
import path from 'node:path';
import { readMark } from '../../src/backend/qemu/mark.js';
import { connectQmp } from '../../src/backend/qemu/qmp.js';
import type { DomainSpec } from '../../src/base/domain.js';
import { qemuProgram } from '../backend/qemu/memtest.js';

/** A domain as the invariant needs it, of whichever back end. */
export interface SeenDomain {
  readonly uuid: string;
  readonly domid: number;
  /** `running`, or what keeps it from that. */
  readonly state: string;
  readonly inDoubt?: string;
  readonly memoryBytes: number;
  /** Its own process, where it has one. */
  readonly pid?: number;
}

const mebibyte = 2 ** 20;
/** What a process is accounted beyond its guest's memory, in bytes: `qemu-overhead` as it is where nobody sets it. */
const overheadBytes = 75 * mebibyte;
const roomFor = 4;
const answerMs = 2_000;

/** The keys of a host of this back end, with memory for four VMs of so many bytes. */
export function qemuKeys(vmBytes: number): Readonly<Record<string, string>> {
  return {
    ...{ backend: 'qemu', qemu: qemuProgram ?? '', 'qemu-accelerator': 'tcg' },
    'qemu-memory': `${(roomFor * (vmBytes + overheadBytes)) / mebibyte}MiB`,
    // A process comes up within this on a busy machine.
    ...{ 'migration-step-timeout': '4s', 'migration-accept-timeout': '5s', 'migration-progress-timeout': '4s' },
    ...{ 'backend-timeout': '5s', 'peer-timeout': '4s' },
  };
}

/** The free memory of such a host that has these domains and owes nobody any. */
export function freeWith(domains: readonly SeenDomain[], vmBytes: number): number {
  const used = domains.reduce((sum, { memoryBytes }) => sum + memoryBytes + overheadBytes, 0);
  return roomFor * (vmBytes + overheadBytes) - used;
}

/** The memory of a VM that leaves less than another one needs, in bytes. */
export function fillerBytes(free: number): number {
  return Math.floor((free - overheadBytes) / mebibyte - 4) * mebibyte;
}

/** A guest that writes to its memory all the while: the fields of its VM. */
export const guestFields = { PV_kernel: '/boot/memtest86+x64.bin', PV_args: 'console=ttyS0,115200' };

/**
 * Every domain of a host, asked by the helpers' monitor: when nothing goes on nobody else is there.
 * @throws where one does not answer
 */
export async function lookAtQemu(stateDir: string): Promise<SeenDomain[]> {
  return Promise.all(
    domainsIn(stateDir).map(async ({ directory, domid, spec }): Promise<SeenDomain> => {
      const common = { domid, memoryBytes: spec.memoryBytes };
      const pid = pidIn(directory);
      if (pid === undefined) return { ...common, uuid: spec.uuid, state: 'without a process' };
      const qmp = await connectQmp(path.join(directory, 'helper.qmp'), answerMs);
      try {
        const { status } = await qmp.execute<{ status: string }>('query-status', {}, { timeoutMs: answerMs });
        const { uuid, inDoubt } = await readMark(qmp);
        return { ...common, uuid, pid, state: status, ...(inDoubt === undefined ? {} : { inDoubt }) };
      } finally {
        qmp.close();
      }
    }),
  );
}

/**
 * For how long each VM's processors have run so far, in ticks of the clock; the temporary uuids count as those of their VMs. The
 * monitors are not asked for that, as a helper has one and the daemon the other while a migration goes on.
 */
export function ranSoFar(stateDir: string): ReadonlyMap<string, number> {
  const ran = new Map<string, number>();
  for (const { directory, spec } of domainsIn(stateDir)) ran.set(spec.uuid.slice(0, 24), ticksOf(pidIn(directory)));
  return ran;
}

function ticksOf(pid: number | undefined): number {
  try {
    const tasks = `/proc/${pid}/task`;
    return fs.readdirSync(tasks).reduce((sum, task) => {
      const stat = fs.readFileSync(path.join(tasks, task, 'stat'), 'latin1');
      if (!/\(CPU /.test(stat)) return sum;
      const [user, system] = (stat.split(') ')[1] ?? '').split(' ').slice(11, 13);
      return sum + Number(user) + Number(system);
    }, 0);
  } catch {
    return 0;
  }
}

function domainsIn(stateDir: string) {
  const root = path.join(stateDir, 'qemu');
  return fs.readdirSync(root).flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    const directory = path.join(root, name);
    try {
      const spec = JSON.parse(fs.readFileSync(path.join(directory, 'spec.json'), 'utf8')) as DomainSpec;
      return [{ directory, domid: Number(name), spec }];
    } catch {
      // It is being removed.
      return [];
    }
  });
}

function pidIn(directory: string): number | undefined {
  try {
    return Number(fs.readFileSync(path.join(directory, 'pid'), 'latin1'));
  } catch {
    return undefined;
  }
}
