/** What every back end has to do where it saves and restores domains, as a part of the suite. */
import { expect } from 'chai';
import type { SaveHelper } from '../../src/backend/save-helper.js';
import type { DomainHandle } from '../../src/base/domain.js';
import { XapiError } from '../../src/base/errors.js';
import { nullLog } from '../../src/base/log.js';
import { streamFailureOf } from '../../src/base/stream-error.js';
import type { RawSocket } from '../../src/wire/connection/raw-socket.js';
import { messageOfFailure, openConnections, readAll } from '../wire/connection/connections.js';
import type { BackendUnderTest } from './subject.js';

type SaveChanges = Partial<Parameters<SaveHelper['save']>[1]>;

const done = async () => undefined;
const [head, tail] = [Buffer.from('what comes before'), Buffer.from('and behind')];

/** What a save or a restore is given, but for its stream. */
export function streamInit() {
  return {
    ...{ environment: {}, stopTimeoutMs: 5_000, exitTimeoutMs: 10_000, vgpus: [], log: nullLog },
    ...{ signal: new AbortController().signal, beforeMemory: done, beforeVgpus: done, onProgress: () => undefined },
  };
}

interface Suite {
  /** The back end of the test that runs. */
  readonly subjectOf: () => BackendUnderTest;
  readonly domainBytes: number;
  readonly uuidOf: (number: number) => string;
}

export function describeSaving({ subjectOf, domainBytes, uuidOf }: Suite): void {
  const connections = openConnections();
  afterEach(connections.close);
  const backend = () => subjectOf().backend;
  const create = (number: number) => backend().create(subjectOf().specOf(uuidOf(number), domainBytes));
  const run = async (): Promise<DomainHandle> => {
    const handle = await create(1);
    await backend().build(handle);
    await backend().unpause(handle, 'one');
    await subjectOf().untilWritten(handle);
    return handle;
  };
  const infoOf = async ({ domid }: DomainHandle) =>
    (await backend().list()).find(({ handle }) => handle.domid === domid);
  const save = (from: DomainHandle, memory: RawSocket, changes: SaveChanges = {}) => {
    memory.setBlocking(true);
    const saving = { ...streamInit(), memory, live: true, onSuspend: () => backend().pause(from), ...changes };
    return backend().saveHelper().save(from, saving);
  };
  /** What a save writes. */
  const bytesOf = async (from: DomainHandle): Promise<Buffer> => {
    const { raw, peer } = await connections.connected();
    const bytes = readAll(peer);
    await save(from, raw);
    raw.destroy();
    return bytes;
  };
  const digestOf = async (handle: DomainHandle): Promise<string> => {
    await backend().armDigest(handle);
    return backend().digest(handle);
  };

  for (const [way, changes] of [
    ['plain', {}],
    ['compressed', { compression: {} }],
    ['by a rule', { convergence: { maxDowntimeMs: 1000, maxRounds: 4, strategy: 'throttle' } }],
    ['as it stands still', { live: false }],
  ] as const) {
    it(`a domain with all of its memory, ${way}, and no byte more than that`, async () => {
      const [from, to] = [await run(), await create(2)];
      if (way === 'as it stands still') await backend().pause(from);
      const [out, into] = await connections.socketPair();
      const saved = save(from, out, { ...changes, beforeMemory: () => out.write(head) }).then(
        async ({ statistics }) => {
          await out.write(tail);
          return statistics;
        },
      );
      const restored = backend()
        .saveHelper()
        .restore(to, {
          ...{ ...streamInit(), memory: into },
          async beforeMemory() {
            expect(await into.read(head.length)).to.deep.equal(head);
            into.setBlocking(true);
          },
        });
      const [statistics] = await Promise.all([saved, restored]);
      into.setBlocking(false);
      expect(await into.read(tail.length)).to.deep.equal(tail);
      expect(statistics.streamBytes).to.be.within(1 << 16, 16 * domainBytes);
      expect(await infoOf(from)).to.include({ state: 'paused', everRan: true });
      expect(await infoOf(to)).to.include({ state: 'paused', everRan: false });
      expect(await digestOf(to)).to.equal(await digestOf(from));
      await backend().destroy(from);
      await backend().unpause(to, 'two');
      await subjectOf().untilWritten(to);
    });
  }

  for (const when of [
    'before the first byte',
    'while its stream stands still',
    'once its guest has stopped',
  ] as const) {
    it(`and lets one go on that is given up ${when}`, async () => {
      const from = await run();
      const [out, into] = await connections.socketPair();
      const stop = new AbortController();
      const abort = async () => stop.abort(new XapiError('TASK_CANCELLED', ['OpaqueRef:7']));
      const flow = () => into.flow(done).catch(() => undefined);
      const changes: SaveChanges = {
        'before the first byte': { beforeMemory: abort },
        'while its stream stands still': {},
        'once its guest has stopped': { onSuspend: () => backend().pause(from).then(abort) },
      }[when];
      const failure = messageOfFailure(save(from, out, { signal: stop.signal, ...changes }));
      if (when === 'while its stream stands still') await into.read(1).then(abort);
      else void flow();
      expect(await failure).to.equal('TASK_CANCELLED OpaqueRef:7');
      if (when === 'once its guest has stopped') await backend().unpause(from, 'again');
      expect(await infoOf(from)).to.include({ state: 'running' });
      await subjectOf().untilWritten(from);
      expect(await bytesOf(from)).to.have.length.above(1 << 16);
    });
  }

  it('and lets one go on whose stream is broken', async () => {
    const from = await run();
    const [out, into] = await connections.socketPair();
    const failure = save(from, out).catch((error: unknown) => error);
    await into.read(1);
    into.destroy();
    expect(streamFailureOf(await failure)).to.equal('broken-stream');
    expect(await infoOf(from)).to.include({ state: 'running' });
    await subjectOf().untilWritten(from);
  });

  it('and not from a stream that is cut, whose domain can be destroyed', async () => {
    const from = await run();
    const bytes = await bytesOf(from);
    await backend().destroy(from);
    const { total } = await backend().memory();
    for (const length of [0, 30, Math.floor(bytes.length / 2), bytes.length - 1]) {
      const to = await create(2);
      const { raw, peer } = await connections.adopted();
      raw.setBlocking(true);
      peer.end(bytes.subarray(0, length));
      await messageOfFailure(
        backend()
          .saveHelper()
          .restore(to, { ...streamInit(), memory: raw }),
      );
      await backend().destroy(to);
      expect(await backend().list()).to.deep.equal([]);
      expect((await backend().memory()).free).to.equal(total);
    }
  });

  it('and not once it is to end, and leaves a domain that can be destroyed', async () => {
    const to = await create(2);
    const { raw } = await connections.adopted();
    raw.setBlocking(true);
    const stop = new AbortController();
    const onStarted = () => stop.abort(new XapiError('TASK_CANCELLED', ['OpaqueRef:7']));
    const init = { ...streamInit(), memory: raw, signal: stop.signal, onStarted };
    const failure = messageOfFailure(backend().saveHelper().restore(to, init));
    expect(await failure).to.equal('TASK_CANCELLED OpaqueRef:7');
    await backend().destroy(to);
    expect(await backend().list()).to.deep.equal([]);
  });

  it('and says which streams it can restore: all of its own', async () => {
    const helper = backend().saveHelper();
    expect(await helper.readable(streamInit())).to.deep.equal(Object.values(helper.formats));
    expect(await helper.supports('compress', streamInit())).to.equal(true);
  });
}
