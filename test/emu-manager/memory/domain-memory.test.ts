import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { pageSize } from '../../../src/base/domain.js';
import type { DomainMemory } from '../../../src/base/protocol/hypervisor-protocol.js';
import { openPageWriter } from '../../../src/emu-manager/memory/domain-memory.js';

const pages = 64;
const range = (first: number, count: number) => Array.from({ length: count }, (_, index) => first + index);

describe('writing into the memory of a domain', () => {
  let directory: string;
  let file: string;
  const read = () => fs.readFileSync(file);

  beforeEach(() => {
    directory = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-memory-'));
    file = path.join(directory, 'memory');
    fs.writeFileSync(file, '');
    fs.truncateSync(file, pages * pageSize);
  });
  afterEach(() => fs.rmSync(directory, { recursive: true }));

  const open = () => openPageWriter({ path: file, pages } as DomainMemory);

  it('puts pages where they belong, whatever zeros are between them', () => {
    const data = Buffer.alloc(40 * pageSize);
    data.fill('a', 3 * pageSize, 4 * pageSize);
    data.fill('b', 20 * pageSize, 36 * pageSize);
    open().write({ pfns: [...range(2, 20), ...range(40, 20)], data });
    const expected = Buffer.alloc(pages * pageSize);
    data.copy(expected, 2 * pageSize, 0, 20 * pageSize);
    data.copy(expected, 40 * pageSize, 20 * pageSize);
    expect(read().equals(expected)).to.equal(true);
  });

  it('writes no zeros where nothing was written', () => {
    const writer = open();
    writer.write({ pfns: range(0, 32), data: Buffer.alloc(32 * pageSize) });
    writer.clear(range(32, 32));
    expect(fs.statSync(file).blocks).to.equal(0);
    expect(writer.missing()).to.equal(0);
  });

  for (const [how, overwrite] of [
    ['a copy of them', (writer) => writer.write({ pfns: range(8, 16), data: Buffer.alloc(16 * pageSize) })],
    ['their numbers', (writer) => writer.clear(range(8, 16))],
  ] as const satisfies readonly (readonly [string, (writer: ReturnType<typeof openPageWriter>) => void])[]) {
    it(`writes zeros over what a round before has written, told by ${how}`, () => {
      const writer = open();
      writer.write({ pfns: range(0, pages), data: Buffer.alloc(pages * pageSize, 'x') });
      overwrite(writer);
      const expected = Buffer.alloc(pages * pageSize, 'x').fill(0, 8 * pageSize, 24 * pageSize);
      expect(read().equals(expected)).to.equal(true);
    });
  }

  it('counts the pages that did not come', () => {
    const writer = open();
    writer.write({ pfns: [5], data: Buffer.alloc(pageSize, 1) });
    writer.clear([5, 6]);
    expect(writer.missing()).to.equal(pages - 2);
  });

  it('refuses pages that the domain does not have', () => {
    const writer = open();
    expect(() => writer.write({ pfns: [pages], data: Buffer.alloc(pageSize) })).to.throw(
      'page 64 is outside the domain',
    );
    expect(() => writer.clear([pages])).to.throw('page 64 is outside the domain');
  });
});
