/** VM.*: a VM's record, its life, and its moves. */
import type { ClassHandlers } from '../../base/handlers.js';
import type { HandlerDeps } from '../handler-deps.js';
import { vmCopyHandlers } from './vm-copies.js';
import { vmLifeHandlers } from './vm-life.js';
import { vmMemoryHandlers } from './vm-memory.js';
import { vmQuestionHandlers } from './vm-questions.js';
import { vmSettingHandlers } from './vm-settings.js';

export function vmHandlers(deps: HandlerDeps): ClassHandlers<'VM'> {
  const { vmMigrate, vmReceive } = deps;
  return {
    ...vmCopyHandlers(deps),
    ...vmLifeHandlers(deps),
    ...vmMemoryHandlers(deps),
    ...vmSettingHandlers(deps),
    ...vmQuestionHandlers(deps),
    pool_migrate: ({ task }, vm, host, options) => vmMigrate.poolMigrate(task, vm, host, options),
    migrate_send: ({ task }, vm, dest, live, vdiMap, vifMap, options, vgpuMap) =>
      vmMigrate.migrateSend(task, vm, { dest, live, vdiMap, vifMap, options, vgpuMap }),
    assert_can_migrate: (_context, vm, dest, live, vdiMap, vifMap, options, vgpuMap) =>
      vmMigrate.assertCanMigrate(vm, { dest, live, vdiMap, vifMap, options, vgpuMap }),
    receive: (_context, host, migrationId, metadata) => vmReceive.receive(host, migrationId, metadata),
  };
}
