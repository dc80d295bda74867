import { expect } from 'chai';
import { parseFilter } from '../../src/api/filter.js';
import { recordWithDefaults } from '../../src/model/value.js';
import { refusalOf } from '../support/refusal.js';

describe('a filter', () => {
  const vm = {
    ...recordWithDefaults('VM'),
    power_state: 'Running',
    name_label: 'C:\\new',
    name_description: 'a "b"',
    VCPUs_max: 2,
    is_a_template: false,
  };
  const rows: [string, boolean][] = [
    ['true', true],
    ['false', false],
    ['field "power_state" = "Running"', true],
    ["field 'power_state'='Halted'", false],
    ['"Running" = field "power_state"', true],
    ['field "VCPUs_max" = "2"', true],
    ['field "is_a_template" = "false"', true],
    ['field "HVM_shadow_multiplier" = "1.0"', true],
    ['field "snapshot_time" = "19700101T00:00:00Z"', true],
    ['field "resident_on" = "OpaqueRef:NULL"', true],
    ['field "name__label" = "C:\\new"', true],
    ["field 'name_description' = 'a \"b\"'", true],
    ['not false', true],
    ['not (true and not false)', false],
    ['false and false or true', true],
    ['true or true and false', false],
    ['true or (true and false)', true],
    ['(true or true) and false', false],
    ['not false and false', true],
    ['(not false) and false', false],
    ['true and not false or true', false],
    ['field "name_label" = field "name_label"', true],
  ];
  for (const [expression, expected] of rows) {
    it(`says ${expected} to ${expression}`, () => {
      expect(parseFilter('VM', expression)(vm)).to.equal(expected);
    });
  }

  const wrong: [string, string][] = [
    ['', 'a text in quotes was expected, not the end'],
    ['maybe', "a text in quotes was expected, not 'maybe'"],
    ['true true', "the end was expected, not 'true'"],
    ['(true', "')' was expected, not the end"],
    ['field "power_state"', "'=' was expected, not the end"],
    ['field "power_state" = "Runn', "a text in quotes was expected, not '\"'"],
    ['field "colour" = "red"', "VM has no field 'colour'"],
    ['field "tags" = "red"', "the values of 'tags' are no plain texts that could be compared"],
    ['('.repeat(9_000), 'more than 100 levels deep'],
    ['not '.repeat(9_000), 'more than 100 levels deep'],
    [`true${' and true'.repeat(300_000)}`, 'more than 10000 words'],
  ];
  for (const [expression, reason] of wrong) {
    it(`is refused: ${expression.slice(0, 40)}`, () => {
      const { code, params, cause } = refusalOf(() => parseFilter('VM', expression));
      expect([code, ...params]).to.deep.equal(['INVALID_VALUE', 'expr', expression.slice(0, 300)]);
      expect(cause).to.equal(`the filter expression is wrong: ${reason}`);
    });
  }

  it('takes as many terms as there may be', () => {
    expect(parseFilter('VM', `false${' or false'.repeat(4_990)} or true`)(vm)).to.equal(true);
    expect(parseFilter('VM', `true${' and true'.repeat(4_990)} and false`)(vm)).to.equal(false);
  });
});
