/** Copies that must not run: marked in doubt by the coordinator, released by an operator. */
import { randomUUID } from 'node:crypto';
import type { Backend } from '../../backend/backend.js';
import type { DomainInfo } from '../../base/domain.js';
import { XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { RunsWhere } from '../../migrate/protocol.js';
import type { Queue } from '../../xenops/queue.js';

export interface Doubts {
  /**
   * Pause a VM's domain here, which refuses to run until an operator releases it. Fine where there is none, or it is in doubt
   * already.
   */
  mark(uuid: string, reason: string): Promise<void>;
  /**
   * Release a copy that is in doubt: the copy goes on here, or is destroyed. Fine for `elsewhere` where there is no copy.
   * @throws OPERATION_NOT_ALLOWED where the copy here is not in doubt, or `here` finds none
   */
  release(uuid: string, runs: RunsWhere): Promise<void>;
}

export interface DoubtDeps {
  readonly backend: Backend;
  readonly queue: Queue;
  readonly log: Log;
}

/** Make what marks and releases copies, beside the marks of migrations. */
export function createDoubts({ backend, queue, log }: DoubtDeps): Doubts {
  const find = async (uuid: string): Promise<DomainInfo | undefined> =>
    (await backend.list()).find((domain) => domain.uuid === uuid);
  return {
    async mark(uuid, reason) {
      const domain = await find(uuid);
      // The mark of a migration is lifted when the migration ends; the coordinator's mark stays until an operator lifts it.
      if (domain === undefined || domain.inDoubt === reason) return;
      log.error(`in doubt: ${reason}`, { vm: uuid });
      await backend.markInDoubt(domain.handle, reason);
    },
    release: (uuid, runs) =>
      queue.run(uuid, async () => {
        const domain = await find(uuid);
        if (domain === undefined && runs === 'elsewhere') return;
        if (domain?.inDoubt === undefined) {
          const found = domain === undefined ? 'there is no copy here' : 'the copy here is not in doubt';
          throw new XapiError('OPERATION_NOT_ALLOWED', [`VM ${uuid} cannot be settled on this host: ${found}`]);
        }
        log.warn(`settled by an operator: the VM runs ${runs}`, { vm: uuid, was: domain.inDoubt });
        if (runs === 'elsewhere') return backend.destroy(domain.handle);
        await backend.markInDoubt(domain.handle, undefined);
        await backend.unpause(domain.handle, `settled ${randomUUID()}`);
      }),
  };
}
