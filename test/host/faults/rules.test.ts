import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import { expect } from 'chai';
import { createFaultRules, type FaultRules } from '../../../src/host/faults/rules.js';
import type { FaultPlace, Helper } from '../../../src/migrate/faults.js';
import { captureLog } from '../../support/log.js';
import { failureOf } from '../../support/refusal.js';

const vm = '11111111-2222-4333-8444-555555555555';

describe('fault rules', () => {
  let allowed: boolean;
  let chance: number;
  let rules: FaultRules;
  let killed: [pid: number, signal: string][];
  let kept: ReturnType<typeof captureLog>;
  const children: ChildProcess[] = [];

  beforeEach(() => {
    allowed = true;
    chance = 0;
    killed = [];
    kept = captureLog();
    rules = createFaultRules({
      allowed: () => allowed,
      hypervisorPid: async () => 4711,
      random: () => chance,
      kill: (pid, signal) => void killed.push([pid, signal]),
      log: kept.log,
    });
  });
  afterEach(async () => {
    rules.close();
    for (const child of children.splice(0)) {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    }
  });

  const add = (args: Record<string, string>): string => rules.call('add', args);
  const list = (): Record<string, unknown>[] => JSON.parse(rules.call('list', {}));
  const place = (more: Partial<FaultPlace> = {}): FaultPlace => ({
    ...{ side: 'source', uuid: vm, migrationId: 'migration', helpers: [], signal: new AbortController().signal },
    ...more,
  });
  const at = (step: 'going' | 'copy', more?: Partial<FaultPlace>) => failureOf(() => rules.at(step, place(more)));
  const helper = async (name: Helper['name']): Promise<Helper> => {
    const child = spawn('sleep', ['60']);
    children.push(child);
    await once(child, 'spawn');
    return { name, pid: child.pid as number };
  };
  /** Whether a promise is still open when everything that can run has run. */
  const waits = async (promise: Promise<unknown>): Promise<boolean> => {
    for (let turn = 0; turn < 5; turn += 1) await setImmediate();
    return Promise.race([promise.then(() => false), Promise.resolve(true)]);
  };

  it('are added, listed with how often each was reached and has fired, and cleared', async () => {
    expect(add({ step: 'going', action: 'fail' })).to.equal('1');
    expect(add({ step: 'copy', side: 'source', action: 'kill', target: 'zstd', vm })).to.equal('2');
    await at('going');
    await at('going');
    const first = { id: 1, step: 'going', side: 'source', action: 'fail', error: 'INTERNAL_ERROR', count: 1 };
    expect(list()[0]).to.deep.include({ ...first, probability: 1, reached: 2, fired: 1 });
    expect(list()[1]).to.deep.include({ id: 2, vm, target: 'zstd', signal: 'SIGKILL', reached: 0, fired: 0 });
    expect(rules.call('clear', { id: '1' })).to.equal('[1]');
    expect(list()).to.have.lengthOf(1);
    expect(rules.call('clear', {})).to.equal('[2]');
    expect(list()).to.deep.equal([]);
    expect(add({ step: 'going', action: 'stall' })).to.equal('3');
  });

  const refusals: [fn: string, args: Record<string, string>, error: string[]][] = [
    [
      'remove',
      {},
      ['XENAPI_PLUGIN_FAILURE', 'unknown function', '', 'fault has no function remove; allowed: add, list, clear'],
    ],
    [
      'toString',
      {},
      ['XENAPI_PLUGIN_FAILURE', 'unknown function', '', 'fault has no function toString; allowed: add, list, clear'],
    ],
    ['clear', { id: '7' }, ['INVALID_VALUE', 'id', '7']],
    ['clear', { rule: '1' }, ['INVALID_VALUE', 'rule', '1']],
    ['list', { id: '1' }, ['INVALID_VALUE', 'id', '1']],
  ];
  for (const [fn, args, error] of refusals) {
    it(`refuse ${fn} ${JSON.stringify(args)}`, async () => {
      expect(await failureOf(() => rules.call(fn, args))).to.deep.equal(error);
    });
  }

  it('are refused where the configuration has them off, with the name of its key', async () => {
    allowed = false;
    for (const fn of ['add', 'list', 'clear']) {
      const [code, text] = await failureOf(() => rules.call(fn, {}));
      expect(code).to.equal('OPERATION_NOT_ALLOWED');
      expect(text).to.contain('fault-injection = true');
    }
  });

  it('do nothing, and end what they hold up, once the configuration has them off', async () => {
    add({ step: 'going', action: 'stall' });
    add({ step: 'copy', side: 'source', action: 'fail' });
    const stalled = rules.at('going', place());
    expect(await waits(stalled)).to.equal(true);
    allowed = false;
    rules.reload();
    await stalled;
    expect(await at('copy')).to.deep.equal([]);
    allowed = true;
    expect(await at('copy')).to.have.lengthOf(2);
  });

  it('fail with the error that they name, as often as they say, for the side, the step and the VM that they name', async () => {
    add({ step: 'copy', side: 'source', vm, action: 'fail', error: 'VDI_IN_USE', params: '["a","b"]', count: '2' });
    expect(await at('going')).to.deep.equal([]);
    expect(await at('copy', { side: 'destination' })).to.deep.equal([]);
    expect(await at('copy', { uuid: 'another' })).to.deep.equal([]);
    expect(await at('copy')).to.deep.equal(['VDI_IN_USE', 'a', 'b']);
    expect(await at('copy')).to.deep.equal(['VDI_IN_USE', 'a', 'b']);
    expect(await at('copy')).to.deep.equal([]);
    expect(list()[0]).to.include({ reached: 3, fired: 2 });
  });

  it('fire for ever with a count of 0, and by chance', async () => {
    add({ step: 'going', action: 'fail', message: 'no luck', count: '0', probability: '0.5' });
    const results: number[] = [];
    for (chance of [0, 0.49, 0.5, 0.99, 0.3]) results.push((await at('going')).length);
    expect(results).to.deep.equal([2, 2, 0, 0, 2]);
    expect(list()[0]).to.include({ reached: 5, fired: 3 });
  });

  it('never fire with a probability of 0', async () => {
    add({ step: 'going', action: 'fail', probability: '0' });
    expect(await at('going')).to.deep.equal([]);
  });

  it('stall until they are cleared, the migration is stopped, or the time is over', async () => {
    add({ step: 'going', action: 'stall', count: '0' });
    const first = rules.at('going', place());
    expect(await waits(first)).to.equal(true);
    rules.call('clear', {});
    await first;

    add({ step: 'going', action: 'stall', delay: '3600' });
    const stop = new AbortController();
    const second = rules.at('going', place({ signal: stop.signal }));
    expect(await waits(second)).to.equal(true);
    stop.abort();
    await second;

    add({ step: 'going', action: 'stall', delay: '0.01' });
    await rules.at('going', place());
  });

  it('send their signal to every helper of the name that lives, and to no other process', async () => {
    const zstd = await Promise.all([helper('zstd'), helper('zstd')]);
    const emu = await helper('emu-manager');
    const ended = await helper('zstd');
    const last = children.at(-1) as ChildProcess;
    last.kill('SIGKILL');
    await once(last, 'exit');
    const helpers = [...zstd, emu, ended, { name: 'zstd', pid: 1 } as const];
    add({ step: 'going', action: 'kill', target: 'zstd', signal: 'STOP' });
    add({ step: 'going', action: 'kill', target: 'emu-manager' });
    await rules.at('going', place({ helpers }));
    expect(killed).to.have.deep.members([...zstd.map(({ pid }) => [pid, 'SIGSTOP']), [emu.pid, 'SIGKILL']]);
    expect(kept.messages('warn')).to.include('fault rule: SIGSTOP to zstd');
  });

  it('do not count a kill that found no process', async () => {
    add({ step: 'going', action: 'kill', target: 'emu-manager' });
    await rules.at('going', place());
    expect(list()[0]).to.include({ reached: 1, fired: 0 });
    await rules.at('going', place({ helpers: [await helper('emu-manager')] }));
    expect(list()[0]).to.include({ reached: 2, fired: 1 });
  });

  it('send their signal to the daemon and to the hypervisor', async () => {
    add({ step: 'going', action: 'kill', target: 'daemon', signal: 'TERM' });
    add({ step: 'going', action: 'kill', target: 'hypervisor' });
    await rules.at('going', place());
    expect(killed).to.deep.equal([
      [process.pid, 'SIGTERM'],
      [4711, 'SIGKILL'],
    ]);
  });

  it('act later while the step goes on, unless they are cleared before', async () => {
    add({ step: 'going', action: 'kill', target: 'hypervisor', delay: '0.01' });
    add({ step: 'copy', side: 'source', action: 'kill', target: 'daemon', delay: '3600' });
    await rules.at('going', place());
    await rules.at('copy', place());
    while (killed.length === 0) await setImmediate();
    rules.call('clear', {});
    expect(killed).to.deep.equal([[4711, 'SIGKILL']]);
  });

  it('log each act before it, with the id of the rule and of the migration', async () => {
    add({ step: 'going', action: 'fail' });
    await at('going');
    const record = kept.records.find(({ message }) => message.includes('fails here'));
    expect(record?.level).to.equal('warn');
    expect(record?.fields).to.include({ rule: 1, migration: 'migration', vm, side: 'source', step: 'going' });
  });
});
