import { expect } from 'chai';
import fc from 'fast-check';
import { classes } from '../../idl/index.js';
import { encodeJson } from '../../src/api/json-value.js';
import { decodeValue } from '../../src/api/typed-value.js';
import { parseXmlCall } from '../../src/api/xml-call.js';
import { encodeXml } from '../../src/api/xml-value.js';
import { surface } from '../../src/model/surface.js';
import type { Type } from '../../src/model/value.js';
import { anyOf, anyType } from './any-value.js';

/** A value as it comes back from its text, by protocol. */
const throughs: Record<string, (type: Type, value: unknown) => unknown> = {
  JSON: (type, value) => decodeValue(type, JSON.parse(encodeJson(type, value))),
  XML: (type, value) => decodeValue(type, throughXml(encodeXml(type, value))),
};

function throughXml(value: string): unknown {
  const params = `<params><param>${value}</param></params>`;
  const call = parseXmlCall(`<methodCall><methodName>m</methodName>${params}</methodCall>`);
  if ('reason' in call) throw new Error(call.reason);
  return call.params[0];
}

/** Every type that the model writes for a parameter, a result or a field, by its text. */
const written: ReadonlyMap<string, Type> = new Map(
  [...surface.values()]
    .flatMap(({ params, result }) => [...params.map(({ type }) => type), result])
    .filter(({ kind }) => kind !== 'void')
    .map((type) => [JSON.stringify(type), type] as const)
    .filter(([text]) => !/event_(batch|change)/.test(text)),
);

for (const [protocol, through] of Object.entries(throughs)) {
  describe(`Through ${protocol} and back`, () => {
    it('every type of the model keeps its values', () => {
      expect(written.size).to.be.above(Object.keys(classes).length);
      for (const type of written.values()) {
        fc.assert(
          fc.property(anyOf(type), (value) => {
            expect(through(type, value)).to.deep.equal(value);
          }),
          { numRuns: 5 },
        );
      }
    });

    it('nested sets, maps, records and options keep their values', () => {
      const typed = anyType.chain((type) => fc.tuple(fc.constant(type), anyOf(type)));
      fc.assert(
        fc.property(typed, ([type, value]) => {
          expect(through(type, value)).to.deep.equal(value);
        }),
      );
    });
  });
}

describe('Through XML and back', () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    it(`${value} stays what it is`, () => {
      expect(throughXml(encodeXml({ kind: 'float' }, value))).to.deep.equal(value);
    });
  }
});
