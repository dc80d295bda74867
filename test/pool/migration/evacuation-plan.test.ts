import { expect } from 'chai';
import { planEvacuation } from '../../../src/pool/migration/evacuation-plan.js';

/** Rows: what it shows; VMs as `name memory hosts`; hosts with their room; where each VM goes. */
const rows: [string, [string, number, string][], Record<string, number>, Record<string, string>][] = [
  ['nothing to move', [], { x: 10 }, {}],
  ['one VM goes to the host with the most room', [['a', 4, 'xy']], { x: 8, y: 9 }, { a: 'y' }],
  [
    'equal VMs are spread',
    [
      ['a', 2, 'xy'],
      ['b', 2, 'xy'],
      ['c', 2, 'xy'],
    ],
    { x: 8, y: 7 },
    { a: 'x', b: 'y', c: 'x' },
  ],
  [
    'the largest is placed first',
    [
      ['small', 2, 'xy'],
      ['large', 8, 'xy'],
    ],
    { x: 8, y: 3 },
    { large: 'x', small: 'y' },
  ],
  [
    'a VM that can go to one host alone goes before others',
    [
      ['a', 8, 'xy'],
      ['b', 4, 'x'],
    ],
    { x: 9, y: 8 },
    { b: 'x', a: 'y' },
  ],
  ['a VM fits exactly', [['a', 8, 'x']], { x: 8 }, { a: 'x' }],
  [
    'a VM is too large for every host',
    [
      ['a', 9, 'xy'],
      ['b', 1, 'xy'],
    ],
    { x: 8, y: 8 },
    { b: 'x' },
  ],
  [
    'a VM has nowhere to go',
    [
      ['a', 1, ''],
      ['b', 1, 'x'],
    ],
    { x: 8 },
    { b: 'x' },
  ],
  [
    'packing takes over where spreading leaves one behind',
    [
      ['a', 4, 'xy'],
      ['b', 3, 'xy'],
      ['c', 3, 'xy'],
      ['d', 3, 'xy'],
    ],
    { x: 9, y: 4 },
    { a: 'y', b: 'x', c: 'x', d: 'x' },
  ],
  ['a host of which no room is known takes nothing', [['a', 1, 'z']], { x: 8 }, {}],
];

describe('the plan of an evacuation', () => {
  for (const [name, vms, rooms, expected] of rows) {
    it(name, () => {
      const plan = planEvacuation(
        vms.map(([vm, memory, hosts]) => ({ vm, memory, hosts: [...hosts] })),
        Object.entries(rooms).map(([host, free]) => ({ host, free })),
      );
      expect(Object.fromEntries(plan)).to.deep.equal(expected);
    });
  }
});
