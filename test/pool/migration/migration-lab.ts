/** A pool of two hosts with a VM that runs on the first, host a, to be migrated to the second. */
import type { Ref } from '../../../idl/index.js';
import type { MigrateRequest } from '../../../src/host/service/service.js';
import type { FakeHost } from '../fake-host.js';
import { type Fixture, openFixture } from '../fixture.js';

export interface MigrationLab {
  readonly f: Fixture;
  readonly hostB: Ref<'host'>;
  readonly vm: Ref<'VM'>;
}

/** @param times the clocks of the pool, where they are not the system's */
export async function openMigrationLab(times?: Parameters<typeof openFixture>[1]): Promise<MigrationLab> {
  const f = await openFixture(undefined, times);
  const hostB = await f.joinB();
  return { f, hostB, vm: await f.runningVm() };
}

/** Wait until a host was asked to migrate so many VMs. @returns the request of that number, counted from 1 */
export async function requestTo(host: FakeHost, number = 1): Promise<MigrateRequest> {
  while (host.migrations.length < number) await new Promise((resolve) => setImmediate(resolve));
  return host.migrations[number - 1] as MigrateRequest;
}
