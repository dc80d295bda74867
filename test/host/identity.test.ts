import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { openStore } from '../../src/base/store.js';
import { hostUuid, poolSecret } from '../../src/host/identity.js';
import { messageOfFailure } from '../wire/connections.js';

describe('the identity of a host', () => {
  let directory: string;
  beforeEach(() => {
    directory = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-identity-'));
  });
  afterEach(() => fs.rmSync(directory, { recursive: true }));

  it('is a uuid that outlives the daemon', async () => {
    const uuids: string[] = [];
    for (let start = 0; start < 2; start += 1) {
      const store = openStore(path.join(directory, 'db'));
      uuids.push(await hostUuid(store), await hostUuid(store));
      await store.close();
    }
    expect(uuids[0]).to.match(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(new Set(uuids)).to.have.property('size', 1);
  });

  describe('and the secret of its pool', () => {
    const file = () => path.join(directory, 'pool-secret');

    it('is made where there is none, for its owner alone, and stays', async () => {
      const secret = await poolSecret(file(), true);
      expect(secret).to.match(/^[0-9a-f]{64}$/);
      expect(fs.statSync(file()).mode & 0o777).to.equal(0o600);
      expect(await poolSecret(file(), true)).to.equal(secret);
      expect(await poolSecret(file(), false)).to.equal(secret);
    });

    it('is what an operator wrote, without the line break', async () => {
      fs.writeFileSync(file(), '  sixteen letters.\n\n');
      expect(await poolSecret(file(), true)).to.equal('sixteen letters.');
    });

    it('is another one on every new host', async () => {
      expect(await poolSecret(file(), true)).not.to.equal(await poolSecret(`${file()}2`, true));
    });

    it('is not made on a member: it has to be given', async () => {
      expect(await messageOfFailure(poolSecret(file(), false))).to.match(/^pool-secret-file .*pool-secret: ENOENT/);
      expect(fs.existsSync(file())).to.equal(false);
    });

    const bad: [what: string, prepare: () => void, said: RegExp][] = [
      ['is too short', () => fs.writeFileSync(file(), 'fifteen letters\n'), /it must hold at least 16 characters/],
      ['is empty', () => fs.writeFileSync(file(), ''), /it must hold at least 16 characters/],
      ['is a directory', () => fs.mkdirSync(file()), /EISDIR/],
    ];
    for (const [what, prepare, said] of bad) {
      it(`is refused, and kept, when its file ${what}`, async () => {
        prepare();
        const message = await messageOfFailure(poolSecret(file(), true));
        expect(message)
          .to.match(/^pool-secret-file .*pool-secret: /)
          .and.to.match(said);
      });
    }

    it('is not made in a directory that is not there', async () => {
      expect(await messageOfFailure(poolSecret(path.join(directory, 'nowhere', 'secret'), true))).to.contain('nowhere');
    });
  });
});
