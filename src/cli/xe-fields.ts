/** Every class that xe shows. To add a class, add its data and its line here; its commands follow. */
import { console, vgpu } from './xe-fields/device.js';
import { host } from './xe-fields/host.js';
import { network, pif, vif } from './xe-fields/network.js';
import { pool } from './xe-fields/pool.js';
import { pbd, sr, vbd, vdi } from './xe-fields/storage.js';
import { task } from './xe-fields/task.js';
import { vm } from './xe-fields/vm.js';
import type { Kind, XeClass, XeField } from './xe-fields/vocabulary.js';

export const xeClasses = { vm, host, pool, task, network, vif, pif, sr, pbd, vdi, vbd, vgpu, console };

/** A field with its name; `setter` is the field's name in messages such as set_name_label. */
export interface NamedField extends XeField {
  readonly name: string;
  readonly setter: string;
}

/** The fields of a class in the order in which xe shows them. */
export function fieldsOf(shown: XeClass): NamedField[] {
  return Object.entries(shown.fields).map(([name, field]) => namedField(name, field));
}

/**
 * The field that xe calls by this name.
 * @throws an Error that names the field, when the class has none such
 */
export function fieldOf(shown: XeClass, name: string): NamedField {
  const field = Object.hasOwn(shown.fields, name) ? shown.fields[name] : undefined;
  if (field === undefined) throw new Error(`Unknown field '${name}' of class ${shown.command}`);
  return namedField(name, field);
}

function namedField(name: string, field: Kind | XeField): NamedField {
  const whole = typeof field === 'string' ? { kind: field } : field;
  return { ...whole, name, setter: whole.from ?? whole.everyHost ?? name.replaceAll('-', '_') };
}

export type { Kind, XeClass } from './xe-fields/vocabulary.js';
