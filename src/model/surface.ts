/**
 * Every message of every class by `Class.method`: those that the model writes down, and the generic ones that follow from a
 * class's fields.
 */
import {
  type ClassModel,
  type ClassName,
  classes,
  type FieldModel,
  type GenericMessage,
  type MessageModel,
  type ParamModel,
  type Role,
  type RoleSet,
} from '../../idl/index.js';
import { fromDefault, parseType, type Type } from './value.js';

/** Way in which a message is answered: by a handler, the rows of its class, or one field of a row. */
type Action =
  | { readonly kind: 'custom' }
  | { readonly kind: GenericMessage }
  | { readonly kind: 'get' | 'set' | 'add_to' | 'remove_from' | 'add' | 'remove'; readonly field: string };

interface Param {
  readonly name: string;
  readonly type: Type;
  /** A fresh value for a parameter that was left out; absent where it may not be. */
  readonly makeDefault?: () => unknown;
}

export interface Message {
  /** `Class.method` */
  readonly name: string;
  readonly cls: ClassName;
  readonly method: string;
  readonly action: Action;
  /** Whether the first parameter, which `params` leaves out, is the session. */
  readonly session: boolean;
  readonly params: readonly Param[];
  /** Number of `params` that have no default; those with one come last. */
  readonly required: number;
  readonly result: Type;
  readonly roles: readonly Role[];
  readonly async: boolean;
  readonly hidden: boolean;
  readonly poolInternal: boolean;
  readonly removed: boolean;
  readonly implemented: boolean;
  /** The written model, for help and checks. */
  readonly model: MessageModel;
}

const ranks: readonly Role[] = ['pool-admin', 'pool-operator', 'vm-power-admin', 'vm-admin', 'vm-operator'];

/** The roles that a set of roles stands for; none of them for `local-root`, which only the local superuser passes. */
export function rolesIn(set: RoleSet): readonly Role[] {
  if (set === 'local-root') return [];
  if (set === 'read-only') return [...ranks, 'client-cert', 'read-only'];
  const least = set.replace(/\+cert$/, '') as Role;
  const roles = ranks.slice(0, ranks.indexOf(least) + 1);
  return set.endsWith('+cert') ? [...roles, 'client-cert'] : roles;
}

/** Every message by its name. */
export const surface: ReadonlyMap<string, Message> = new Map(
  Object.values<ClassModel>(classes)
    .flatMap(messagesOf)
    .map((message) => [message.name, message]),
);

/** Every message by its other name, `Class_method`. */
export const underscored: ReadonlyMap<string, Message> = new Map(
  [...surface.values()].map((message) => [`${message.cls}_${message.method}`, message]),
);

function messagesOf(cls: ClassModel): Message[] {
  const generic = cls.generic.map((kind) => message(cls, kind, { kind }, genericModel(cls, kind)));
  const perField = cls.inDatabase
    ? Object.entries(cls.fields).flatMap(([name, field]) => accessors(cls, name, field))
    : [];
  const custom = Object.entries(cls.messages).map(([method, model]) =>
    message(cls, method, model.accessor === true ? accessorAction(cls, method) : { kind: 'custom' }, model),
  );
  return [...generic, ...perField, ...custom];
}

/** What a message that is marked as an accessor does, by its name. */
function accessorAction(cls: ClassModel, method: string): Action {
  const [, kind, field = ''] = /^(set|add_to|remove_from|add|remove)_(.+)$/.exec(method) ?? [];
  if (kind === undefined || !Object.hasOwn(cls.fields, field)) {
    throw new Error(`${cls.name}.${method} is marked as an accessor and its name is that of none`);
  }
  return { kind: kind as 'set' | 'add_to' | 'remove_from' | 'add' | 'remove', field };
}

function message(cls: ClassModel, method: string, action: Action, model: MessageModel): Message {
  return {
    name: `${cls.name}.${method}`,
    cls: cls.name as ClassName,
    method,
    action,
    session: model.session ?? true,
    params: model.params.map(param),
    required: model.params.filter((each) => each.default === undefined).length,
    result: parseType(model.result),
    roles: rolesIn(model.roles),
    async: model.async ?? false,
    hidden: model.hidden ?? false,
    poolInternal: model.poolInternal ?? false,
    removed: model.removed ?? false,
    implemented: action.kind !== 'custom' || model.doc !== undefined,
    model,
  };
}

function param(model: ParamModel): Param {
  const type = parseType(model.type);
  if (model.default === undefined) return { name: model.name, type };
  return { name: model.name, type, makeDefault: () => fromDefault(type, model.default) };
}

function genericModel(cls: ClassModel, kind: GenericMessage): MessageModel {
  return { ...shapeOf(cls, kind), removed: cls.removed ?? false };
}

function shapeOf(cls: ClassModel, kind: GenericMessage): MessageModel {
  const roles = cls.readers ?? 'read-only';
  const refs = `set(ref:${cls.name})`;
  const records = `map(ref:${cls.name},record:${cls.name})`;
  switch (kind) {
    case 'get_record':
      return { params: [self(cls)], result: `record:${cls.name}`, roles };
    case 'get_by_uuid':
      return { params: [{ name: 'uuid', type: 'string' }], result: `ref:${cls.name}`, roles };
    case 'get_by_name_label':
      return { params: [{ name: 'label', type: 'string' }], result: refs, roles };
    case 'get_all':
      return { params: [], result: refs, roles };
    case 'get_all_records':
      return { params: [], result: records, roles };
    case 'get_all_where':
      return { params: [{ name: 'expr', type: 'string' }], result: refs, roles, hidden: true };
    case 'get_all_records_where':
      return { params: [{ name: 'expr', type: 'string' }], result: records, roles, hidden: true };
  }
}

function accessors(cls: ClassModel, field: string, model: FieldModel): Message[] {
  const removed = model.removed ?? false;
  const roles = model.readers ?? cls.readers ?? 'read-only';
  const getter: MessageModel = { params: [self(cls)], result: model.type, roles, removed };
  const get = message(cls, `get_${field}`, { kind: 'get', field }, getter);
  if (model.qualifier !== 'RW') return [get];
  const write = (kind: 'set' | 'add_to' | 'remove_from' | 'add' | 'remove', ...params: ParamModel[]) =>
    message(
      cls,
      `${kind}_${field}`,
      { kind, field },
      { params: [self(cls), ...params], result: 'void', roles: model.writers ?? 'pool-admin', removed },
    );
  const written = [get, write('set', { name: 'value', type: model.type })];
  const [, collection, inner = ''] = /^(set|map)\((.*)\)$/.exec(model.type) ?? [];
  if (collection === 'set') {
    const value = { name: 'value', type: inner };
    written.push(write('add', value), write('remove', value));
  }
  if (collection === 'map') {
    const comma = inner.indexOf(',');
    const key = { name: 'key', type: inner.slice(0, comma) };
    written.push(write('add_to', key, { name: 'value', type: inner.slice(comma + 1) }), write('remove_from', key));
  }
  return written;
}

function self(cls: ClassModel): ParamModel {
  return { name: 'self', type: `ref:${cls.name}` };
}
