/** message.*: alerts about objects. The pool raises some itself, see doubt-message.ts; clients may raise others. */
import type { RecordOf, Ref } from '../../../idl/index.js';
import { invalidValue } from '../../base/errors.js';
import type { ClassHandlers } from '../../base/handlers.js';
import type { HandlerDeps } from '../handler-deps.js';

type Message = RecordOf<'message'>;

export function messageHandlers({ db, now }: Pick<HandlerDeps, 'db' | 'now'>): ClassHandlers<'message'> {
  const select = (wanted: (message: Readonly<Message>) => boolean): Record<Ref<'message'>, Message> =>
    Object.fromEntries(db.all('message').filter(([, row]) => wanted(row)));
  return {
    create(_context, name, priority, cls, obj_uuid, body) {
      if (name === '') throw invalidValue('name', name, 'a text that is not empty');
      return db.create('message', { name, priority, cls, obj_uuid, body, timestamp: now() });
    },
    destroy: (_context, ref) => db.destroy('message', ref),
    destroy_many(_context, refs) {
      for (const ref of refs) db.get('message', ref);
      for (const ref of new Set(refs)) db.destroy('message', ref);
    },
    get: (_context, cls, uuid, since) =>
      select((row) => row.cls === cls && row.obj_uuid === uuid && row.timestamp >= since),
    get_since: (_context, since) => select((row) => row.timestamp >= since),
  };
}
