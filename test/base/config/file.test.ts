import { expect } from 'chai';
import fc from 'fast-check';
import { parseConfigText } from '../../../src/base/config/file.js';

describe('the syntax of xenopsd.conf', () => {
  for (const [what, text, value] of [
    ['a word', 'key = value', 'value'],
    ['no space', 'key=value', 'value'],
    ['much space', '\t key \t=  value  ', 'value'],
    ['nothing', 'key =', ''],
    ['a comment', 'key = value # comment', 'value'],
    ['a comment at once', 'key = value#comment', 'value'],
    ['a comment alone', 'key = # comment', ''],
    ['an escaped hash', 'key = a\\#b # c', 'a#b'],
    ['a semicolon', 'key = a ;b;c', 'a ;b;c'],
    ['an escaped semicolon', 'key = a\\;b', 'a;b'],
    ['another backslash', 'key = a\\b', 'a\\b'],
    ['an equals sign', 'key = a=b', 'a=b'],
    ['double quotes', 'key = "a # b"', 'a # b'],
    ['single quotes', "key = 'a # b'", 'a # b'],
    ['quotes and a comment', 'key = "a" # b', 'a'],
    ['quotes and a comment with quotes', 'key = "a" # "b"', 'a'],
    ['a number in quotes', "key = '007'", '007'],
    ['a number of another form in quotes', "key = '1e3'", '1e3'],
    ['a backslash in quotes', 'key = "a\\d"', 'a\\d'],
    ['space in quotes', 'key = " a "', ' a '],
    ['nothing in quotes', 'key = ""', ''],
    ['quotes of the other kind in quotes', `key = "it's"`, "it's"],
    ['an apostrophe', "key = it's", "it's"],
    ['a word that ini knows', 'key = true', 'true'],
    ['another word that ini knows', 'key = null', 'null'],
    ['brackets', 'key = [a]', '[a]'],
    ['a comment with an equals sign', 'key = a # b = c', 'a'],
  ] as const) {
    it(`takes ${what} as the value`, () => {
      expect(parseConfigText(text)).to.deep.equal({ entries: [{ key: 'key', value, line: 1 }], problems: [] });
    });
  }

  it('keeps repeated keys in order, with their lines', () => {
    const text = '\uFEFF# head\r\n\r\na = 1\r\n  # indented\nb = 2\n\na = 3';
    expect(parseConfigText(text).entries).to.deep.equal([
      { key: 'a', value: '1', line: 3 },
      { key: 'b', value: '2', line: 5 },
      { key: 'a', value: '3', line: 7 },
    ]);
  });

  for (const key of ['__proto__', 'constructor', 'list[]', 'a.b']) {
    it(`takes ${key} as any other key`, () => {
      expect(parseConfigText(`${key} = 1`).entries).to.deep.equal([{ key, value: '1', line: 1 }]);
    });
  }

  it('reports every line that is no setting, by its number', () => {
    const text = [
      '[section]',
      'fine = 1',
      'word',
      '= value',
      '; comment',
      'a b = 1',
      'open = "x',
      'after = "x" y',
    ].join('\n');
    const { entries, problems } = parseConfigText(text);
    expect(entries.map(({ key }) => key)).to.deep.equal(['fine']);
    expect(problems.map(({ line }) => line)).to.deep.equal([1, 3, 4, 5, 6, 7, 8]);
    expect(problems[0]?.message).to.contain('"[section]"').and.to.contain('allowed is key = value');
    expect(problems[5]?.message).to.contain('the quote does not close');
  });

  it('gives back any text without quotes and controls that stands in quotes', () => {
    const text = fc.string({ unit: 'grapheme' }).filter((value) => !/["\n\r]/.test(value));
    fc.assert(
      fc.property(text, (value) => {
        expect(parseConfigText(`key = "${value}"`).entries).to.deep.equal([{ key: 'key', value, line: 1 }]);
      }),
    );
  });
});
