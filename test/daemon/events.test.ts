import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import { createRpcClient } from '../../src/wire/connection/rpc-client.js';
import { type Daemon, openSite, type Site } from './daemon.js';

interface Told {
  readonly class: string;
  readonly operation: string;
  readonly ref: string;
  readonly snapshot?: { readonly name_label: string };
}

describe('the events of a daemon', function () {
  this.timeout(60_000);
  let site: Site;
  let daemon: Daemon;
  before(async () => {
    site = openSite();
    daemon = await site.start();
  });
  after(() => site.close());
  const enter = (): Promise<XapiSession> => {
    const password = fs.readFileSync(path.join(site.stateDir, 'root-password'), 'utf8').trim();
    return login({ url: daemon.url, username: 'root', password }, 'test');
  };
  const createNetwork = (session: XapiSession, name: string): Promise<string> =>
    session.call('network.create', { name_label: name, name_description: '', MTU: 1500, other_config: {}, tags: [] });
  const code = (call: Promise<unknown>): Promise<string> =>
    call.then(
      () => '',
      (error: { code: string }) => error.code,
    );

  it('come to a session that has registered, with the rows as they are', async () => {
    const [session, other] = await Promise.all([enter(), enter()]);
    expect(await code(session.call('event.next'))).to.equal('SESSION_NOT_REGISTERED');
    await session.call('event.register', ['Network']);
    const waiting = session.call<Told[]>('event.next');
    const ref = await createNetwork(other, 'new');
    const [first] = await waiting;
    expect(first).to.include({ class: 'network', operation: 'add', ref });
    expect(first?.snapshot?.name_label).to.equal('new');
    await session.call('event.unregister', ['network']);
    expect(await code(session.call('event.next'))).to.equal('SESSION_NOT_REGISTERED');
  });

  it('come to two hundred who wait at once', async () => {
    const session = await enter();
    const { token } = await session.call<{ token: string }>('event.from', ['network'], '', 0);
    const waiting = Array.from({ length: 200 }, () =>
      session.call<{ events: Told[] }>('event.from', ['network'], token, 60),
    );
    const ref = await createNetwork(session, 'for all');
    const batches = await Promise.all(waiting);
    expect(batches.every(({ events: [event] }) => event?.ref === ref)).to.equal(true);
  });

  it('end with the session of those who wait', async () => {
    const session = await enter();
    await session.call('event.register', ['task']);
    const { token } = await session.call<{ token: string }>('event.from', ['task'], '', 0);
    const waiting = [session.call('event.next'), session.call('event.from', ['task'], token, 60)].map(code);
    // An answer on another connection, so that both have arrived.
    await session.call('pool.get_all');
    const client = createRpcClient(`${daemon.url}/jsonrpc`);
    await client.call('session.logout', [session.ref]);
    client.close();
    expect(await Promise.all(waiting)).to.deep.equal(['SESSION_INVALID', 'SESSION_INVALID']);
    expect(await code(session.call('event.next'))).to.equal('SESSION_INVALID');
  });
});
