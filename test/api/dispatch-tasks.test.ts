import { expect } from 'chai';
import type { Ref } from '../../idl/index.js';
import { createDispatch } from '../../src/api/dispatch.js';
import { XapiError } from '../../src/base/errors.js';
import type { CallContext } from '../../src/model/handlers.js';
import { call, errorOf, fakeDeps, operatorSession, origin, rootSession, vmRef } from './fake-deps.js';

/** Until the background has done what it can do without waiting for anything outside. */
async function idle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

describe('dispatch: tasks', () => {
  const handlers = (start: (context: CallContext) => unknown) => ({
    VM: { start, get_possible_hosts: () => ['OpaqueRef:h' as Ref<'host'>] },
    task: { cancel: () => {} },
    event: { from: () => ({ events: [], valid_ref_counts: {}, token: '' }) },
  });
  const startParams = [rootSession, vmRef, false, false];

  it('are made for a synchronous call that could be asynchronous, and deleted on return', async () => {
    const deps = fakeDeps({ handlers: handlers(({ task }) => task.setProgress(0.5)) });
    expect((await call(deps, 'VM.start', startParams)).type).to.deep.equal({ kind: 'void' });
    expect(deps.taskLog).to.deep.equal([
      'create VM.start OpaqueRef:root',
      'progress 0.5',
      'succeed <value></value>',
      'destroy',
    ]);
  });

  it('hold the failure of a synchronous call too', async () => {
    const deps = fakeDeps({
      handlers: handlers(() => {
        throw new XapiError('VM_BAD_POWER_STATE', [vmRef, 'halted', 'running']);
      }),
    });
    expect(await errorOf(deps, 'VM.start', startParams)).to.deep.equal([
      'VM_BAD_POWER_STATE',
      vmRef,
      'halted',
      'running',
    ]);
    expect(deps.taskLog.slice(1)).to.deep.equal([`fail VM_BAD_POWER_STATE ${vmRef} halted running`, 'destroy']);
  });

  for (const prefix of ['Async.', 'InternalAsync.']) {
    it(`are the result of ${prefix} at once, labelled with the full name, and end with the work`, async () => {
      let finish = () => {};
      const deps = fakeDeps({ handlers: handlers(() => new Promise<void>((resolve) => (finish = resolve))) });
      const result = await call(deps, `${prefix}VM.start`, startParams);
      expect(result).to.deep.equal({ type: { kind: 'ref', cls: 'task' }, value: 'OpaqueRef:task' });
      await idle();
      expect(deps.taskLog).to.deep.equal([`create ${prefix}VM.start OpaqueRef:root`]);
      finish();
      await idle();
      expect(deps.taskLog.slice(1)).to.deep.equal(['succeed <value></value>']);
    });
  }

  it('hold a result as an XML fragment', async () => {
    const deps = fakeDeps({ handlers: handlers(() => {}) });
    await call(deps, 'Async.VM.get_possible_hosts', [rootSession, vmRef]);
    await idle();
    expect(deps.taskLog[1]).to.equal('succeed <value><array><data><value>OpaqueRef:h</value></data></array></value>');
  });

  const failing: [string, unknown[], string][] = [
    ['Async.VM.start', startParams, 'fail TASK_CANCELLED OpaqueRef:task'],
    ['Async.VM.snapshot', [rootSession, vmRef, 'x'], 'fail NOT_IMPLEMENTED VM.snapshot'],
    ['Async.VM.destroy', [operatorSession, vmRef], 'fail RBAC_PERMISSION_DENIED vm.destroy'],
  ];
  for (const [name, params, expected] of failing) {
    it(`hold the failure of ${name}: ${expected}`, async () => {
      const deps = fakeDeps({
        handlers: handlers(({ task }) => {
          throw new XapiError('TASK_CANCELLED', [task.ref]);
        }),
      });
      await call(deps, name, params);
      await idle();
      expect(deps.taskLog[1]).to.satisfy((line: string) => line.startsWith(expected));
      expect(deps.taskLog).to.have.length(2);
    });
  }

  it('are not made for messages of task and event', async () => {
    const deps = fakeDeps({ handlers: handlers(() => {}) });
    await call(deps, 'task.cancel', [rootSession, 'OpaqueRef:t']);
    await call(deps, 'event.from', [rootSession, ['*'], '', 30]);
    expect(deps.taskLog).to.deep.equal([]);
  });

  it("outlive the caller's connection when it is asynchronous", async () => {
    const closed = new AbortController();
    let seen: AbortSignal | undefined;
    const deps = fakeDeps({
      handlers: handlers((context) => {
        seen = context.origin.closed;
      }),
    });
    const from = { ...origin, closed: closed.signal };
    await createDispatch(deps)({ name: 'Async.VM.start', params: startParams, validUtf8: true, origin: from });
    closed.abort();
    expect(seen?.aborted).to.equal(false);
  });
});

describe('dispatch on a member', () => {
  const handlers = { VM: { receive: () => ({ token: 't' }) } };

  it("names the coordinator for every call but the host's own", async () => {
    const deps = fakeDeps({ member: '10.0.0.1', handlers });
    const slave = ['HOST_IS_SLAVE', '10.0.0.1'];
    expect(await errorOf(deps, 'session.login_with_password', ['root', 'pw'])).to.deep.equal(slave);
    expect(await errorOf(deps, 'VM.get_all', ['anything'])).to.deep.equal(slave);
    expect(await errorOf(deps, 'VM.fly', ['anything'])).to.deep.equal(['MESSAGE_METHOD_UNKNOWN', 'VM.fly']);
    const receive = ['OpaqueRef:h', 'id', '{}'];
    expect((await call(deps, 'VM.receive', [rootSession, ...receive])).value).to.deep.equal({ token: 't' });
    expect(await errorOf(deps, 'VM.receive', ['bad', ...receive])).to.deep.equal(['SESSION_INVALID', 'bad']);
  });
});

describe('system.listMethods', () => {
  it('names every message, without a session', async () => {
    const { value } = await call(fakeDeps(), 'system.listMethods', []);
    expect(value).to.include.members(['VM.start', 'VM.get_all_records', 'session.login_with_password', 'VM.receive']);
  });
});
