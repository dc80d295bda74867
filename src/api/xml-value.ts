/**
 * The model's types in XML-RPC's notation, as `task.result` holds them.
 */
import { XapiError } from '../base/errors.js';
import { fieldsOf, formatDatetime, nullRef, type Type } from '../base/value.js';
import { formatFloat } from './json-value.js';

type Members = Readonly<Record<string, unknown>>;

/** `<value>...</value>` of a typed value; void is an empty one. The value is of the type. */
export function encodeXml(type: Type, value: unknown): string {
  return `<value>${content(type, value)}</value>`;
}

function content(type: Type, value: unknown): string {
  switch (type.kind) {
    case 'string':
    case 'enum':
    case 'int':
      return escapeXml(String(value));
    case 'ref':
      return escapeXml(value === '' ? nullRef : String(value));
    case 'float':
      return `<double>${formatFloat(value as number)}</double>`;
    case 'bool':
      return `<boolean>${value === true ? 1 : 0}</boolean>`;
    case 'datetime':
      return `<dateTime.iso8601>${formatDatetime(value as Date)}</dateTime.iso8601>`;
    case 'set':
      return `<array><data>${(value as unknown[]).map((each) => encodeXml(type.element, each)).join('')}</data></array>`;
    case 'map':
      return struct(Object.entries(value as Members).map(([k, v]) => [k, encodeXml(type.value, v)]));
    case 'record':
      return struct(
        [...fieldsOf(type.cls).values()].map((f) => [f.name, encodeXml(f.type, (value as Members)[f.name])]),
      );
    case 'option':
      return value === undefined ? '<nil/>' : content(type.element, value);
    case 'void':
      return '';
    case 'event_batch':
      // event.from makes no task, so no task holds its result.
      throw new XapiError('INTERNAL_ERROR', ['an event batch has no XML form']);
  }
}

function struct(members: readonly (readonly [string, string])[]): string {
  const inner = members.map(([name, value]) => `<member><name>${escapeXml(name)}</name>${value}</member>`);
  return `<struct>${inner.join('')}</struct>`;
}

/** Text with XML's own characters written as entities. */
export function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
