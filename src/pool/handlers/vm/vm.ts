/** VM.*: a VM's record, its life, and its moves. */
import type { Ref } from '../../../../idl/index.js';
import type { CallContext, ClassHandlers } from '../../../model/handlers.js';
import type { HandlerDeps } from '../deps.js';
import { vmCopyHandlers } from './copies.js';
import { vmLifeHandlers } from './life.js';
import { vmMemoryHandlers } from './memory.js';
import { vmQuestionHandlers } from './questions.js';
import { vmSettingHandlers } from './settings.js';

/** The handlers of the class VM. */
export function vmHandlers(deps: HandlerDeps): ClassHandlers<'VM'> {
  const { departures, arrivals, sessions, migrationSessions } = deps;
  /** A session lives as long as the migration that it asked for. */
  const keeping = async <T>({ session }: CallContext, run: () => Promise<T>): Promise<T> => {
    const release = sessions.keep(session);
    try {
      return await run();
    } finally {
      release();
    }
  };
  return {
    ...vmCopyHandlers(deps),
    ...vmLifeHandlers(deps),
    ...vmMemoryHandlers(deps),
    ...vmSettingHandlers(deps),
    ...vmQuestionHandlers(deps),
    pool_migrate: (context, vm, host, options) =>
      keeping(context, () => departures.poolMigrate(context.task, vm, host, options)),
    migrate_send: (context, vm, dest, _live, vdiMap, vifMap, options, vgpuMap) =>
      keeping(
        context,
        () => departures.migrateSend(context.task, vm, { dest, vdiMap, vifMap, options, vgpuMap }),
        // Where the destination is in this pool nobody calls with it.
      ).finally(() => migrationSessions.end(dest.session_id as Ref<'session'> | undefined)),
    assert_can_migrate: (_context, vm, dest, _live, vdiMap, vifMap, options, vgpuMap) =>
      departures.assertCanMigrate(vm, { dest, vdiMap, vifMap, options, vgpuMap }),
    receive: ({ session }, host, migrationId, metadata) => arrivals.receive(host, migrationId, metadata, session),
  };
}
