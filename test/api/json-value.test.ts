import { expect } from 'chai';
import fc from 'fast-check';
import { type ClassName, classes } from '../../idl/index.js';
import { decodeJson, encodeJson } from '../../src/api/json-value.js';
import { XapiError } from '../../src/base/errors.js';
import { fieldsOf, parseType, recordWithDefaults, type Type, zeroOf } from '../../src/base/value.js';

function failureOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof XapiError) return error.message;
    throw error;
  }
  return 'no failure';
}

describe('parameters in JSON', () => {
  const accepted: [string, unknown, unknown][] = [
    ['string', 'é', 'é'],
    ['secretstring', 's', 's'],
    ['int', 5, 5],
    ['int', -1, -1],
    ['int', '42', 42],
    ['int', '-7', -7],
    ['int', 9007199254740991, 9007199254740991],
    ['float', 1.5, 1.5],
    ['float', 30, 30],
    ['float', '2.5', 2.5],
    ['bool', true, true],
    ['datetime', '20261123T09:17:05Z', new Date('2026-11-23T09:17:05Z')],
    ['ref:VM', 'OpaqueRef:x', 'OpaqueRef:x'],
    ['enum:vm_power_state', 'Running', 'Running'],
    ['set(int)', [1, '2'], [1, 2]],
    ['map(int,float)', { 3: 1 }, { 3: 1 }],
    ['map(string,string)', {}, {}],
    ['map(ref:VDI,ref:SR)', { 'OpaqueRef:a': 'OpaqueRef:b' }, { 'OpaqueRef:a': 'OpaqueRef:b' }],
    ['option(int)', null, undefined],
    ['option(int)', 4, 4],
  ];
  for (const [type, json, value] of accepted) {
    it(`are ${type} from ${JSON.stringify(json)}`, () => {
      expect(decodeJson(parseType(type), json)).to.deep.equal(value);
    });
  }

  const refused: [string, unknown, string][] = [
    ['string', 5, "Expected string, got 'I(5)'"],
    ['string', 1.5, "Expected string, got 'F(1.5)'"],
    ['string', null, "Expected string, got 'N'"],
    ['string', true, "Expected string, got 'B(true)'"],
    ['string', ['a', 1], "Expected string, got '[S(a);I(1)]'"],
    ['string', { a: [] }, "Expected string, got '{a:[]}'"],
    ['ref:VM', 5, "Expected string, got 'I(5)'"],
    ['int', 'five', "Expected int64, got 'S(five)'"],
    ['int', 1.5, "Expected int64, got 'F(1.5)'"],
    ['int', '', "Expected int64, got 'S()'"],
    ['int', '9007199254740993', "Expected int64 between -9007199254740991 and its opposite, got 'S(9007199254740993)'"],
    ['float', 'NaN', "Expected float, got 'S(NaN)'"],
    ['bool', 'true', "Expected bool, got 'S(true)'"],
    ['bool', 1, "Expected bool, got 'I(1)'"],
    ['datetime', 'now', "Expected DateTime, got 'S(now)'"],
    ['enum:on_boot', 'maybe', "Expected one of reset, persist, got 'S(maybe)'"],
    ['set(int)', {}, "Expected list, got '{}'"],
    ['set(int)', [1, 'x'], "Expected int64, got 'S(x)'"],
    ['map(string,int)', [], "Expected dictionary, got '[]'"],
    ['map(int,int)', { x: 1 }, "Expected int64, got 'S(x)'"],
    ['record:VIF', 'x', "Expected dictionary, got 'S(x)'"],
    ['record:VIF', { color: 1 }, "VIF has no field 'color'"],
  ];
  for (const [type, json, text] of refused) {
    it(`are no ${type} from ${JSON.stringify(json)}`, () => {
      const failure = failureOf(() => decodeJson(parseType(type), json));
      expect(failure).to.equal(`INTERNAL_ERROR Failure(${JSON.stringify(text)})`);
    });
  }

  it('fill a record up', () => {
    const vif = decodeJson(parseType('record:VIF'), { MTU: '1500', other_config: { a: 'b' } });
    expect(vif).to.deep.equal({ ...recordWithDefaults('VIF'), MTU: 1500, other_config: { a: 'b' } });
  });

  it('keep a key named __proto__ as a key', () => {
    const json: unknown = JSON.parse('{"__proto__":"x","constructor":"y"}');
    const map = decodeJson(parseType('map(string,string)'), json) as object;
    expect(Object.entries(map)).to.deep.equal([
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ]);
    expect(encodeJson(parseType('map(string,string)'), map)).to.equal('{"__proto__":"x","constructor":"y"}');
    expect(failureOf(() => decodeJson(parseType('record:VM'), json))).to.contain("VM has no field '__proto__'");
  });

  it('show deep and long values cut', () => {
    const deep: unknown = JSON.parse(`${'['.repeat(100_000)}${']'.repeat(100_000)}`);
    expect(failureOf(() => decodeJson({ kind: 'string' }, deep)))
      .to.contain('...')
      .and.have.length.below(200);
    expect(failureOf(() => decodeJson({ kind: 'int' }, 'x'.repeat(100_000)))).to.have.length.below(400);
    expect(failureOf(() => decodeJson({ kind: 'int' }, new Array(1000).fill(1)))).to.have.length.below(200);
  });
});

describe('results in JSON', () => {
  const written: [string, unknown, string][] = [
    ['string', 'a"\n', '"a\\"\\n"'],
    ['int', 42, '42'],
    ['int', -9007199254740991, '-9007199254740991'],
    ['float', 1, '1.0'],
    ['float', 0, '0.0'],
    ['float', -0, '-0.0'],
    ['float', 0.1, '0.1'],
    ['float', 1e21, '1e+21'],
    ['float', 1e20, '100000000000000000000.0'],
    ['float', 1e-7, '1e-7'],
    ['float', Number.NaN, 'NaN'],
    ['float', Number.POSITIVE_INFINITY, 'Infinity'],
    ['float', Number.NEGATIVE_INFINITY, '-Infinity'],
    ['bool', false, 'false'],
    ['datetime', new Date(0), '"19700101T00:00:00Z"'],
    ['ref:VM', '', '"OpaqueRef:NULL"'],
    ['ref:VM', 'OpaqueRef:x', '"OpaqueRef:x"'],
    ['void', undefined, '""'],
    ['set(float)', [1, 2.5], '[1.0,2.5]'],
    ['map(int,float)', { 0: 1 }, '{"0":1.0}'],
    ['map(ref:host,set(string))', { 'OpaqueRef:h': ['a'] }, '{"OpaqueRef:h":["a"]}'],
    ['option(string)', undefined, 'null'],
    [
      'record:VM_metrics',
      { ...recordWithDefaults('VM_metrics'), VCPUs_utilisation: { 0: 0 } },
      '{"uuid":"","memory_actual":0,"VCPUs_number":0,"VCPUs_utilisation":{"0":0.0},"VCPUs_CPU":{},"VCPUs_params":{},' +
        '"VCPUs_flags":{},"state":[],"start_time":"19700101T00:00:00Z","install_time":"19700101T00:00:00Z",' +
        '"last_updated":"19700101T00:00:00Z","other_config":{},"hvm":false,"nested_virt":false,"nomigrate":false,' +
        '"current_domain_type":"unspecified","numa_optimised":false,"numa_nodes":0,"numa_node_memory":{}}',
    ],
  ];
  for (const [type, value, text] of written) {
    it(`are ${text.slice(0, 60)} for ${type}`, () => {
      expect(encodeJson(parseType(type), value)).to.equal(text);
    });
  }

  const misfits: [string, unknown][] = [
    ['string', undefined],
    ['int', 1.5],
    ['float', '1'],
    ['bool', 'true'],
    ['datetime', '19700101T00:00:00Z'],
    ['set(int)', {}],
    ['map(string,int)', []],
    ['record:VM', {}],
  ];
  for (const [type, value] of misfits) {
    it(`are refused where the server made ${JSON.stringify(value)} of ${type}`, () => {
      expect(failureOf(() => encodeJson(parseType(type), value))).to.match(/^INTERNAL_ERROR a value of type/);
    });
  }

  it("have event.from's own shape, with each snapshot by its class", () => {
    const batch = {
      events: [
        {
          id: '7',
          timestamp: '0.0',
          class: 'task',
          operation: 'mod',
          ref: 'OpaqueRef:t',
          snapshot: { ...recordWithDefaults('task'), progress: 1 },
        },
        { id: '8', timestamp: '0.0', class: 'vm', operation: 'del', ref: 'OpaqueRef:v' },
      ],
      valid_ref_counts: { task: 1, vm: 0 },
      token: '00000000000000000008,00000000000000000000',
    };
    const text = encodeJson(parseType('record:event_batch'), batch);
    expect(text).to.match(
      /^{"events":\[{"id":"7","timestamp":"0.0","class":"task","operation":"mod","ref":"OpaqueRef:t","snapshot":{"uuid":"",/,
    );
    expect(text).to.contain('"progress":1.0,');
    expect(text).to.match(
      /},{"id":"8","timestamp":"0.0","class":"vm","operation":"del","ref":"OpaqueRef:v"}\],"valid_ref_counts":{"task":1,"vm":0},"token":"00000000000000000008,00000000000000000000"}$/,
    );
  });
});

/** Any value of a type. */
function anyOf(type: Type): fc.Arbitrary<unknown> {
  switch (type.kind) {
    case 'string':
      return fc.string({ unit: 'binary' });
    case 'int':
      return fc.maxSafeInteger();
    case 'float':
      return fc.double({ noNaN: true, noDefaultInfinity: true });
    case 'bool':
      return fc.boolean();
    case 'datetime':
      return fc.integer({ min: 0, max: 250_000_000_000 }).map((seconds) => new Date(seconds * 1000));
    case 'ref':
      return fc.uuid().map((uuid) => `OpaqueRef:${uuid}`);
    case 'enum':
      return fc.constantFrom(...type.values);
    case 'set':
      return fc.array(anyOf(type.element), { maxLength: 3 });
    case 'map':
      return fc.dictionary(anyOf(type.key).map(String), anyOf(type.value), { maxKeys: 3, noNullPrototype: true });
    case 'record':
      return fc.record(Object.fromEntries([...fieldsOf(type.cls).values()].map((f) => [f.name, anyOf(f.type)])));
    default:
      return fc.constant(zeroOf(type));
  }
}

describe('types there and back', () => {
  for (const cls of Object.keys(classes) as ClassName[]) {
    it(`keep every record of ${cls}`, () => {
      const type: Type = { kind: 'record', cls };
      fc.assert(
        fc.property(anyOf(type), (value) => {
          const json: unknown = JSON.parse(encodeJson(type, value));
          expect(decodeJson(type, json)).to.deep.equal(value);
        }),
        { numRuns: 20 },
      );
    });
  }
});
