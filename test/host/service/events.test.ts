import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { openStore } from '../../../src/base/store/store.js';
import { createHostEvents, type HostEvents, reserveEventNumbers } from '../../../src/host/service/events.js';
import type { HostEvent } from '../../../src/host/service/service.js';

const gone = (uuid: string | number): HostEvent => ({ kind: 'domain-gone', uuid: String(uuid) });
const names = (events: readonly HostEvent[]) => events.map((event) => ('uuid' in event ? event.uuid : ''));

describe("a host's events", () => {
  let events: HostEvents;
  beforeEach(() => {
    events = createHostEvents('host', 7_000);
  });
  afterEach(() => events.close());

  it('come in their order, each once', async () => {
    const { events: none, next: start } = await events.after(0, 0);
    expect(none).to.deep.equal([]);
    events.emit(gone('a'));
    events.emit(gone('b'));
    const first = await events.after(start, 0);
    expect(names(first.events)).to.deep.equal(['a', 'b']);
    events.emit(gone('c'));
    const second = await events.after(first.next, 0);
    expect(names(second.events)).to.deep.equal(['c']);
    expect(await events.after(second.next, 0)).to.deep.equal({ events: [], next: second.next });
  });

  it('can be had again by whoever did not get the answer, and by others', async () => {
    const { next: start } = await events.after(0, 0);
    events.emit(gone('a'));
    for (let time = 0; time < 3; time += 1) expect(names((await events.after(start, 0)).events)).to.deep.equal(['a']);
  });

  it('are waited for, by all who wait', async () => {
    const { next: start } = await events.after(0, 0);
    const waiting = [events.after(start, 60), events.after(start, 60)];
    events.emit(gone('a'));
    for (const each of waiting) expect(names((await each).events)).to.deep.equal(['a']);
  });

  it('are told with what comes next where they are mere progress', async () => {
    const progress: HostEvent = { kind: 'migration-progress', migrationId: 'm', progress: 0.5, phase: 'copy' };
    const { next: start } = await events.after(0, 0);
    events.emit(progress);
    const waiting = [events.after(start, 60)];
    events.emit(progress);
    waiting.push(events.after(start, 60));
    events.emit(gone('a'));
    for (const each of waiting) expect((await each).events).to.deep.equal([progress, progress, gone('a')]);
  });

  it('are told in the end where they are mere progress, and at once to who does not wait', async () => {
    const progress: HostEvent = { kind: 'migration-progress', migrationId: 'm', progress: 0.5, phase: 'copy' };
    const { next: start } = await events.after(0, 0);
    events.emit(progress);
    expect((await events.after(start, 0)).events).to.deep.equal([progress]);
    expect((await events.after(start, 0.01)).events).to.deep.equal([progress]);
    expect((await events.after(start, 60)).events).to.deep.equal([progress]);
  });

  it('are not waited for longer than was said', async () => {
    const { next: start } = await events.after(0, 0);
    expect(await events.after(start, 0.01)).to.deep.equal({ events: [], next: start });
  });

  it('are not waited for when there are some', async () => {
    events.emit(gone('a'));
    expect(names((await events.after(0, 60)).events)).to.deep.equal(['a']);
  });

  it('are the latest 10000 for a follower that fell behind', async () => {
    const { next: start } = await events.after(0, 0);
    for (let number = 0; number < 10_050; number += 1) events.emit(gone(number));
    const { events: all, next } = await events.after(start, 0);
    expect(all).to.have.length(10_000);
    expect(names(all).at(0)).to.equal('50');
    expect(names(all).at(-1)).to.equal('10049');
    events.emit(gone('last'));
    expect(names((await events.after(next, 0)).events)).to.deep.equal(['last']);
  });

  for (const [what, by] of [
    ['whose clock goes on', 3_600_000],
    ['whose clock stands', 0],
    ['whose clock was set back', -3_600_000],
    ['whose clock was set back by years', -1_500_000_000_000],
  ] as const) {
    it(`are numbered on when a daemon is started anew ${what}, so that a follower misses none`, async () => {
      const directory = fs.mkdtempSync(path.join(tmpdir(), 'host-events-'));
      const store = openStore(directory);
      try {
        const now = Date.UTC(2026, 10, 29);
        const earlier = createHostEvents('host', await reserveEventNumbers(store, () => now));
        for (let number = 0; number < 5; number += 1) earlier.emit(gone('before'));
        const { next } = await earlier.after(0, 0);
        const later = createHostEvents('host', await reserveEventNumbers(store, () => now + by));
        for (let number = 0; number < 10; number += 1) later.emit(gone(number));
        const told = await later.after(next, 60);
        expect(names(told.events)).to.deep.equal(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        expect(told.next).to.be.above(next);
      } finally {
        await store.close();
        fs.rmSync(directory, { recursive: true });
      }
    });
  }

  it('go beyond the numbers that earlier versions gave by the clock, and stay exact', async () => {
    const directory = fs.mkdtempSync(path.join(tmpdir(), 'host-events-'));
    const store = openStore(directory);
    try {
      const now = Date.UTC(2026, 10, 29);
      expect(await reserveEventNumbers(store, () => now)).to.be.at.least(now * 1000);
      const far = await reserveEventNumbers(store, () => Date.UTC(9999, 1));
      expect(Number.isSafeInteger(far + 2 ** 32)).to.equal(true);
      expect(await reserveEventNumbers(store, () => Date.UTC(9999, 1))).to.be.above(far);
    } finally {
      await store.close();
      fs.rmSync(directory, { recursive: true });
    }
  });

  it('are all told, and at once, to a follower whose number is of another run', async () => {
    const { next } = await events.after(0, 0);
    expect(await events.after(next + 5, 60)).to.deep.equal({ events: [], next });
    events.emit(gone('a'));
    events.emit(gone('b'));
    for (const number of [0, next - 1, next + 5, Number.MAX_SAFE_INTEGER]) {
      expect(names((await events.after(number, 60)).events), String(number)).to.deep.equal(['a', 'b']);
    }
  });

  it('end with the host: whoever waits is told, and who asks later', async () => {
    const { next } = await events.after(0, 0);
    const waiting = events.after(next, 60).catch((error: unknown) => error);
    events.close();
    const told = { code: 'HOST_OFFLINE', params: ['host'] };
    expect(await waiting).to.deep.include(told);
    expect(await events.after(0, 0).catch((error: unknown) => error)).to.deep.include(told);
  });
});
