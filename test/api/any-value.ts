/** Values of the model's types, made up. */
import fc from 'fast-check';
import { forbiddenInXml } from '../../src/base/schema.js';
import { fieldsOf, type Type } from '../../src/model/value.js';

/** Any text that a call may carry. */
const text = fc.string({ unit: 'binary', maxLength: 12 }).filter((each) => !forbiddenInXml.test(each));

/** Any reference to an object of a class, or to none. */
function anyRef(_cls: string): fc.Arbitrary<string> {
  return fc.oneof(
    fc.uuid().map((uuid) => `OpaqueRef:${uuid}`),
    fc.constant('OpaqueRef:NULL'),
  );
}

/**
 * Any value of a type; an option of an option, which no protocol can tell apart from one, has a value.
 * @param refTo references to objects of a class; made up where absent
 */
export function anyOf(type: Type, refTo: (cls: string) => fc.Arbitrary<string> = anyRef): fc.Arbitrary<unknown> {
  const any = (inner: Type) => anyOf(inner, refTo);
  switch (type.kind) {
    case 'string':
      return fc.oneof(text, fc.constantFrom('', ' ', '\r\n\t', '<a>&amp;"\'', ']]>', '5', 'true', '__proto__'));
    case 'int':
      return fc.oneof(fc.maxSafeInteger(), fc.integer({ min: -2, max: 2 }));
    case 'float':
      return fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer({ min: -2, max: 2 }));
    case 'bool':
      return fc.boolean();
    case 'datetime':
      return fc.integer({ min: -62_167_219_200, max: 253_402_300_799 }).map((seconds) => new Date(seconds * 1000));
    case 'ref':
      return refTo(type.cls);
    case 'enum':
      return fc.constantFrom(...type.values);
    case 'set':
      return fc.array(any(type.element), { maxLength: 3 });
    case 'map':
      return fc
        .array(fc.tuple(any(type.key).map(String), any(type.value)), { maxLength: 3 })
        .map((entries) => Object.fromEntries(entries));
    case 'record':
      return fc.record(Object.fromEntries([...fieldsOf(type.cls).values()].map((f) => [f.name, any(f.type)])));
    case 'option':
      return type.element.kind === 'option' ? any(type.element) : fc.option(any(type.element), { nil: undefined });
    case 'void':
    case 'event_batch':
    case 'event_change':
      return fc.constant(undefined);
  }
}

/** Any type whose values can be parameters, nested up to three deep. */
export const anyType: fc.Arbitrary<Type> = fc.letrec<{ type: Type }>((tie) => ({
  type: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom<Type>(
      ...(['string', 'int', 'float', 'bool', 'datetime'] as const).map((kind) => ({ kind })),
      { kind: 'ref', cls: 'VM' },
      { kind: 'enum', name: 'on_boot', values: ['reset', 'persist'] },
      { kind: 'record', cls: 'VIF' },
    ),
    fc.record({ kind: fc.constantFrom('set', 'option'), element: tie('type') }) as fc.Arbitrary<Type>,
    fc.record({
      kind: fc.constant('map'),
      key: fc.constantFrom<Type>({ kind: 'string' }, { kind: 'int' }, { kind: 'ref', cls: 'VDI' }),
      value: tie('type'),
    }) as fc.Arbitrary<Type>,
  ),
})).type;
