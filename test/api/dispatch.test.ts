import { expect } from 'chai';
import { XapiError } from '../../src/base/errors.js';
import type { CallContext } from '../../src/model/handlers.js';
import {
  call,
  errorOf,
  fakeDeps,
  limitedSession,
  nobodySession,
  operatorSession,
  origin,
  rootSession,
  vmRef,
} from './fake-deps.js';

describe('dispatch: the checks', () => {
  const root = rootSession;
  const rows: [string, unknown[], unknown[]][] = [
    // name
    ['VM.fly', [root], ['MESSAGE_METHOD_UNKNOWN', 'VM.fly']],
    ['VM.fly', [], ['MESSAGE_METHOD_UNKNOWN', 'VM.fly']],
    ['VM.fly', [7], ['MESSAGE_METHOD_UNKNOWN', 'VM.fly']],
    ['VM.fly', ['OpaqueRef:gone'], ['SESSION_INVALID', 'OpaqueRef:gone']],
    ['vm.start', [root], ['MESSAGE_METHOD_UNKNOWN', 'vm.start']],
    ['', [root], ['MESSAGE_METHOD_UNKNOWN', '']],
    ['Async.VM_start', [root], ['MESSAGE_METHOD_UNKNOWN', 'Async.VM_start']],
    ['Async.Async.VM.start', [root], ['MESSAGE_METHOD_UNKNOWN', 'Async.Async.VM.start']],
    ['async.VM.start', [root], ['MESSAGE_METHOD_UNKNOWN', 'async.VM.start']],
    ['constructor', [root], ['MESSAGE_METHOD_UNKNOWN', 'constructor']],
    // arity, before types and session
    ['VM.start', ['bad'], ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'VM.start', '3', '0']],
    ['VM.start', [], ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'VM.start', '3', '-1']],
    ['VM.start', [root, vmRef, false], ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'VM.start', '3', '2']],
    ['VM.start', [root, 1, 2, 3, 4], ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'VM.start', '3', '4']],
    ['VM_start', [root], ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'VM_start', '3', '0']],
    ['Async.VM.start', [root], ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'VM.start', '3', '0']],
    ['InternalAsync.VM.start', [root], ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'VM.start', '3', '0']],
    ['VM.get_all', [], ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'VM.get_all', '0', '-1']],
    ['VM.get_all', [root, 1], ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'VM.get_all', '0', '1']],
    ['VM.migrate_send', [root, vmRef], ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'VM.migrate_send', '6', '1']],
    [
      'session.login_with_password',
      ['root'],
      ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'session.login_with_password', '2', '1'],
    ],
    // types, before session
    ['VM.get_record', [5, vmRef], ['INTERNAL_ERROR', `Failure("Expected string, got 'I(5)'")`]],
    ['VM.start', ['bad', vmRef, 'no', 0], ['INTERNAL_ERROR', `Failure("Expected bool, got 'S(no)'")`]],
    // session
    ['VM.start', ['bad', vmRef, false, false], ['SESSION_INVALID', 'bad']],
    ['VM.get_record', ['__proto__', vmRef], ['SESSION_INVALID', '__proto__']],
    // removed, without looking at the types of the rest
    ['VM.set_protection_policy', [root, vmRef, 5], ['MESSAGE_REMOVED']],
    ['VM.set_protection_policy', ['bad', vmRef, 5], ['SESSION_INVALID', 'bad']],
    // no asynchronous mode
    ['Async.VM.get_all', [root], ['Fault', 'No async mode for this operation (rpc: VM.get_all)']],
    ['Async.VM.get_all', ['bad'], ['SESSION_INVALID', 'bad']],
    // role
    [
      'VM.set_name_label',
      [operatorSession, vmRef, 'x'],
      [
        'RBAC_PERMISSION_DENIED',
        'vm.set_name_label',
        'No permission in user session. (Roles with this permission: pool-admin, pool-operator, vm-power-admin, vm-admin)',
      ],
    ],
    ...(['VM.receive', 'host.migrate_receive'] as const).map((name): [string, unknown[], string[]] => [
      name,
      [operatorSession, 'OpaqueRef:h', 'x', ...(name === 'VM.receive' ? ['{}'] : [{}])],
      [
        'RBAC_PERMISSION_DENIED',
        name.toLowerCase(),
        'No permission in user session. (Roles with this permission: pool-admin, pool-operator, vm-power-admin)',
      ],
    ]),
    ['VM.snapshot', [root, vmRef, 'x'], ['NOT_IMPLEMENTED', 'VM.snapshot']],
    // rows
    ['VM.get_record', [root, 'OpaqueRef:none'], ['HANDLE_INVALID', 'VM', 'OpaqueRef:none']],
    ['VM.get_by_uuid', [root, 'none'], ['UUID_INVALID', 'VM', 'none']],
  ];
  for (const [name, params, expected] of rows) {
    it(`answer ${JSON.stringify(expected).slice(0, 90)} to ${name}(${JSON.stringify(params).slice(1, -1)})`, async () => {
      expect(await errorOf(fakeDeps(), name, params)).to.deep.equal(expected);
    });
  }

  it('come after UTF-8, in keys and values at any depth, whatever the name', async () => {
    const refused = (shown: string) => ['INVALID_VALUE', 'Invalid UTF-8 string in parameter', shown];
    const deps = fakeDeps();
    expect(await errorOf(deps, 'VM.fly', ['x', 'a\ufffd'], false)).to.deep.equal(refused('S(a\ufffd)'));
    expect(await errorOf(deps, 'VM.fly', ['x', { a: [{ 'k\u0001': 1 }] }])).to.deep.equal(
      refused('{a:[{k\u0001:I(1)}]}'),
    );
    expect(await errorOf(deps, 'VM.fly', ['\ud800'])).to.deep.equal(refused('S(\ud800)'));
    expect(await errorOf(deps, 'VM.fly', ['\uffff'])).to.deep.equal(refused('S(\uffff)'));
  });

  it('take what is UTF-8: tabs, line ends, U+FFFD itself, pairs', async () => {
    const deps = fakeDeps();
    await call(deps, 'VM.set_name_label', [rootSession, vmRef, '\t\r\n\ufffd\u{1f600}']);
    expect((await call(deps, 'VM.get_name_label', [rootSession, vmRef])).value).to.equal('\t\r\n\ufffd\u{1f600}');
  });

  it('let nobody but the local superuser send what no role may', async () => {
    const handlers = { session: { change_password: () => {} } };
    const deps = fakeDeps({ handlers });
    const params = ['old', 'new'];
    expect((await errorOf(deps, 'session.change_password', [operatorSession, ...params]))[0]).to.equal(
      'RBAC_PERMISSION_DENIED',
    );
    expect(await errorOf(deps, 'session.change_password', [rootSession, ...params])).to.deep.equal([]);
  });

  it('let a session with a purpose send what that is, by synchronous calls, and nothing else, whatever it is', async () => {
    const handlers = { VM: { receive: () => ({}), destroy: () => {} }, session: { logout: () => {} } };
    const deps = fakeDeps({ handlers });
    const receive = [limitedSession, 'OpaqueRef:h', 'id', '{}'];
    const rows: [name: string, params: unknown[], denied: string | undefined][] = [
      ['VM.receive', receive, undefined],
      ['VM.get_all', [limitedSession], undefined],
      ['Async.VM.receive', receive, 'vm.receive'],
      ['InternalAsync.VM.receive', receive, 'vm.receive'],
      ['VM.get_name_label', [limitedSession, vmRef], 'vm.get_name_label'],
      ['VM.get_all_records', [limitedSession], 'vm.get_all_records'],
      ['VM.destroy', [limitedSession, vmRef], 'vm.destroy'],
      ['Async.VM.destroy', [limitedSession, vmRef], 'vm.destroy'],
      ['VM.snapshot', [limitedSession, vmRef, 'x'], 'vm.snapshot'],
      ['VM.set_protection_policy', [limitedSession, vmRef, 5], 'vm.set_protection_policy'],
      ['session.logout', [limitedSession], 'session.logout'],
    ];
    for (const [name, params, denied] of rows) {
      const [code, permission] = await errorOf(deps, name, params);
      expect([code, permission], name).to.deep.equal(
        denied === undefined ? [undefined, undefined] : ['RBAC_PERMISSION_DENIED', denied],
      );
    }
    expect(deps.taskLog.filter((line) => line.startsWith('create'))).to.deep.equal([
      `create VM.receive ${limitedSession}`,
    ]);
  });

  it('want some role for what every role may', async () => {
    const denied = await errorOf(fakeDeps(), 'VM.get_all', [nobodySession]);
    expect(denied[0]).to.equal('RBAC_PERMISSION_DENIED');
    expect(await errorOf(fakeDeps(), 'VM.get_all', [operatorSession])).to.deep.equal([]);
  });
});

describe('dispatch: generic messages', () => {
  it('read rows by class, reference, uuid, name and filter', async () => {
    const deps = fakeDeps();
    const value = async (name: string, ...params: unknown[]) =>
      (await call(deps, name, [rootSession, ...params])).value;
    expect(await value('VM.get_all')).to.deep.equal([vmRef]);
    expect(await value('host.get_all')).to.deep.equal([]);
    expect(await value('VM.get_uuid', vmRef)).to.equal('vm-uuid');
    expect(await value('VM_get_uuid', vmRef)).to.equal('vm-uuid');
    expect(await value('VM.get_by_uuid', 'vm-uuid')).to.equal(vmRef);
    expect(await value('VM.get_by_name_label', 'one')).to.deep.equal([vmRef]);
    expect(await value('VM.get_by_name_label', 'two')).to.deep.equal([]);
    expect(await value('VM.get_all_where', 'field "name_label" = "one"')).to.deep.equal([vmRef]);
    expect(await value('VM.get_all_where', 'field "name_label" = "two"')).to.deep.equal([]);
    expect(Object.keys((await value('VM.get_all_records')) as object)).to.deep.equal([vmRef]);
    expect(Object.keys((await value('VM.get_all_records_where', 'true')) as object)).to.deep.equal([vmRef]);
  });

  it('write fields, maps and sets', async () => {
    const deps = fakeDeps();
    const send = (name: string, ...params: unknown[]) => errorOf(deps, name, [rootSession, vmRef, ...params]);
    expect(await send('VM.set_user_version', '3')).to.deep.equal([]);
    expect(await send('VM.add_to_xenstore_data', 'k', 'v')).to.deep.equal([]);
    expect(await send('VM.add_to_xenstore_data', 'k', 'w')).to.deep.equal([
      'MAP_DUPLICATE_KEY',
      'VM',
      'xenstore_data',
      vmRef,
      'k',
    ]);
    expect(await send('VM.add_tags', 'b')).to.deep.equal([]);
    expect(await send('VM.remove_tags', 'a')).to.deep.equal([]);
    expect(deps.rows.record('VM', vmRef)).to.deep.include({ user_version: 3, xenstore_data: { k: 'v' }, tags: ['b'] });
    expect(await send('VM.remove_from_xenstore_data', 'k')).to.deep.equal([]);
    expect(await send('VM.remove_from_xenstore_data', 'k')).to.deep.equal([]);
    expect(deps.rows.record('VM', vmRef)).to.deep.include({ xenstore_data: {} });
  });

  it('make no task', async () => {
    const deps = fakeDeps();
    await call(deps, 'VM.set_name_label', [rootSession, vmRef, 'x']);
    expect(deps.taskLog).to.deep.equal([]);
  });
});

describe('dispatch: handlers', () => {
  it('get parameters typed and filled in, surplus ones of a message with defaults dropped', async () => {
    const seen: unknown[][] = [];
    const keep = (params: unknown[], result: string) => {
      seen.push(params);
      return result;
    };
    const deps = fakeDeps({
      handlers: {
        VM: { migrate_send: (_context, ...params) => keep(params, vmRef) },
        VIF: { create: (_context, ...params) => keep(params, 'OpaqueRef:vif') },
      },
    });
    const given = [vmRef, { a: 'b' }, true, {}, {}, {}];
    await call(deps, 'VM.migrate_send', [rootSession, ...given]);
    await call(deps, 'VM.migrate_send', [rootSession, ...given, { g: 'G' }, {}, 'left', 'over']);
    await call(deps, 'VIF.create', [rootSession, { device: '0', MTU: '1500' }]);
    expect(seen[0]).to.deep.equal([...given, {}, {}]);
    expect(seen[1]).to.deep.equal([...given, { g: 'G' }, {}]);
    expect(seen[2]?.[0]).to.deep.include({ device: '0', MTU: 1500, other_config: {}, VM: 'OpaqueRef:NULL' });
  });

  it('get the session, the caller, and a log that names the call', async () => {
    const seen: CallContext[] = [];
    const deps = fakeDeps({
      handlers: {
        session: {
          login_with_password: (context) => {
            seen.push(context);
            return rootSession;
          },
          logout: (context) => {
            seen.push(context);
            context.log.info('gone');
          },
        },
      },
    });
    await call(deps, 'session.login_with_password', ['root', 'pw']);
    await call(deps, 'session.logout', [rootSession]);
    expect(seen[0]).to.not.have.property('session');
    expect(seen[1]?.session).to.equal(rootSession);
    expect(seen[1]?.origin).to.equal(origin);
    expect(seen[1]?.task.ref).to.equal('OpaqueRef:NULL');
    expect(deps.lines).to.deep.equal(['info gone {"call":"session.logout"}']);
  });

  it("'s own errors pass unchanged, others become INTERNAL_ERROR and are logged with their trace", async () => {
    const deps = fakeDeps({
      handlers: {
        session: {
          login_with_password: () => {
            throw new XapiError('SESSION_AUTHENTICATION_FAILED', ['root', 'Authentication failure']);
          },
          logout: () => {
            throw new TypeError('x is undefined');
          },
        },
      },
    });
    expect(await errorOf(deps, 'session.login_with_password', ['root', 'pw'])).to.deep.equal([
      'SESSION_AUTHENTICATION_FAILED',
      'root',
      'Authentication failure',
    ]);
    expect(deps.lines).to.deep.equal([]);
    expect(await errorOf(deps, 'session.logout', [rootSession])).to.deep.equal(['INTERNAL_ERROR', 'x is undefined']);
    expect(deps.lines.join()).to.match(
      /^error call failed {"call":"session.logout","what":"TypeError: x is undefined","at":"dispatch.test.[jt]s:\d+ < dispatch.[jt]s:\d+.*"}$/,
    );
  });

  for (const [what, message, sent] of [
    ['a text that the caller sent', 'cannot open /srv/hush-hush', ['root', 'hush-hush']],
    ['a part of one', "Unexpected token 'hush'", ['root', '{"a": hush-hush-hush}']],
    ['one in other letters', 'HUSH-HUSH', ['root', 'hush-hush']],
    ['a short one', 'no user xyz', ['root', 'xyz']],
    ['anything, where more was sent than is searched', 'x is undefined', ['root', 'z'.repeat(70_000)]],
  ] as const) {
    it(`that break with ${what} are logged without it`, async () => {
      const login_with_password = () => {
        throw new TypeError(message);
      };
      const deps = fakeDeps({ handlers: { session: { login_with_password } } });
      expect(await errorOf(deps, 'session.login_with_password', [...sent])).to.deep.equal(['INTERNAL_ERROR', message]);
      expect(deps.lines.join()).to.contain('"what":"TypeError: ***"');
    });
  }
});
