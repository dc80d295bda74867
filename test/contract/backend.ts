/** What every back end has to do, as one suite. */
import { expect } from 'chai';
import type { Backend } from '../../src/backend/backend.js';
import type { DomainHandle, DomainInfo, DomainSpec } from '../../src/base/domain.js';
import { describeSaving } from './saving.js';
import type { BackendUnderTest, Subject } from './subject.js';

/** Define the suite. */
export function describeBackend(name: string, { domainBytes, overheadBytes, make }: Subject): void {
  describe(`the back end ${name}`, () => {
    let subject: BackendUnderTest;
    let backend: Backend;
    beforeEach(async () => {
      subject = await make(8 * (domainBytes + overheadBytes));
      backend = subject.backend;
    });
    afterEach(() => subject.dispose());

    const specOf = (uuid: string, memoryBytes = domainBytes): DomainSpec => subject.specOf(uuid, memoryBytes);
    const boot = async (uuid = uuidOf(1)): Promise<DomainHandle> => {
      const handle = await backend.create(specOf(uuid));
      await backend.build(handle);
      return handle;
    };
    const infoOf = async (handle: DomainHandle): Promise<DomainInfo | undefined> =>
      (await backend.list()).find((domain) => domain.handle.domid === handle.domid);

    describe('takes a domain', () => {
      it('from creation to its end, and lists it as it is', async () => {
        const handle = await backend.create(specOf(uuidOf(1)));
        expect(await infoOf(handle)).to.deep.include({
          handle,
          uuid: uuidOf(1),
          state: 'building',
          everRan: false,
          memoryBytes: domainBytes,
        });
        expect(await backend.look(handle)).to.deep.equal(await infoOf(handle));
        await backend.build(handle);
        expect(await infoOf(handle)).to.include({ state: 'paused', everRan: false });
        await backend.unpause(handle, 'one');
        expect(await infoOf(handle)).to.include({ state: 'running', everRan: true });
        await backend.pause(handle);
        expect(await infoOf(handle)).to.include({ state: 'paused', everRan: true });
        expect(await backend.look(handle)).to.deep.equal(await infoOf(handle));
        await backend.destroy(handle);
        expect(await backend.list()).to.deep.equal([]);
        expect(await backend.look(handle)).to.equal(undefined);
      });

      it('that was paused back to running once for each token', async () => {
        const handle = await boot();
        await backend.unpause(handle, 'one');
        await backend.unpause(handle, 'one');
        await backend.pause(handle);
        await backend.unpause(handle, 'one');
        expect(await infoOf(handle)).to.include({ state: 'paused' });
        await backend.unpause(handle, 'two');
        expect(await infoOf(handle)).to.include({ state: 'running' });
      });

      it('and pauses it however often it is asked to', async () => {
        const handle = await boot();
        await backend.pause(handle);
        await backend.pause(handle);
        expect(await infoOf(handle)).to.include({ state: 'paused' });
      });

      it('to another uuid', async () => {
        const handle = await boot(uuidOf(1));
        await backend.rename(handle, uuidOf(2));
        expect(await infoOf(handle)).to.include({ uuid: uuidOf(2) });
        await boot(uuidOf(1));
        expect(await codeOf(backend.rename(handle, uuidOf(1)))).to.equal('DOMAIN_EXISTS');
      });
    });

    describe('keeps a domain in doubt', () => {
      it('from running, and says why, until it is in doubt no more', async () => {
        const handle = await boot();
        await backend.markInDoubt(handle, 'no answer from elsewhere');
        expect(await infoOf(handle)).to.include({ inDoubt: 'no answer from elsewhere' });
        const error = await errorOf(backend.unpause(handle, 'one'));
        expect(error).to.include({ code: 'OPERATION_NOT_ALLOWED' });
        expect(error.params.join()).to.contain('no answer from elsewhere');
        await backend.markInDoubt(handle, undefined);
        expect(await infoOf(handle)).not.to.have.property('inDoubt');
        await backend.unpause(handle, 'one');
        expect(await infoOf(handle)).to.include({ state: 'running' });
      });

      it('that was running, as a paused one', async () => {
        const handle = await boot();
        await backend.unpause(handle, 'one');
        await backend.markInDoubt(handle, 'it runs elsewhere');
        expect(await infoOf(handle)).to.include({ state: 'paused', inDoubt: 'it runs elsewhere' });
      });
    });

    describe('destroys', () => {
      it('what is gone already without complaint', async () => {
        const handle = await boot();
        await backend.destroy(handle);
        await backend.destroy(handle);
        expect(await backend.destroyUnlessRan(handle)).to.equal(true);
        expect(await codeOf(backend.unpause(handle, 'one'))).to.equal('HANDLE_INVALID');
      });

      it('a domain that never ran, and leaves one that did', async () => {
        const [never, ran] = [await boot(uuidOf(1)), await boot(uuidOf(2))];
        await backend.unpause(ran, 'one');
        await backend.pause(ran);
        expect(await backend.destroyUnlessRan(never)).to.equal(true);
        expect(await backend.destroyUnlessRan(ran)).to.equal(false);
        expect((await backend.list()).map(({ uuid }) => uuid)).to.deep.equal([uuidOf(2)]);
      });
    });

    describe('accounts for memory', () => {
      it('that domains have and that is promised', async () => {
        const { total, free } = await backend.memory();
        expect(free).to.equal(total);
        await backend.reserve('a', domainBytes);
        await backend.reserve('a', 2 * domainBytes);
        expect((await backend.memory()).free).to.equal(total - 2 * domainBytes - overheadBytes);
        const handle = await backend.create(specOf(uuidOf(1), 2 * domainBytes), 'a');
        expect((await backend.memory()).free).to.equal(total - 2 * domainBytes - overheadBytes);
        await backend.destroy(handle);
        await backend.reserve('b', domainBytes);
        await backend.release('b');
        await backend.release('b');
        expect((await backend.memory()).free).to.equal(total);
      });

      it('and refuses what is not there, with what is', async () => {
        const { total } = await backend.memory();
        await backend.reserve('a', total - domainBytes - overheadBytes);
        const expected = {
          code: 'HOST_NOT_ENOUGH_FREE_MEMORY',
          params: [String(2 * domainBytes + overheadBytes), String(domainBytes)],
        };
        const create = await errorOf(backend.create(specOf(uuidOf(1), 2 * domainBytes)));
        const reserve = await errorOf(backend.reserve('b', 2 * domainBytes));
        for (const { code, params } of [create, reserve]) expect({ code, params }).to.deep.equal(expected);
        await backend.create(specOf(uuidOf(1), total - domainBytes - overheadBytes), 'a');
      });

      it('and keeps a promise that could not be made larger', async () => {
        const { total } = await backend.memory();
        await backend.reserve('a', domainBytes);
        expect(await codeOf(backend.reserve('a', 2 * total))).to.equal('HOST_NOT_ENOUGH_FREE_MEMORY');
        expect((await backend.memory()).free).to.equal(total - domainBytes - overheadBytes);
      });
    });

    describe('digests a domain', () => {
      it('as it was when it was paused, though it runs on', async () => {
        const handle = await boot();
        await backend.unpause(handle, 'one');
        await subject.untilWritten(handle);
        await backend.pause(handle);
        await backend.armDigest(handle);
        const digest = await backend.digest(handle);
        await backend.armDigest(handle);
        await backend.unpause(handle, 'two');
        await subject.untilWritten(handle);
        expect(await backend.digest(handle)).to.equal(digest);
        await backend.pause(handle);
        await backend.armDigest(handle);
        expect(await backend.digest(handle)).not.to.equal(digest);
      });
    });

    describe('saves and restores', () => describeSaving({ subjectOf: () => subject, domainBytes, uuidOf }));

    it('tells of every change', async () => {
      const seen: string[] = [];
      backend.onDomainChange((change) =>
        seen.push('gone' in change ? `gone ${change.gone}` : `${change.state} ${change.uuid}`),
      );
      const handle = await boot();
      await backend.unpause(handle, 'one');
      await backend.pause(handle);
      await backend.rename(handle, uuidOf(2));
      await backend.destroy(handle);
      await backend.list();
      const [first, second] = [uuidOf(1), uuidOf(2)];
      expect(seen).to.deep.equal([
        ...[`building ${first}`, `paused ${first}`, `running ${first}`, `paused ${first}`],
        ...[`paused ${second}`, `gone ${second}`],
      ]);
    });
  });
}

function uuidOf(number: number): string {
  return `c0ffee00-0000-4000-8000-${String(number).padStart(12, '0')}`;
}

async function errorOf(promise: Promise<unknown>): Promise<{ code: string; params: readonly string[] }> {
  try {
    await promise;
  } catch (error) {
    return error as { code: string; params: readonly string[] };
  }
  throw new Error('it did not fail');
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return (await errorOf(promise)).code;
}
