import { expect } from 'chai';
import fc from 'fast-check';
import { createAdmission } from '../../../src/migrate/destination/admission.js';

describe('migrate/admission: which VMs may arrive', () => {
  const opened = (limit: number) => {
    const state = { time: 0, limit };
    const admission = createAdmission(
      () => state.limit,
      () => state.time,
    );
    return { ...admission, state, ask: (...ids: string[]) => ids.map((id) => admission.admit(id, `vm ${id}`)) };
  };

  it('so many as the limit says, until they end', () => {
    const { ask, end } = opened(2);
    expect(ask('a', 'b', 'c')).to.deep.equal([true, true, false]);
    end('a');
    expect(ask('c', 'd')).to.deep.equal([true, false]);
  });

  it('in the order in which they asked first', () => {
    const { ask, end } = opened(1);
    expect(ask('a', 'b', 'c')).to.deep.equal([true, false, false]);
    end('a');
    expect(ask('c', 'd', 'b', 'c')).to.deep.equal([false, false, true, false]);
    end('b');
    expect(ask('d', 'c', 'd')).to.deep.equal([false, true, false]);
  });

  it('as often as it asks, once it was told so', () => {
    const { ask } = opened(1);
    expect(ask('a', 'a', 'b', 'a')).to.deep.equal([true, true, false, true]);
  });

  it('without those that have not asked for three seconds', () => {
    const { ask, end, state } = opened(1);
    ask('a', 'b', 'c');
    end('a');
    state.time = 2_000;
    expect(ask('c')).to.deep.equal([false]);
    state.time = 4_000;
    expect(ask('c')).to.deep.equal([true]);
  });

  it('at its turn, which one that only asked for it keeps for three seconds', () => {
    const { isTurn, ask } = opened(1);
    expect(isTurn('a', 'vm a')).to.equal(true);
    expect(ask('b')).to.deep.equal([false]);
    expect(isTurn('a', 'vm a')).to.equal(true);
    expect(ask('a', 'b')).to.deep.equal([true, false]);
    const late = opened(1);
    late.isTurn('a', 'vm a');
    late.state.time = 4_000;
    expect(late.ask('b', 'a')).to.deep.equal([true, false]);
  });

  it('whatever an older attempt for the same VM holds', () => {
    const { admit, end } = opened(1);
    expect(admit('old', 'vm')).to.equal(true);
    expect(admit('other', 'another')).to.equal(false);
    end('other');
    expect(admit('new', 'vm')).to.equal(false);
    const alone = opened(1);
    expect([alone.admit('old', 'vm'), alone.admit('new', 'vm')]).to.deep.equal([true, true]);
    alone.end('old');
    expect(alone.admit('other', 'another')).to.equal(false);
  });

  it('without an older attempt for the same VM in the line', () => {
    const { ask, admit, end } = opened(1);
    ask('a', 'b');
    expect(admit('newer b', 'vm b')).to.equal(false);
    end('a');
    expect(admit('newer b', 'vm b')).to.equal(true);
  });

  it('and for how long one has waited that others keep from it', () => {
    const { ask, end, state, longestWait } = opened(2);
    const at = (time: number, ...ids: string[]): number => {
      state.time = time;
      ask(...ids);
      return longestWait();
    };
    expect([at(0, 'a'), at(0, 'b'), at(0, 'c')], 'the first moment').to.deep.equal([0, 0, 0]);
    expect([at(2_000, 'c'), at(4_000, 'c', 'd')], 'while it asks').to.deep.equal([2_000, 4_000]);
    expect(at(6_000, 'd'), 'the one that waits longest').to.equal(6_000);
    expect(at(8_000, 'd'), 'without one that has not asked for three seconds').to.equal(4_000);
    end('a');
    expect(longestWait(), 'of which there is a place').to.equal(0);
    expect(at(9_000, 'd'), 'and which has it').to.equal(0);
  });

  it('by the limit of now', () => {
    const { ask, state } = opened(1);
    ask('a', 'b', 'c');
    state.limit = 3;
    expect(ask('b', 'c', 'd')).to.deep.equal([true, true, false]);
  });

  it('never more than the limit, and all of them in the end', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.nat({ max: 9 }), { maxLength: 60 }),
        (limit, sequence) => {
          const { ask, end } = opened(limit);
          const held: string[] = [];
          for (const each of sequence) {
            const id = String(each);
            if (held.includes(id)) {
              end(id);
              held.splice(held.indexOf(id), 1);
            } else if (ask(id)[0]) held.push(id);
            expect(held.length).to.be.at.most(limit);
          }
          const left = new Set(sequence.map(String));
          for (let round = 0; round < 10; round += 1) {
            for (const id of left) {
              if (!held.includes(id) && !ask(id)[0]) continue;
              end(id);
              left.delete(id);
            }
            held.length = 0;
          }
          expect(left.size).to.equal(0);
        },
      ),
    );
  });
});
