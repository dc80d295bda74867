import { expect } from 'chai';
import { encodeJson } from '../../src/api/json-value.js';
import { parseType, recordWithDefaults } from '../../src/model/value.js';
import { failureOf } from './fake-deps.js';

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
    ['map(string,string)', JSON.parse('{"__proto__":"x"}'), '{"__proto__":"x"}'],
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
