import { expect } from 'chai';
import { type Operation, vmOf } from '../../src/xenops/operations.js';
import { plan, undoOf } from '../../src/xenops/plan.js';
import { testDomain } from '../support/hosts.js';

describe('the plan of an operation', () => {
  const spec = testDomain({ uuid: 'a' });
  const rows: [operation: Operation, steps: string[]][] = [
    [{ kind: 'start', spec, paused: false }, ['create', 'build', 'unpause']],
    [{ kind: 'start', spec, paused: true }, ['create', 'build']],
    [{ kind: 'pause', uuid: 'a' }, ['pause']],
    [{ kind: 'unpause', uuid: 'a' }, ['unpause']],
    [{ kind: 'shutdown', uuid: 'a', clean: true }, ['pause', 'destroy']],
    [{ kind: 'shutdown', uuid: 'a', clean: false }, ['destroy']],
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
    expect(Object.keys(undoOf)).to.have.members([...kinds]);
    for (const undo of Object.values(undoOf)) {
      if ('nothing' in undo) expect(undo.nothing).to.match(/\w/);
      else expect(undoOf).to.have.property(undo.kind);
    }
  });

  it('has a step that cannot be undone only where nothing but the end can fail behind it', () => {
    for (const [operation] of rows) {
      const steps = plan(operation).slice(0, -1);
      const last = steps.filter(({ kind }) => kind === 'unpause' || kind === 'destroy');
      expect(last).to.deep.equal([]);
    }
  });
});
