import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { nullLog } from '../../src/base/log.js';
import { openStore } from '../../src/base/store/store.js';
import { hostUuid, type Identity, openIdentity } from '../../src/host/service/identity.js';
import { type HostStorage, openLocalStorage } from '../../src/host/storage/storage.js';
import { firstPasswordIn } from '../../src/pool/access/first-password.js';
import { testLimits } from '../support/limits.js';
import { type NamesLeft, type SlowDisk, watchFlushes } from '../support/slow-disk.js';

const mebibyte = 2 ** 20;

describe('A host that loses its power', () => {
  let directory: string;
  let stateDir: string;
  let disk: SlowDisk;
  beforeEach(async () => {
    directory = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-power-'));
    stateDir = path.join(directory, 'state');
    fs.mkdirSync(stateDir);
    disk = await watchFlushes();
  });
  afterEach(() => {
    disk.close();
    fs.rmSync(directory, { recursive: true, force: true });
  });
  /** What is left now. */
  const lose = (names: NamesLeft = 'flushed'): string => {
    const to = fs.mkdtempSync(path.join(directory, 'left-'));
    disk.lose(stateDir).restore(to, names);
    return to;
  };
  const open = async <T>(at: string, use: (identity: Identity) => T | Promise<T>): Promise<T> => {
    const store = openStore(path.join(at, 'db'));
    try {
      const secretFile = path.join(at, 'pool-secret');
      return await use(await openIdentity({ store, coordinator: '', secretFile, log: nullLog }));
    } finally {
      await store.close();
    }
  };

  it('has the uuid that it has told', async () => {
    const store = openStore(path.join(stateDir, 'db'));
    const uuid = await hostUuid(store);
    const at = lose();
    await store.close();
    const left = openStore(path.join(at, 'db'));
    expect(await hostUuid(left)).to.equal(uuid);
    await left.close();
  });

  it('is who it was, in the pool that it has joined or left, and has the secrets that it was given', async () => {
    const about = ({ uuid, coordinator, secrets, hasLeft }: Identity) => [uuid, coordinator(), secrets(), hasLeft()];
    const changes: readonly ((identity: Identity) => Promise<unknown>)[] = [
      async () => undefined,
      (identity) => identity.takeSecrets(['the newest of the secrets', ...identity.secrets()]),
      (identity) => identity.join('http://c:1', ['the secret of the pool there']),
      (identity) => identity.leave(),
    ];
    const left = await open(stateDir, async (identity) => {
      const lost: [string, unknown[]][] = [];
      for (const change of changes) {
        await change(identity);
        lost.push([lose(), about(identity)]);
      }
      return lost;
    });
    for (const [at, expected] of left) expect(await open(at, about)).to.deep.equal(expected);
  });

  for (const names of ['flushed', 'all'] as const) {
    it(`has the first password in its file, or none, until the new one is there, with ${names} names left`, async () => {
      const first = firstPasswordIn(stateDir);
      const password = await first.provide();
      expect(await firstPasswordIn(lose(names)).provide()).to.equal(password);
      let told: (() => void) | undefined;
      const flushing = new Promise<void>((resolve) => {
        told = resolve;
      });
      let flush: (() => void) | undefined;
      const removed = first.removeWith(
        async () => undefined,
        () => {
          told?.();
          return new Promise((resolve) => {
            flush = resolve;
          });
        },
      );
      await flushing;
      // The new one may be lost yet.
      const at = lose(names);
      await firstPasswordIn(at).endChange(async (found) => found === password);
      expect(await firstPasswordIn(at).provide()).to.equal(password);
      flush?.();
      await removed;
      expect(fs.readdirSync(stateDir)).to.deep.equal([]);
    });
  }

  for (const names of ['flushed', 'all'] as const) {
    it(`has each volume that it has said it made, with what was copied into it, with ${names} names left`, async () => {
      const root = path.join(stateDir, 'sr');
      const { storage } = openLocalStorage(root, 'host', testLimits, nullLog);
      const [sr, made, copy] = [randomUUID(), randomUUID(), randomUUID()];
      const left = async () => {
        const after: HostStorage = openLocalStorage(path.join(lose(names), 'sr'), 'host', testLimits, nullLog).storage;
        const volumes = await after.listVolumes(sr);
        return Object.fromEntries(volumes.map(({ uuid, virtualSize }) => [uuid, virtualSize]));
      };
      await storage.createSr(sr);
      expect(await left()).to.deep.equal({});
      await storage.createVolume(sr, made, mebibyte);
      expect(await left()).to.deep.equal({ [made]: mebibyte });
      await storage.resizeVolume(sr, made, 2 * mebibyte);
      expect(await left()).to.deep.equal({ [made]: 2 * mebibyte });
      fs.writeFileSync(path.join(root, sr, `${made}.raw`), 'what a guest has written', { flag: 'r+' });
      await storage.copyVolume(sr, made, sr, copy);
      expect(await left()).to.deep.equal({ [made]: 2 * mebibyte, [copy]: 2 * mebibyte });
      const copied = fs.readFileSync(path.join(lose(names), 'sr', sr, `${copy}.raw`), 'latin1');
      expect(copied.slice(0, 24)).to.equal('what a guest has written');
    });
  }
});
