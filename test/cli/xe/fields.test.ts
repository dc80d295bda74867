import { expect } from 'chai';
import { type ClassModel, classes } from '../../../idl/index.js';
import { fieldOf, fieldsOf, type NamedField, type XeClass, xeClasses } from '../../../src/cli/xe/fields.js';
import { surface } from '../../../src/model/surface.js';

const models: Readonly<Record<string, ClassModel>> = classes;

/** Fields for which no server has a value: they show what stands for none. */
const withoutSource = ['io_read_kbs', 'io_write_kbs', 'attachable', 'utilisation', 'supported-sr-types', 'secret'];

function endOfPath(className: string, path: readonly string[]): string | undefined {
  const type = models[className]?.fields[path[0] as string]?.type;
  if (type === undefined || path.length === 1) return type;
  return endOfPath(/^(?:set\()?ref:(\w+)/.exec(type)?.[1] ?? '', path.slice(1));
}

function messagesThatChange({ class: className }: XeClass, field: NamedField): string[] {
  const name = field.member ?? field.setter;
  const of = (...verbs: string[]) => verbs.map((verb) => `${className}.${verb}_${name}`);
  if (field.setKey !== undefined) return [`${className}.${field.setKey}`];
  if (field.whole) return [`${className}.set_${field.setter}`, `${className}.get_${field.setter}`];
  if (field.kind === 'RW') return of('set');
  if (field.kind === 'SRW') return of('add', 'remove');
  return field.kind === 'MRW' ? of('add_to', 'remove_from') : [];
}

describe('the classes that xe shows', () => {
  for (const shown of Object.values(xeClasses) as XeClass[]) {
    it(`${shown.command}: its fields are in the model, and can be changed where they say so`, () => {
      for (const field of fieldsOf(shown)) {
        const source = field.call ?? field.setter;
        if (field.call !== undefined) expect(surface.has(field.call), source).to.equal(true);
        else if (field.everyHost !== undefined) expect(endOfPath('host', [field.everyHost]), source).to.be.a('string');
        else if (!withoutSource.includes(field.name)) {
          expect(endOfPath(shown.class, field.setter.split('.')), `${field.name}: ${source}`).to.be.a('string');
        }
        for (const message of messagesThatChange(shown, field)) {
          expect(surface.has(message), `${field.name}: ${message}`).to.equal(true);
        }
      }
    });

    it(`${shown.command}: its columns and filters are fields`, () => {
      const columns = shown.columns === 'all' ? [] : shown.columns;
      for (const name of [...columns, ...Object.keys(shown.where ?? {})])
        expect(fieldOf(shown, name).name).to.equal(name);
    });
  }
});
