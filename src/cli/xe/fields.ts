/** Every class that xe shows. To add a class, add its data to a file of `fields/`; its commands follow. */
import { hint } from '../../base/nearest-name.js';
import * as access from './fields/access.js';
import * as cache from './fields/cache.js';
import * as cluster from './fields/cluster.js';
import * as device from './fields/device.js';
import * as graphics from './fields/graphics.js';
import { host } from './fields/host.js';
import * as hostPart from './fields/host-part.js';
import * as networks from './fields/network.js';
import * as networkPart from './fields/network-part.js';
import { pool } from './fields/pool.js';
import * as storage from './fields/storage.js';
import * as storagePart from './fields/storage-part.js';
import { task } from './fields/task.js';
import * as update from './fields/update.js';
import * as vms from './fields/vm.js';
import * as vmSet from './fields/vm-set.js';
import type { Kind, XeClass, XeField } from './fields/vocabulary.js';

export const xeClasses = {
  ...vms,
  ...vmSet,
  host,
  ...hostPart,
  pool,
  task,
  ...networks,
  ...networkPart,
  ...storage,
  ...storagePart,
  ...graphics,
  ...device,
  ...cache,
  ...cluster,
  ...update,
  ...access,
};

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
  if (field === undefined) throw unknownField(shown, name);
  return namedField(name, field);
}

/**
 * What is said of a field that there is not, with the one that may be meant.
 * @param others what else could be
 */
export function unknownField(shown: XeClass, name: string, others: readonly string[] = []): Error {
  const near = hint(name, [...others, ...Object.keys(shown.fields)]);
  return new Error(`Unknown field '${name}' of class ${shown.command}${near}`);
}

function namedField(name: string, field: Kind | XeField): NamedField {
  const whole = typeof field === 'string' ? { kind: field } : field;
  return { ...whole, name, setter: whole.from ?? whole.everyHost ?? name.replaceAll('-', '_') };
}

export type { XeClass } from './fields/vocabulary.js';
