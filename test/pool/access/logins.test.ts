import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import type { CallContext } from '../../../src/model/handlers.js';
import type { SessionService } from '../../../src/pool/access/sessions.js';
import { type CapturedLog, captureLog } from '../../support/log.js';
import { type Fixture, openFixture } from '../fixture.js';

describe('logins', () => {
  let f: Fixture;
  let password: string;
  let now: number;
  let log: CapturedLog;

  beforeEach(async () => {
    now = 0;
    log = captureLog();
    f = await openFixture(undefined, { log: log.log, elapsed: () => now });
    password = readFileSync(join(f.dir, 'root-password'), 'utf8').trim();
    log.records.length = 0;
  });
  afterEach(() => f.close());
  const handlers = () => f.pool.dispatch.handlers.session;
  const from = (address: string, session?: Ref<'session'>): CallContext => {
    const context = f.context();
    return { ...context, origin: { ...context.origin, address }, ...(session === undefined ? {} : { session }) };
  };
  const login = async (word: string, address = '192.0.2.1', user = 'root'): Promise<Ref<'session'>> =>
    handlers().login_with_password(from(address), user, word, '1.1', 'test');
  const isOpen = (session: Ref<'session'>) => f.pool.dispatch.sessions.use(session) !== undefined;
  const lines = () => log.records.map(({ level, message }) => `${level} ${message}`);

  it('are in the log with user and address, as are logouts and changes of the password', async () => {
    const session = await login(password);
    await f.failure(() => login('wrong', '2001:db8::1'));
    await f.failure(() => handlers().change_password(from('192.0.2.2', session), 'wrong', 'new'));
    await handlers().change_password(from('192.0.2.2', session), password, 'new');
    await handlers().logout(from('192.0.2.3', session));
    await f.failure(() => handlers().slave_login(from('192.0.2.4'), f.hostA, 'no secret'));
    expect(lines()).to.deep.equal([
      'info login: user "root" from 192.0.2.1',
      'warn login failed: user "root" from 2001:db8::1',
      'warn change of password failed: user "root" from 192.0.2.2',
      'info change of password: user "root" from 192.0.2.2',
      'info logout: user "root" from 192.0.2.3',
      'warn login failed: user "host" from 192.0.2.4',
    ]);
  });

  for (const [what, user, shown] of [
    ['quoted', 'a" from 1.1.1.1\nx', '"a\\" from 1.1.1.1\\nx"'],
    ['cut at 64 characters', 'x'.repeat(5000), `"${'x'.repeat(64)}"`],
    ['cut between characters', '\u{1f600}'.repeat(100), `"${'\u{1f600}'.repeat(64)}"`],
  ] as const) {
    it(`have the user ${what} in the log`, async () => {
      await f.failure(() => login('wrong', '192.0.2.1', user));
      expect(lines()).to.deep.equal([`warn login failed: user ${shown} from 192.0.2.1`]);
    });
  }

  it('that flood are summed up a minute at a time, for each address', async () => {
    for (let n = 0; n < 12; n += 1) await f.failure(() => login('wrong', '192.0.2.1', `user ${n}`));
    await f.failure(() => login('wrong', '192.0.2.2'));
    expect(lines()).to.have.length(6);
    expect(lines().at(-1)).to.contain('192.0.2.2');
    now = 60_000;
    (f.pool.dispatch.sessions as SessionService).collect();
    expect(lines().slice(6)).to.deep.equal(['warn login failed: 7 more from 192.0.2.1 within a minute']);
    await f.failure(() => login('wrong', '192.0.2.1'));
    expect(lines()).to.have.length(8);
  });

  it('that are wrong hold up none from another address, and too many from one address do not wait', async () => {
    let ended = 0;
    const wrong = Array.from({ length: 100 }, () => f.failure(() => login('wrong')).finally(() => (ended += 1)));
    await login(password, '192.0.2.2');
    // 2 run at once and 32 wait; the others are told at once. The right one has not waited for those that wait.
    expect(ended).to.be.within(66, 99);
    const failures = (await Promise.all(wrong)).map(([, , why]) => why);
    expect(failures.filter((why) => why === 'Authentication failure')).to.have.length(34);
    expect(failures.filter((why) => why?.includes('Too many logins'))).to.have.length(66);
  });

  it('that are wrong do not hold up the right one at the same address, once it was seen', async () => {
    await login(password);
    let ended = 0;
    const wrong = Array.from({ length: 30 }, () => f.failure(() => login('wrong')).finally(() => (ended += 1)));
    await login(password);
    expect(ended).to.equal(0);
    await Promise.all(wrong);
    const session = await login(password);
    await handlers().change_password(from('192.0.2.1', session), password, 'new');
    expect(await f.failure(() => login(password))).to.have.property('0', 'SESSION_AUTHENTICATION_FAILED');
  });

  it('of a user end when another session changes the password; that session and those of hosts and pools go on', async () => {
    const sessions = f.pool.dispatch.sessions as SessionService;
    const [own, other, third] = [await login(password), await login(password), await login(password, '192.0.2.9')];
    const [peer, host] = [sessions.open('host.migrate_receive', ['vm.receive']), sessions.open('session.slave_login')];
    const release = sessions.keep(third);
    const told = sessions.ended(other);
    await f.failure(() => handlers().change_password(from('192.0.2.1', own), 'wrong', 'new'));
    expect([own, other, third].map(isOpen)).to.deep.equal([true, true, true]);
    await handlers().change_password(from('192.0.2.1', own), password, 'new');
    expect([own, other, third, peer, host].map(isOpen)).to.deep.equal([true, false, false, true, true]);
    expect(told.aborted).to.equal(true);
    release();
  });
});
