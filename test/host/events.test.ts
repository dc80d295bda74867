import { expect } from 'chai';
import { createHostEvents, type HostEvents } from '../../src/host/events.js';
import type { HostEvent } from '../../src/host/service.js';

const gone = (uuid: string | number): HostEvent => ({ kind: 'domain-gone', uuid: String(uuid) });
const names = (events: readonly HostEvent[]) => events.map((event) => ('uuid' in event ? event.uuid : ''));

describe("a host's events", () => {
  let events: HostEvents;
  beforeEach(() => {
    events = createHostEvents('host');
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

  it('are numbered on when the daemon is started anew, so that a follower misses none', async () => {
    events.emit(gone('before'));
    const { next } = await events.after(0, 0);
    await new Promise((resolve) => setTimeout(resolve, 2));
    const later = createHostEvents('host');
    later.emit(gone('after'));
    expect(names((await later.after(next, 0)).events)).to.deep.equal(['after']);
    later.close();
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
