/**
 * The messages that every class has by its fields, answered from the rows.
 */
import type { Row, Rows } from '../model/dispatch-deps.js';
import type { Message } from '../model/surface.js';
import { parseFilter } from './filter.js';

/**
 * The result of a generic message.
 * @param args its parameters, typed, without the session
 * @throws what the rows throw: HANDLE_INVALID, UUID_INVALID, MAP_DUPLICATE_KEY
 */
export async function answerGeneric(rows: Rows, message: Message, args: readonly unknown[]): Promise<unknown> {
  const { cls, action } = message;
  const [first, second, third] = args;
  const text = String(first);
  switch (action.kind) {
    case 'get_record':
      return rows.record(cls, text);
    case 'get':
      return rows.record(cls, text)[action.field];
    case 'get_by_uuid':
      return rows.byUuid(cls, text);
    case 'get_by_name_label':
      return rows.byNameLabel(cls, text);
    case 'get_all':
      return [...rows.all(cls)].map(([ref]) => ref);
    case 'get_all_records':
      return Object.fromEntries(rows.all(cls));
    case 'get_all_where':
      return matching(rows, message, text).map(([ref]) => ref);
    case 'get_all_records_where':
      return Object.fromEntries(matching(rows, message, text));
    case 'set':
      return await rows.set(cls, text, action.field, second);
    case 'add_to':
      return await rows.addToMap(cls, text, action.field, String(second), third);
    case 'remove_from':
      return await rows.removeFromMap(cls, text, action.field, String(second));
    case 'add':
      return await rows.addToSet(cls, text, action.field, second);
    case 'remove':
      return await rows.removeFromSet(cls, text, action.field, second);
    case 'custom':
      throw new Error(`${message.name} is no generic message`);
  }
}

function matching(rows: Rows, message: Message, expression: string): (readonly [string, Row])[] {
  const filter = parseFilter(message.cls, expression);
  return [...rows.all(message.cls)].filter(([, row]) => filter(row));
}
