import { expect } from 'chai';
import { defined } from '../../src/base/defined.js';

describe('an object of what is defined', () => {
  it('has the fields with a value, null, 0 and the empty text among them, and no others', () => {
    const fields = { none: undefined, null: null, zero: 0, empty: '', no: false };
    expect(defined(fields)).to.deep.equal({ null: null, zero: 0, empty: '', no: false });
    expect(Object.keys(defined({ a: undefined }))).to.deep.equal([]);
  });

  it('has optional fields for those that may be undefined', () => {
    const size = [3].find((one) => one > 1);
    const made: { readonly name: string; readonly size?: number } = defined({ name: 'a', size });
    expect(made).to.deep.equal({ name: 'a', size: 3 });
  });
});
