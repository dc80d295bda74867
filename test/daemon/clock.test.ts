/** A daemon whose wall clock is set while it serves, as by an operator or a time server after a long time without one. */
import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import { parseDatetime } from '../../src/model/value.js';
import { type Daemon, openSite, type Site } from './daemon.js';

const hour = 3_600_000;

describe('A daemon whose clock is set', function () {
  this.timeout(60_000);
  let site: Site;
  let daemon: Daemon;
  let session: XapiSession;
  let clock: string;
  const step = (milliseconds: number) => fs.writeFileSync(clock, String(milliseconds));

  before(async () => {
    const nodeArgs = ['--import', new URL('../support/stepped-clock.js', import.meta.url).href];
    site = openSite({ nodeArgs, environment: { TZ: 'Asia/Kathmandu' } });
    clock = path.join(site.directory, 'clock');
    process.env.CLOCK_STEP_FILE = clock;
    step(0);
    daemon = await site.start();
    const password = fs.readFileSync(path.join(site.stateDir, 'root-password'), 'utf8').trim();
    session = await login({ url: daemon.url, username: 'root', password }, 'test');
  });
  after(async () => {
    delete process.env.CLOCK_STEP_FILE;
    await site.close();
  });
  beforeEach(() => step(0));

  const hostRef = async (): Promise<string> => (await session.call<string[]>('host.get_all'))[0] ?? '';

  for (const [what, milliseconds] of [
    ['an hour back', -hour],
    ['an hour forward', hour],
    ['25 hours forward', 25 * hour],
  ] as const) {
    it(`by ${what} lets a wait for events end on time`, async () => {
      const { token } = await session.call<{ token: string }>('event.from', ['vdi'], '', 0);
      const began = performance.now();
      const waiting = session.call<{ events: unknown[] }>('event.from', ['vdi'], token, 1.5);
      // What is answered later was asked for later.
      await session.call('host.get_all');
      step(milliseconds);
      const shown = Date.parse(
        (await session.call<string>('host.get_servertime', await hostRef())).replace(/^(....)(..)(..)/, '$1-$2-$3'),
      );
      expect(Math.abs(shown - Date.now() - milliseconds)).to.be.lessThan(hour / 2);
      expect((await waiting).events).to.deep.equal([]);
      expect(performance.now() - began).to.be.at.least(1_490);
    });

    it(`by ${what} keeps its sessions, and the tasks that it has`, async () => {
      const task = await session.call<string>('task.create', 'kept', '');
      step(milliseconds);
      expect(await session.call('task.get_status', task)).to.equal('pending');
      await session.call('task.destroy', task);
    });
  }

  it("says its host's own time without a zone", async () => {
    const utc = await session.call<string>('host.get_servertime', await hostRef());
    const local = await session.call<string>('host.get_server_localtime', await hostRef());
    expect(local).to.match(/^\d{8}T\d\d:\d\d:\d\d$/);
    expect(utc).to.match(/^\d{8}T\d\d:\d\d:\d\dZ$/);
    const ahead = Number(parseDatetime(`${local}Z`)) - Number(parseDatetime(utc));
    expect(Math.round(ahead / 60_000)).to.equal(345);
  });
});
