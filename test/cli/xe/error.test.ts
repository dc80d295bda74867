import { expect } from 'chai';
import { XapiError } from '../../../src/base/errors.js';
import { errorLines } from '../../../src/cli/xe/error.js';

describe('an error of the server, as xe prints it', () => {
  it('says what a field can be, where the server names the field and the value alone', async () => {
    expect(await errorLines(new XapiError('INVALID_VALUE', ['VCPUs_max', '0']))).to.deep.equal([
      'The value is not allowed for the field.',
      'field: VCPUs_max',
      'value: 0',
      'allowed: VCPUs-at-startup to 1024',
    ]);
  });

  it('says no more than is known', async () => {
    expect(await errorLines(new XapiError('INVALID_VALUE', ['other_config:x', '0']))).to.deep.equal([
      'The value is not allowed for the field.',
      'field: other_config:x',
      'value: 0',
    ]);
  });

  it('puts what is left over into the last parameter, which may be a list', async () => {
    for (const [params, lines] of [
      [['a', 'b', 'c'], ['vifs: a, b, c']],
      [['a'], ['vifs: a']],
      [[], ['vifs: <unknown>']],
    ] as const) {
      expect(await errorLines(new XapiError('NETWORK_CONTAINS_VIF', params))).to.deep.equal([
        'Virtual interfaces are on the network.',
        ...lines,
      ]);
    }
    expect(await errorLines(new XapiError('TOO_BUSY', ['a', 'b']))).to.deep.equal([
      'The server has too much to do now.',
      '<extra>: a, b',
    ]);
  });
});
