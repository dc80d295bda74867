import { expect } from 'chai';
import { type Operation, vmOf } from '../../src/xenops/operations.js';
import { plan, undoOf } from '../../src/xenops/plan.js';
import { testDomain } from '../support/hosts.js';

describe('the plan of an operation', () => {
  const spec = testDomain({ uuid: 'a' });
  const rows: [operation: Operation, steps: string[]][] = [
    [{ kind: 'start', spec, paused: false }, ['create', 'build', 'discard', 'unpause']],
    [{ kind: 'start', spec, paused: true }, ['create', 'build', 'discard']],
    [{ kind: 'pause', uuid: 'a' }, ['pause']],
    [{ kind: 'unpause', uuid: 'a' }, ['discard', 'unpause']],
    [{ kind: 'shutdown', uuid: 'a', clean: true }, ['end-guest', 'destroy', 'discard']],
    [{ kind: 'shutdown', uuid: 'a', clean: false }, ['destroy', 'discard']],
    [{ kind: 'reboot', spec, clean: true }, ['end-guest', 'destroy', 'create', 'build', 'unpause']],
    [{ kind: 'reboot', spec, clean: false }, ['destroy', 'create', 'build', 'unpause']],
    [{ kind: 'suspend', uuid: 'a' }, ['save', 'destroy']],
    [{ kind: 'resume', uuid: 'a', paused: false }, ['restore', 'unpause', 'discard']],
    [{ kind: 'resume', uuid: 'a', paused: true }, ['restore', 'discard']],
  ];
  for (const [operation, steps] of rows) {
    const { kind, ...rest } = operation;
    it(`is ${steps.join(', ')} for ${kind} ${JSON.stringify({ ...rest, spec: undefined })}`, () => {
      expect(plan(operation).map((step) => step.kind)).to.deep.equal(steps);
      expect(vmOf(operation)).to.equal('a');
    });
  }

  it('takes the domain as it is asked for', () => {
    expect(plan({ kind: 'start', spec, paused: true })[0]).to.deep.equal({ kind: 'create', spec });
  });

  it('says of each step what undoes it, or why nothing does', () => {
    const kinds = new Set(rows.flatMap(([operation]) => plan(operation).map((step) => step.kind)));
    expect(Object.keys(undoOf)).to.include.members([...kinds]);
    for (const undo of Object.values(undoOf)) {
      if ('nothing' in undo) expect(undo.nothing).to.match(/\w/);
      else expect(undoOf).to.have.property(undo.kind);
    }
  });

  it('has a step that cannot be undone only where nothing but the end can fail behind it, or where it is to end first', () => {
    for (const [operation] of rows) {
      const kinds = plan(operation).map(({ kind }) => kind);
      const behind = kinds.slice(kinds.findIndex((kind) => kind === 'unpause' || kind === 'destroy') + 1);
      const ends = kinds.includes('unpause') || kinds.includes('destroy');
      if (ends && operation.kind !== 'reboot') expect(behind.filter((kind) => kind !== 'discard')).to.deep.equal([]);
    }
  });
});
