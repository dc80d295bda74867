import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect } from 'chai';
import type { SimulatedSpec } from '../../src/base/protocol/hypervisor-protocol.js';
import { oldCopyUuid } from '../../src/migrate/protocol.js';
import type { MigrateRequest, MigrationOutcome } from '../../src/migrate/request.js';
import { migrate, openTestHost, outcomeOf, requestTo, type TestHost, testDomain } from '../support/hosts.js';

describe('A migration', function () {
  this.timeout(60_000);
  let source: TestHost;
  let destination: TestHost;
  let domain: SimulatedSpec;
  const undo: (() => void)[] = [];
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => void unhandled.push(reason);

  before(async () => {
    process.on('unhandledRejection', note);
    [source, destination] = await Promise.all([openTestHost(), openTestHost()]);
  });
  after(async () => {
    await Promise.all([source.close(), destination.close()]);
    process.off('unhandledRejection', note);
  });
  beforeEach(async () => {
    domain = testDomain();
    await source.engine.service.start(domain, false);
  });
  afterEach(async () => {
    for (const restore of undo.splice(0)) restore();
    for (const host of [source, destination]) {
      for (const { handle } of await host.simulator.list()) await host.simulator.destroy(handle);
    }
    // It would end a daemon.
    expect(unhandled.splice(0)).to.deep.equal([]);
  });

  /** Let a host's back end do something else in one place. */
  function replace<K extends keyof TestHost['simulator']>(
    host: TestHost,
    name: K,
    make: (original: TestHost['simulator'][K]) => TestHost['simulator'][K],
  ): void {
    const original = host.simulator[name];
    Object.assign(host.simulator, { [name]: make(original) });
    undo.push(() => Object.assign(host.simulator, { [name]: original }));
  }

  async function runsAlone(at: TestHost, other: TestHost): Promise<void> {
    const [only, ...more] = await at.simulator.list();
    expect(more).to.deep.equal([]);
    expect(only).to.include({ uuid: domain.uuid, state: 'running' }).and.not.to.have.property('inDoubt');
    expect(await other.simulator.list()).to.deep.equal([]);
    const { total, free } = await other.simulator.memory();
    expect(free).to.equal(total);
  }

  const cancelled = (request: MigrateRequest): MigrationOutcome => ({
    status: 'cancelled',
    error: { code: 'TASK_CANCELLED', params: [request.task] },
  });

  it('that is cancelled before it has begun never asks its destination', async () => {
    const { destination: to, ...rest } = requestTo(destination, domain, false);
    const nowhere = { ...rest, destination: { ...to, url: 'http://127.0.0.1:1' } } as MigrateRequest;
    await source.engine.service.migrate(nowhere);
    await source.engine.service.cancel(nowhere.migrationId);
    expect(await outcomeOf(source, nowhere.migrationId)).to.deep.equal(cancelled(nowhere));
    await runsAlone(source, destination);
  });

  it('is cancelled between the copy and point 2-restored', async () => {
    const request = requestTo(destination, domain, false);
    replace(source, 'rename', (rename) => async (handle, uuid) => {
      if (uuid === oldCopyUuid(domain.uuid)) await source.engine.service.cancel(request.migrationId);
      await rename(handle, uuid);
    });
    expect(await migrate(source, request)).to.deep.equal(cancelled(request));
    await runsAlone(source, destination);
  });

  it('refuses to be cancelled while its commit is being journaled', async () => {
    const request = requestTo(destination, domain, false);
    await source.engine.service.migrate(request);
    await reaches(source, request.migrationId, 'commit');
    const refused = await source.engine.service.cancel(request.migrationId).catch((error: unknown) => error);
    expect(refused).to.have.property('code', 'OPERATION_NOT_ALLOWED');
    expect(await outcomeOf(source, request.migrationId)).to.have.property('status', 'success');
    await runsAlone(destination, source);
  });

  it('is refused at point 3 by a host where the uuid is taken', async () => {
    await destination.engine.service.start(domain, true);
    const outcome = await migrate(source, requestTo(destination, domain, false));
    expect(outcome.status).to.equal('failure');
    const [here] = await source.simulator.list();
    expect(here).to.include({ uuid: domain.uuid, state: 'running' });
    expect((await destination.simulator.list()).map(({ uuid }) => uuid)).to.deep.equal([domain.uuid]);
  });

  it('is refused at point 3 by a host that has lost the domain', async () => {
    replace(destination, 'look', () => async () => undefined);
    const outcome = await migrate(source, requestTo(destination, domain, false));
    expect(outcome.status).to.equal('failure');
    for (const restore of undo.splice(0)) restore();
    await runsAlone(source, destination);
  });

  it('leaves a VM that runs alone where the answer to its unpause was lost', async () => {
    replace(destination, 'unpause', (unpause) => async (handle, token) => {
      await unpause(handle, token);
      throw new Error('the connection to the hypervisor is lost');
    });
    expect(await migrate(source, requestTo(destination, domain, false))).to.have.property('status', 'success');
    await runsAlone(destination, source);
  });

  it('that its own side breaks is not blamed on the destination, which only sees the stream end', async () => {
    const program = path.join(source.stateDir, 'broken-emu-manager');
    await writeFile(program, '#!/bin/sh\nexit 3\n', { mode: 0o755 });
    source.configure({ 'emu-manager': program });
    const outcome = await migrate(source, requestTo(destination, domain, false));
    source.configure({});
    expect('error' in outcome && outcome.error.params[3]).to.equal('copy, source: emu-manager exited with 3');
    await runsAlone(source, destination);
  });

  it('has its old copy cleaned up before the next one where that failed', async () => {
    replace(source, 'destroy', () => async () => {
      throw new Error('the hypervisor does not answer');
    });
    expect(await migrate(source, requestTo(destination, domain, false))).to.have.property('status', 'success');
    for (const restore of undo.splice(0)) restore();
    expect(await migrate(destination, requestTo(source, domain, false))).to.have.property('status', 'success');
    expect(await migrate(source, requestTo(destination, domain, false))).to.have.property('status', 'success');
    await runsAlone(destination, source);
  });

  it('is forgotten by its destination when its source has heard of the end', async () => {
    const request = requestTo(destination, domain, false);
    await migrate(source, request);
    const { sessionId } = destination.heads.find(({ cookies }) => cookies.migration_id === request.migrationId) ?? {};
    expect(await destination.engine.destination.settle(request.migrationId, sessionId ?? '')).to.equal('unknown');
  });
});

/** Wait until a migration has got to a phase. */
async function reaches(source: TestHost, migrationId: string, phase: string): Promise<void> {
  for (let since = 0; ; ) {
    const { events, next } = await source.engine.service.events(since, 10);
    const there = events.some(
      (event) => event.kind === 'migration-progress' && event.migrationId === migrationId && event.phase === phase,
    );
    if (there) return;
    since = next;
  }
}
