import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { nullLog } from '../../../src/base/log.js';
import { openStore } from '../../../src/base/store/store.js';
import { hostUuid, type Identity, openIdentity, poolSecret } from '../../../src/host/service/identity.js';
import { messageOfFailure } from '../../wire/connection/connections.js';

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
      ['is a directory', () => fs.mkdirSync(file()), /is a directory; allowed is a regular file/],
      ['is a FIFO', () => execFileSync('mkfifo', [file()]), /is a FIFO; allowed is a regular file/],
      ['is no text', () => fs.writeFileSync(file(), 'sixteen letters\xff.', 'latin1'), /line 1 has bytes that are not/],
      ['never ends', () => fs.symlinkSync('/dev/zero', file()), /is a device; allowed is a regular file/],
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

    it('is not left half made where the disk is full', async () => {
      const module = new URL('../../../src/host/service/identity.js', import.meta.url).href;
      const script = `(await import('${module}')).poolSecret('${file()}', true).catch((e) => console.log(e.message))`;
      const args = ['--fsize=0', process.execPath, '--input-type=module', '--eval', script];
      const said = execFileSync('prlimit', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
      // Standard output is a pipe, which the limit leaves alone.
      expect(said).to.match(/^pool-secret-file .*pool-secret: EFBIG/);
      expect(fs.readdirSync(directory)).to.deep.equal([]);
      expect(await poolSecret(file(), true)).to.match(/^[0-9a-f]{64}$/);
    });

    it('is not made in a directory that is not there', async () => {
      expect(await messageOfFailure(poolSecret(path.join(directory, 'nowhere', 'secret'), true))).to.contain('nowhere');
    });
  });

  describe('and its pool', () => {
    const secretFile = () => path.join(directory, 'pool-secret');
    const there = ['the secret of another pool'];
    /** Open the identity as a start of the daemon does. */
    const start = async (coordinator = '', use: (identity: Identity) => unknown = () => undefined) => {
      const store = openStore(path.join(directory, 'db'));
      try {
        const identity = await openIdentity({ store, coordinator, secretFile: secretFile(), log: nullLog });
        await use(identity);
        return [identity.coordinator(), identity.secrets(), identity.hasLeft()];
      } finally {
        await store.close();
      }
    };
    const inFile = () => fs.readFileSync(secretFile(), 'utf8').trim();

    it('are what the configuration says, at first', async () => {
      expect(await start()).to.deep.equal([undefined, [inFile()], false]);
      expect(await start('http://c:1')).to.deep.equal(['http://c:1', [inFile()], false]);
    });

    it('are those that it has joined, until the configuration is changed', async () => {
      await start('', (identity) => identity.join('http://c:1', there));
      expect(await start()).to.deep.equal(['http://c:1', there, true]);
      await start('', (identity) => identity.forgotten());
      expect(await start()).to.deep.equal(['http://c:1', there, false]);
      expect(await start('http://d:1')).to.deep.equal(['http://d:1', [inFile()], false]);
      expect(await start()).to.deep.equal([undefined, [inFile()], false]);
    });

    it('are what they were when joining is taken back', async () => {
      const before = await start();
      const after = await start('', async (identity) => {
        const undo = await identity.join('http://c:1', there);
        await undo();
      });
      expect(after).to.deep.equal(before);
      expect(await start()).to.deep.equal(before);
    });

    it('are its own when it has left, whatever the configuration says', async () => {
      fs.writeFileSync(secretFile(), 'sixteen letters.');
      await start('http://c:1', (identity) => identity.leave());
      const [coordinator, secrets, hasLeft] = await start('http://c:1');
      expect([coordinator, hasLeft]).to.deep.equal([undefined, true]);
      expect((secrets as string[])[0]).to.match(/^[0-9a-f]{64}$/);
      expect(inFile()).to.equal('sixteen letters.');
    });

    it('share secrets that are rotated, in the file too where that has the old one', async () => {
      const newest = 'the newest secret';
      const [, [old]] = (await start()) as [unknown, string[]];
      await start('', (identity) => identity.takeSecrets([newest, old as string]));
      expect(inFile()).to.equal(newest);
      expect(fs.statSync(secretFile()).mode & 0o777).to.equal(0o600);
      expect(await start()).to.deep.equal([undefined, [newest, old], false]);
      fs.writeFileSync(secretFile(), 'an operator wrote this');
      await start('', (identity) => identity.takeSecrets([newest]));
      expect(inFile()).to.equal('an operator wrote this');
      expect(await start()).to.deep.equal([undefined, [newest], false]);
    });
  });
});
