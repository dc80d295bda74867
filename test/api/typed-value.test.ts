import { expect } from 'chai';
import { decodeValue } from '../../src/api/typed-value.js';
import { parseType, recordWithDefaults } from '../../src/model/value.js';
import { failureOf } from './fake-deps.js';

describe('parameters', () => {
  const accepted: [string, unknown, unknown][] = [
    ['string', 'é', 'é'],
    ['secretstring', 's', 's'],
    ['int', 5, 5],
    ['int', -1, -1],
    ['int', '42', 42],
    ['int', '-7', -7],
    ['int', '-0', 0],
    ['int', '+5', 5],
    ['int', 9007199254740991, 9007199254740991],
    ['float', 1.5, 1.5],
    ['float', 30, 30],
    ['float', '2.5', 2.5],
    ['float', 'NaN', Number.NaN],
    ['float', '-Infinity', Number.NEGATIVE_INFINITY],
    ['float', '+Inf', Number.POSITIVE_INFINITY],
    ['float', '-inf', Number.NEGATIVE_INFINITY],
    ['float', 'nan', Number.NaN],
    ['float', '+.5e1', 5],
    ['bool', true, true],
    ['datetime', '20261123T09:17:05Z', new Date('2026-11-23T09:17:05Z')],
    ['ref:VM', 'OpaqueRef:x', 'OpaqueRef:x'],
    ['enum:vm_power_state', 'Running', 'Running'],
    ['enum:vm_power_state', 'RUNNING', 'Running'],
    ['map(enum:vm_operations,string)', { POOL_MIGRATE: 'no' }, { pool_migrate: 'no' }],
    ['set(int)', [1, '2'], [1, 2]],
    ['map(int,float)', { 3: 1 }, { 3: 1 }],
    ['map(string,string)', {}, {}],
    ['map(ref:VDI,ref:SR)', { 'OpaqueRef:a': 'OpaqueRef:b' }, { 'OpaqueRef:a': 'OpaqueRef:b' }],
    ['option(int)', null, undefined],
    ['option(int)', 4, 4],
  ];
  for (const [type, json, value] of accepted) {
    it(`are ${type} from ${JSON.stringify(json)}`, () => {
      expect(decodeValue(parseType(type), json)).to.deep.equal(value);
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
    ['float', 'nano', "Expected float, got 'S(nano)'"],
    ['float', '', "Expected float, got 'S()'"],
    ['bool', 'true', "Expected bool, got 'S(true)'"],
    ['bool', 1, "Expected bool, got 'I(1)'"],
    ['datetime', 'now', "Expected DateTime, got 'S(now)'"],
    ['enum:on_boot', 'maybe', "Expected one of reset, persist, got 'S(maybe)'"],
    ['set(int)', {}, "Expected list, got '{}'"],
    ['set(int)', [1, 'x'], "Expected int64, got 'S(x)'"],
    ['map(string,int)', [], "Expected dictionary, got '[]'"],
    ['map(int,int)', { x: 1 }, "Expected int64, got 'S(x)'"],
    ['record:VIF', 'x', "Expected dictionary, got 'S(x)'"],
  ];
  for (const [type, json, text] of refused) {
    it(`are no ${type} from ${JSON.stringify(json)}`, () => {
      const failure = failureOf(() => decodeValue(parseType(type), json));
      expect(failure).to.equal(`INTERNAL_ERROR Failure(${JSON.stringify(text)})`);
    });
  }

  for (const [type, json, name, value] of [
    ['int', 9007199254740992, 'size', '9007199254740992'],
    ['int', '-9007199254740993', 'size', '-9007199254740993'],
    ['set(int)', ['99999999999999999999'], 'size', '99999999999999999999'],
    ['map(string,int)', { x: '9007199254740992' }, 'size', '9007199254740992'],
    ['record:VM', { memory_static_max: '9007199254740992' }, 'memory_static_max', '9007199254740992'],
  ] as const) {
    it(`are no ${type} from ${JSON.stringify(json)}, which is not exact, and the error names ${name}`, () => {
      expect(failureOf(() => decodeValue(parseType(type), json, 'size'))).to.equal(`INVALID_VALUE ${name} ${value}`);
    });
  }

  it('fill a record up, and drop what the model does not have', () => {
    const sent: unknown = JSON.parse('{"MTU":"1500","other_config":{"a":"b"},"color":1,"__proto__":"x"}');
    const vif = decodeValue(parseType('record:VIF'), sent);
    expect(vif).to.deep.equal({ ...recordWithDefaults('VIF'), MTU: 1500, other_config: { a: 'b' } });
  });

  it('keep a key named __proto__ as a key', () => {
    const json: unknown = JSON.parse('{"__proto__":"x","constructor":"y"}');
    const map = decodeValue(parseType('map(string,string)'), json) as object;
    expect(Object.entries(map)).to.deep.equal([
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ]);
  });

  it('show deep and long values cut', () => {
    const deep: unknown = JSON.parse(`${'['.repeat(100_000)}${']'.repeat(100_000)}`);
    expect(failureOf(() => decodeValue({ kind: 'string' }, deep)))
      .to.contain('...')
      .and.have.length.below(200);
    expect(failureOf(() => decodeValue({ kind: 'int' }, 'x'.repeat(100_000)))).to.have.length.below(400);
    expect(failureOf(() => decodeValue({ kind: 'int' }, new Array(1000).fill(1)))).to.have.length.below(200);
  });
});
