import { expect } from 'chai';
import { formatDatetime, parseDatetime, parseType, recordWithDefaults } from '../../src/model/value.js';

describe('parseType', () => {
  it('reads nested types', () => {
    expect(parseType('map(ref:VM,map(string,set(int)))')).to.deep.equal({
      kind: 'map',
      key: { kind: 'ref', cls: 'VM' },
      value: { kind: 'map', key: { kind: 'string' }, value: { kind: 'set', element: { kind: 'int' } } },
    });
  });

  for (const name of ['', 'text', 'enum:no_such', 'set()', 'map(string)']) {
    it(`refuses '${name}'`, () => {
      expect(() => parseType(name)).to.throw(/is not/);
    });
  }
});

describe('recordWithDefaults', () => {
  it("has a class's every field, at its default or its type's zero", () => {
    expect(recordWithDefaults('VBD')).to.include({ uuid: '', VM: 'OpaqueRef:NULL', bootable: false, mode: 'RO' });
    expect(recordWithDefaults('VM').snapshot_time).to.deep.equal(new Date(0));
  });

  it('shares nothing between two records', () => {
    expect(recordWithDefaults('VM').blobs).to.not.equal(recordWithDefaults('VM').blobs);
  });

  it('refuses a class that the model lacks', () => {
    expect(() => recordWithDefaults('nonsense')).to.throw("no class 'nonsense'");
  });
});

describe('datetimes', () => {
  const read: [string, string | undefined][] = [
    ['19700101T00:00:00Z', '1970-01-01T00:00:00.000Z'],
    ['20261123T09:17:05Z', '2026-11-23T09:17:05.000Z'],
    ['2026-11-23T09:17:05.5Z', '2026-11-23T09:17:05.000Z'],
    ['20261123T09:17:05', '2026-11-23T09:17:05.000Z'],
    ['20261123T09:17:05+0130', '2026-11-23T07:47:05.000Z'],
    ['20261123T09:17:05-01:30', '2026-11-23T10:47:05.000Z'],
    ['20261332T09:17:05Z', undefined],
    ['yesterday', undefined],
    ['', undefined],
  ];
  for (const [text, expected] of read) {
    it(`reads '${text}'`, () => {
      expect(parseDatetime(text)?.toISOString()).to.equal(expected);
    });
  }

  const written: [Date, string][] = [
    [new Date(0), '19700101T00:00:00Z'],
    [new Date('2026-11-23T09:17:05.999Z'), '20261123T09:17:05Z'],
    [new Date(Number.NaN), '19700101T00:00:00Z'],
    [new Date(8.64e15), '19700101T00:00:00Z'],
  ];
  for (const [time, expected] of written) {
    it(`writes ${expected} for ${time.getTime()}`, () => {
      expect(formatDatetime(time)).to.equal(expected);
    });
  }
});
