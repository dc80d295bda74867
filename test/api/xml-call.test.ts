import { expect } from 'chai';
import { parseXmlCall } from '../../src/api/xml-call.js';

/** A call with one parameter, which a value's content is given for. */
function withValue(content: string): string {
  return `<methodCall><methodName>m</methodName><params><param><value>${content}</value></param></params></methodCall>`;
}

describe('A call in XML', () => {
  const values: [string, unknown][] = [
    ['', ''],
    ['text', 'text'],
    [' a\n b ', ' a\n b '],
    ['<string></string>', ''],
    ['<string/>', ''],
    ['\n  <string> a </string>\n', ' a '],
    ['&lt;&gt;&amp;&quot;&apos;&#65;&#x1F600;', `<>&"'A\u{1f600}`],
    ['a<![CDATA[<b>&]]>c', 'a<b>&c'],
    ['a<!-- no -->b', 'ab'],
    ['<int>5</int>', 5],
    ['<i4> -5\n</i4>', -5],
    ['<i8>+9007199254740991</i8>', 9007199254740991],
    ['<i8>9007199254740993</i8>', '9007199254740993'],
    ['<boolean>1</boolean>', true],
    ['<boolean>0</boolean>', false],
    ['<double>1</double>', 1],
    ['<double>-1.5e-3</double>', -0.0015],
    ['<double>.5</double>', 0.5],
    ['<double>NaN</double>', Number.NaN],
    ['<double>-inf</double>', Number.NEGATIVE_INFINITY],
    ['<double>Infinity</double>', Number.POSITIVE_INFINITY],
    ['<dateTime.iso8601>20261123T09:17:05Z</dateTime.iso8601>', '20261123T09:17:05Z'],
    ['<nil/>', null],
    ['<array><data></data></array>', []],
    ['<array><data/></array>', []],
    ['<array/>', []],
    ['<array> </array>', []],
    ['<struct/>', {}],
    ['<string/>', ''],
    ['<ex:nil/>', null],
    ['<ex:i8>7</ex:i8>', 7],
    ['<array><data><value>a</value><value><int>1</int></value></data></array>', ['a', 1]],
    ['<struct></struct>', {}],
    ['<struct><member><name>a b</name><value/></member></struct>', { 'a b': '' }],
    [
      '<struct> <member> <name>x</name> <value><array><data><value><struct/></value></data></array></value> </member> </struct>',
      { x: [{}] },
    ],
  ];
  for (const [content, value] of values) {
    it(`has ${JSON.stringify(value)} for ${JSON.stringify(content)}`, () => {
      expect(parseXmlCall(withValue(content))).to.deep.equal({ method: 'm', params: [value] });
    });
  }

  it('keeps a member named __proto__ as one like any other', () => {
    const call = parseXmlCall(withValue('<struct><member><name>__proto__</name><value>x</value></member></struct>'));
    expect(Object.entries('params' in call ? (call.params[0] as object) : {})).to.deep.equal([['__proto__', 'x']]);
  });

  const heads: [string, string][] = [
    ['no declaration', ''],
    ['a byte order mark', '\ufeff'],
    ['a declaration', '<?xml version="1.0"?>\n'],
    ['UTF-8', "<?xml version='1.0' encoding='utf-8' standalone='yes'?>"],
    ['a comment', '<!-- hello -->'],
  ];
  for (const [what, head] of heads) {
    it(`may begin with ${what}`, () => {
      const text = `${head}<methodCall>\n<methodName> VM.start </methodName></methodCall>\n`;
      expect(parseXmlCall(text)).to.deep.equal({ method: 'VM.start', params: [] });
    });
  }

  const bomb = `<!DOCTYPE x [<!ENTITY a "${'a'.repeat(1000)}"><!ENTITY b "${'&a;'.repeat(1000)}">]>`;
  const refused: [string, string, number, RegExp][] = [
    ['nothing', '', -32700, /document must contain a root element/],
    ['no XML', '{"id":1}', -32700, /text data outside of root node/],
    ['random bytes', '\ufffd\u0000\ufffd', -32700, /disallowed character|text data outside/],
    ['an open end', '<methodCall><methodName>m</methodName>', -32700, /unclosed tag: methodCall/],
    [
      'crossed tags',
      '<methodCall><methodName>m</methodCall></methodName>',
      -32700,
      /unexpected close tag|unclosed tag/,
    ],
    [
      'two roots',
      '<methodCall><methodName>m</methodName></methodCall><methodCall/>',
      -32700,
      /documents may contain only one root/,
    ],
    ['trailing junk', '<methodCall><methodName>m</methodName></methodCall>x', -32700, /text data outside of root node/],
    ['a control character', withValue('a\u0001'), -32700, /disallowed character/],
    ['a reference to a control character', withValue('&#1;'), -32700, /malformed character entity/],
    ['an entity that XML lacks', withValue('&nbsp;'), -32700, /undefined entity/],
    ['a document type', `<!DOCTYPE methodCall>${withValue('')}`, -32600, /document type is not allowed/],
    ['an entity bomb', bomb + withValue('&b;'), -32600, /document type is not allowed/],
    [
      'an external entity',
      `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>${withValue('&e;')}`,
      -32600,
      /document type/,
    ],
    ['another root', '<methodResponse/>', -32600, /<methodResponse> stands where methodCall is allowed/],
    ['no method', '<methodCall/>', -32600, /<methodCall> holds nothing; wanted: methodName, params/],
    [
      'two methods',
      '<methodCall><methodName>m</methodName><methodName>n</methodName></methodCall>',
      -32600,
      /<methodCall> holds/,
    ],
    ['an unknown element', withValue('<base64>YQ==</base64>'), -32600, /<base64> stands where string, boolean, /],
    ['an element in text', withValue('<string><b/></string>'), -32600, /<b> stands where only text is allowed/],
    ['two values in one', withValue('<int>1</int><int>2</int>'), -32600, /<value> holds 2 elements; allowed: one/],
    ['text beside an element', withValue('a<int>1</int>'), -32600, /text between the elements of <value>/],
    [
      'a parameter without a value',
      '<methodCall><methodName>m</methodName><params><param/></params></methodCall>',
      -32600,
      /<param> holds 0/,
    ],
    [
      'a member without a name',
      withValue('<struct><member><value/></member></struct>'),
      -32600,
      /<member> holds value; wanted: name, value/,
    ],
    ['a wrong integer', withValue('<int>five</int>'), -32600, /<int> holds 'five', which is no such value/],
    ['an empty integer', withValue('<i4/>'), -32600, /<i4> holds ''/],
    ['a wrong boolean', withValue('<boolean>true</boolean>'), -32600, /<boolean> holds 'true'/],
    ['a wrong double', withValue('<double>0x10</double>'), -32600, /<double> holds '0x10'/],
    ['a nil that holds something', withValue('<nil>1</nil>'), -32600, /<nil> holds '1'/],
    [
      'deep nesting',
      `<methodCall>${'<params><param><value><array><data><value><array><data>'.repeat(30_000)}`,
      -32600,
      /stands where/,
    ],
    ['deep arrays', withValue('<array><data><value>'.repeat(12_000)), -32600, /elements are more than 100 deep/],
    [
      'deep structs',
      withValue('<struct><member><name>a</name><value>'.repeat(8_000)),
      -32600,
      /elements are more than 100 deep/,
    ],
  ];
  for (const [what, text, code, reason] of refused) {
    it(`is no call: ${what}`, () => {
      const refusal = parseXmlCall(text);
      if (!('reason' in refusal)) throw new Error(`taken as ${JSON.stringify(refusal)}`);
      expect(refusal.reason).to.match(reason);
      expect(refusal.code).to.equal(code);
      expect(refusal.reason).to.have.length.below(300);
    });
  }
});
