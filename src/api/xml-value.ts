/**
 * Results in XML-RPC's notation, by their declared type: in XML-RPC's replies, and as `task.result` holds them.
 */

import type { EventBatch, EventChange } from '../../idl/index.js';
import { forbiddenInXml } from '../base/schema.js';
import { classByLowerCase, type Field, fields, formatDatetime, nullRef, type Type } from '../model/value.js';
import { formatFloat, isObject, type Members, misfit } from './typed-value.js';

/**
 * `<value>...</value>` of a typed value; void is an empty one.
 * @throws INTERNAL_ERROR for a value that is not of the type: an error of ours, not of the caller
 */
export function encodeXml(type: Type, value: unknown): string {
  return `<value>${content(type, value)}</value>`;
}

function content(type: Type, value: unknown): string {
  switch (type.kind) {
    case 'string':
    case 'enum':
      return typeof value === 'string' ? escapeXml(value) : misfit(type, value);
    case 'ref':
      return typeof value === 'string' ? escapeXml(value === '' ? nullRef : value) : misfit(type, value);
    case 'int':
      return Number.isSafeInteger(value) ? String(value) : misfit(type, value);
    case 'float':
      return typeof value === 'number' ? `<double>${formatFloat(value)}</double>` : misfit(type, value);
    case 'bool':
      return typeof value === 'boolean' ? `<boolean>${value ? 1 : 0}</boolean>` : misfit(type, value);
    case 'datetime':
      return value instanceof Date
        ? `<dateTime.iso8601>${formatDatetime(value)}</dateTime.iso8601>`
        : misfit(type, value);
    case 'void':
      return '';
    case 'set':
      return Array.isArray(value) ? array(value.map((each) => encodeXml(type.element, each))) : misfit(type, value);
    case 'map':
      return isObject(value)
        ? struct(Object.entries(value), (each) => encodeXml(type.value, each))
        : misfit(type, value);
    case 'record':
      return isObject(value) ? record(type.cls, value) : misfit(type, value);
    case 'option':
      return value === undefined ? '<nil/>' : content(type.element, value);
    case 'event_batch':
      return batch(value as EventBatch);
    case 'event_change':
      return event(value as EventChange);
  }
}

function array(values: readonly string[]): string {
  return `<array><data>${values.join('')}</data></array>`;
}

function struct<T>(entries: readonly (readonly [string, T])[], encode: (value: T) => string): string {
  const members = entries.map(([name, value]) => `<member><name>${escapeXml(name)}</name>${encode(value)}</member>`);
  return `<struct>${members.join('')}</struct>`;
}

/** The fields of every class with the text that stands before their values. */
const members: ReadonlyMap<string, readonly (Field & { readonly before: string })[]> = new Map(
  [...fields].map(([cls, ofClass]) => [
    cls,
    [...ofClass.values()].map((field) => ({ ...field, before: `<member><name>${field.name}</name><value>` })),
  ]),
);

function record(cls: string, value: Members): string {
  const texts = (members.get(cls) ?? []).map(
    ({ before, name, type }) => `${before}${content(type, value[name])}</value></member>`,
  );
  return `<struct>${texts.join('')}</struct>`;
}

function batch({ events, valid_ref_counts, token }: EventBatch): string {
  return struct(
    [
      ['events', `<value>${array(events.map((each) => `<value>${event(each)}</value>`))}</value>`],
      // The one place where the XenAPI writes integers as such.
      [
        'valid_ref_counts',
        `<value>${struct(Object.entries(valid_ref_counts), (count) => `<value><i4>${count}</i4></value>`)}</value>`,
      ],
      ['token', encodeXml({ kind: 'string' }, token)],
    ],
    (text) => text,
  );
}

function event({ snapshot, ...head }: EventChange): string {
  const entries = Object.entries(head).map(([name, value]) => [name, encodeXml({ kind: 'string' }, value)] as const);
  const cls = classByLowerCase.get(head.class) ?? head.class;
  const shown = snapshot === undefined ? [] : [['snapshot', `<value>${record(cls, snapshot)}</value>`] as const];
  return struct([...entries, ...shown], (text) => text);
}

const special = new RegExp(`[&<>"\\r]|${forbiddenInXml.source}`, 'u');

/** Text with XML's own characters written as entities; U+FFFD stands for a character that XML cannot carry. */
export function escapeXml(text: string): string {
  if (!special.test(text)) return text;
  return (
    text
      .replaceAll('&', '&amp;')
      .replaceAll('<', '&lt;')
      .replaceAll('>', '&gt;')
      .replaceAll('"', '&quot;')
      // As itself it would be read as a line feed.
      .replaceAll('\r', '&#13;')
      .replaceAll(new RegExp(forbiddenInXml, 'gu'), '\ufffd')
  );
}
