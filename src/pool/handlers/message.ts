/** message.*: what is told about objects, see pool/events/messages.ts; clients may tell something themselves. */
import type { ClassName, RecordOf, Ref } from '../../../idl/index.js';
import { invalidValue, XapiError } from '../../base/errors.js';
import type { ClassHandlers } from '../../model/handlers.js';
import { parseDatetime } from '../../model/value.js';
import { createMessage } from '../events/messages.js';
import type { HandlerDeps } from './deps.js';

type Message = RecordOf<'message'>;

/** The class of what a message is about. */
const subjects: Readonly<Record<Message['cls'], ClassName>> = {
  VM: 'VM',
  Host: 'host',
  SR: 'SR',
  Pool: 'pool',
  VMPP: 'VMPP',
  VMSS: 'VMSS',
  PVS_proxy: 'PVS_proxy',
  VDI: 'VDI',
  Certificate: 'Certificate',
};

/** The handlers of the class message. */
export function messageHandlers(deps: Pick<HandlerDeps, 'db' | 'now'>): ClassHandlers<'message'> {
  const { db } = deps;
  /** Newest first. */
  const select = (wanted: (message: Readonly<Message>) => boolean): Record<Ref<'message'>, Message> =>
    Object.fromEntries(
      db
        .all('message')
        .filter(([, row]) => wanted(row))
        .reverse(),
    );
  /** @throws UUID_INVALID [class, uuid] */
  const assertSubject = (cls: Message['cls'], uuid: string): void => {
    if (db.findByUuid(subjects[cls], uuid) === undefined) throw new XapiError('UUID_INVALID', [cls, uuid]);
  };
  return {
    create(_context, name, priority, cls, obj_uuid, body) {
      if (name === '') throw invalidValue('name', name, 'a text that is not empty');
      assertSubject(cls, obj_uuid);
      return createMessage(deps, { name, priority, cls, obj_uuid, body });
    },
    destroy: (_context, ref) => db.destroy('message', ref),
    destroy_many(_context, refs) {
      for (const ref of refs) db.get('message', ref);
      for (const ref of new Set(refs)) db.destroy('message', ref);
    },
    destroy_all(_context, filters) {
      const isPicked = picker(filters);
      for (const [ref, row] of db.all('message')) if (isPicked(row)) db.destroy('message', ref);
    },
    get(_context, cls, uuid, since) {
      assertSubject(cls, uuid);
      return select((row) => row.cls === cls && row.obj_uuid === uuid && row.timestamp >= since);
    },
    get_since: (_context, since) => select((row) => row.timestamp >= since),
  };
}

/**
 * Read filters.
 * @returns whether a message fits every filter
 * @throws INVALID_VALUE for a filter that there is not, so that nothing goes by mistake
 */
function picker(filters: Readonly<Record<string, string>>): (message: Readonly<Message>) => boolean {
  const picks = Object.entries(filters).map(([name, value]): ((message: Readonly<Message>) => boolean) => {
    if (name === 'priority' && /^\d{1,9}$/.test(value)) return ({ priority }) => priority === Number(value);
    const time = name === 'before' || name === 'after' ? parseDatetime(value) : undefined;
    if (time === undefined) {
      throw invalidValue(`filters:${name}`, value, 'before and after with a time, priority with a number');
    }
    return ({ timestamp }) => (name === 'before' ? timestamp < time : timestamp > time);
  });
  return (message) => picks.every((pick) => pick(message));
}
