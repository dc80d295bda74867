/**
 * Results in JSON, by their declared type and never by their JavaScript type.
 */
import type { EventBatch, EventChange } from '../../idl/index.js';
import { classByLowerCase, type Field, fields, formatDatetime, nullRef, type Type } from '../model/value.js';
import { formatFloat, isObject, type Members, misfit } from './typed-value.js';

/**
 * The JSON text of a typed value.
 * @throws INTERNAL_ERROR for a value that is not of the type: an error of ours, not of the caller
 */
export function encodeJson(type: Type, value: unknown): string {
  switch (type.kind) {
    case 'string':
    case 'enum':
      return typeof value === 'string' ? JSON.stringify(value) : misfit(type, value);
    case 'ref':
      return typeof value === 'string' ? JSON.stringify(value === '' ? nullRef : value) : misfit(type, value);
    case 'int':
      return Number.isSafeInteger(value) ? String(value) : misfit(type, value);
    case 'float':
      return typeof value === 'number' ? formatFloat(value) : misfit(type, value);
    case 'bool':
      return typeof value === 'boolean' ? String(value) : misfit(type, value);
    case 'datetime':
      return value instanceof Date ? `"${formatDatetime(value)}"` : misfit(type, value);
    case 'void':
      return '""';
    case 'set':
      return Array.isArray(value)
        ? `[${value.map((each) => encodeJson(type.element, each)).join(',')}]`
        : misfit(type, value);
    case 'map':
      return isObject(value) ? encodeMap(type.value, value) : misfit(type, value);
    case 'record':
      return isObject(value) ? encodeRecord(type.cls, value) : misfit(type, value);
    case 'option':
      return value === undefined ? 'null' : encodeJson(type.element, value);
    case 'event_batch':
      return encodeBatch(value as EventBatch);
    case 'event_change':
      return encodeEvent(value as EventChange);
  }
}

function encodeMap(type: Type, value: Members): string {
  return `{${Object.entries(value)
    .map(([k, v]) => `${JSON.stringify(k)}:${encodeJson(type, v)}`)
    .join(',')}}`;
}

/** The fields of every class with the text that stands before their values. */
const members: ReadonlyMap<string, readonly (Field & { readonly before: string })[]> = new Map(
  [...fields].map(([cls, ofClass]) => [
    cls,
    [...ofClass.values()].map((field) => ({ ...field, before: `${JSON.stringify(field.name)}:` })),
  ]),
);

function encodeRecord(cls: string, value: Members): string {
  const texts = (members.get(cls) ?? []).map(({ before, name, type }) => before + encodeJson(type, value[name]));
  return `{${texts.join(',')}}`;
}

function encodeBatch(batch: EventBatch): string {
  const counts = encodeMap({ kind: 'int' }, batch.valid_ref_counts);
  const events = batch.events.map(encodeEvent).join(',');
  return `{"events":[${events}],"valid_ref_counts":${counts},"token":${JSON.stringify(batch.token)}}`;
}

function encodeEvent(event: EventChange): string {
  const { snapshot, ...head } = event;
  const text = JSON.stringify(head);
  if (snapshot === undefined) return text;
  const cls = classByLowerCase.get(event.class) ?? event.class;
  return `${text.slice(0, -1)},"snapshot":${encodeRecord(cls, snapshot)}}`;
}
