/** event.*: what changes in the database, for who asks. */
import type { Ref } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { CallContext, ClassHandlers } from '../../model/handlers.js';
import type { HandlerDeps } from './deps.js';

/** The handlers of the class event. */
export function eventHandlers({ events, eventQueue, sessions }: HandlerDeps): ClassHandlers<'event'> {
  /** Wait for an answer while both the caller and its session are there. @throws SESSION_INVALID when the session ends */
  const waitFor = async <T>(
    { session, origin }: CallContext,
    wait: (ended: AbortSignal, session: Ref<'session'>) => Promise<T>,
  ): Promise<T> => {
    if (session === undefined) throw new XapiError('SESSION_INVALID', ['']);
    const sessionEnded = sessions.ended(session);
    const answer = await wait(AbortSignal.any([origin.closed, sessionEnded]), session);
    if (sessionEnded.aborted) throw new XapiError('SESSION_INVALID', [session]);
    return answer;
  };
  return {
    register({ session }, classes) {
      if (session !== undefined) eventQueue.register(session, classes, sessions.ended(session));
    },
    unregister({ session }, classes) {
      if (session !== undefined) eventQueue.unregister(session, classes);
    },
    next: (context) => waitFor(context, (ended, session) => eventQueue.next(session, ended)),
    from: (context, classes, token, timeoutSeconds) =>
      waitFor(context, (ended) => events.from({ classes, token, timeoutSeconds, ended })),
    get_current_id: () => events.currentId(),
    inject: (_context, cls, ref) => events.inject(cls, ref as Ref),
  };
}
