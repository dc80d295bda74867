/** event.*: what changes in the database, for who asks. */
import type { Ref } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { ClassHandlers } from '../../base/handlers.js';
import type { HandlerDeps } from '../handler-deps.js';

export function eventHandlers({ events, sessions }: HandlerDeps): ClassHandlers<'event'> {
  return {
    async from({ session, origin }, classes, token, timeoutSeconds) {
      const sessionEnded = session === undefined ? origin.closed : sessions.ended(session);
      const ended = AbortSignal.any([origin.closed, sessionEnded]);
      const batch = await events.from({ classes, token, timeoutSeconds, ended });
      if (session !== undefined && sessionEnded.aborted) throw new XapiError('SESSION_INVALID', [session]);
      return batch;
    },
    get_current_id: () => events.currentId(),
    inject: (_context, cls, ref) => events.inject(cls, ref as Ref),
  };
}
