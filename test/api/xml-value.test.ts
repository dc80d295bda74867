import { expect } from 'chai';
import { encodeXml } from '../../src/api/xml-value.js';
import { parseType, recordWithDefaults } from '../../src/model/value.js';
import { failureOf } from './fake-deps.js';

describe('a result in XML', () => {
  const rows: [string, unknown, string][] = [
    ['void', undefined, '<value></value>'],
    ['ref:VM', 'OpaqueRef:x', '<value>OpaqueRef:x</value>'],
    ['ref:VM', '', '<value>OpaqueRef:NULL</value>'],
    ['string', 'a<b>&"', '<value>a&lt;b&gt;&amp;&quot;</value>'],
    ['string', 'a\r\n\u0001\ud800]]>', '<value>a&#13;\n\ufffd\ufffd]]&gt;</value>'],
    ['enum:on_boot', 'reset', '<value>reset</value>'],
    ['int', 42, '<value>42</value>'],
    ['float', 1, '<value><double>1.0</double></value>'],
    ['float', Number.NaN, '<value><double>NaN</double></value>'],
    ['float', Number.NEGATIVE_INFINITY, '<value><double>-Infinity</double></value>'],
    ['bool', true, '<value><boolean>1</boolean></value>'],
    ['datetime', new Date(0), '<value><dateTime.iso8601>19700101T00:00:00Z</dateTime.iso8601></value>'],
    ['set(string)', ['a', 'b'], '<value><array><data><value>a</value><value>b</value></data></array></value>'],
    ['set(string)', [], '<value><array><data></data></array></value>'],
    [
      'map(string,int)',
      { 'a&': 1 },
      '<value><struct><member><name>a&amp;</name><value>1</value></member></struct></value>',
    ],
    ['option(int)', undefined, '<value><nil/></value>'],
    ['option(int)', 5, '<value>5</value>'],
  ];
  for (const [type, value, text] of rows) {
    it(`of type ${type} is ${JSON.stringify(text)}`, () => {
      expect(encodeXml(parseType(type), value)).to.equal(text);
    });
  }

  it('of a record has its fields in order', () => {
    const text = encodeXml(parseType('record:console'), recordWithDefaults('console'));
    expect(text).to.match(
      /^<value><struct><member><name>uuid<\/name><value><\/value><\/member><member><name>protocol<\/name><value>vt100</,
    );
  });

  const misfits: [string, unknown][] = [
    ['string', undefined],
    ['ref:VM', null],
    ['int', 1.5],
    ['float', '1'],
    ['bool', 'true'],
    ['datetime', '19700101T00:00:00Z'],
    ['set(int)', {}],
    ['map(string,int)', []],
    ['record:VM', {}],
  ];
  for (const [type, value] of misfits) {
    it(`is refused where the server made ${JSON.stringify(value)} of ${type}`, () => {
      expect(failureOf(() => encodeXml(parseType(type), value))).to.match(/^INTERNAL_ERROR a value of type/);
    });
  }
});
