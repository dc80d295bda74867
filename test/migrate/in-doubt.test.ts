import { expect } from 'chai';
import { decodeDoubt, encodeDoubt, isDoubtOf } from '../../src/migrate/in-doubt.js';

describe('A mark of doubt', () => {
  it('names the migration that has set it', () => {
    const mark = encodeDoubt('8f0c.1', 'the destination has not said whether it runs the VM');
    expect(decodeDoubt(mark)).to.deep.equal({ by: 'migration', migrationId: '8f0c.1' });
    expect(isDoubtOf('8f0c.1', mark)).to.equal(true);
    expect(isDoubtOf('8f0c', mark)).to.equal(false);
  });

  it('is the coordinator’s where no migration is named', () => {
    for (const mark of ['the VM was started elsewhere', 'migration', '']) {
      expect(decodeDoubt(mark), mark).to.deep.equal({ by: 'coordinator' });
    }
  });

  it('is read as earlier versions wrote it', () => {
    for (const mark of ['migration 4f-2: it was taken', 'migration 4f-2 has no outcome']) {
      expect(decodeDoubt(mark), mark).to.deep.equal({ by: 'migration', migrationId: '4f-2' });
    }
  });
});
