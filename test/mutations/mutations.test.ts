import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { mutations } from './mutations.js';
import { compile, mutate, root } from './plant.js';

describe('Each planted mistake', () => {
  for (const mutation of mutations) {
    const { rule, file, test, title } = mutation;
    it(`can be made in ${file}, and has tests to find it: ${rule}`, () => {
      compile(mutation, mutate(mutation));
      expect(fs.readFileSync(path.join(root, 'test', `${test}.test.ts`), 'utf8')).to.contain(title);
    });
  }

  it('breaks a rule of its own', () => {
    expect(new Set(mutations.map(({ rule }) => rule)).size).to.equal(mutations.length);
  });
});
