import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';
import { type Expected, idleOf, violations } from './invariant.js';
import { type Pair, type PairHost, type PairVm, startPair } from './pair.js';
import { until } from './processes.js';
import { addRule, fired } from './rules.js';
import { settled } from './sweep.js';

const program = fileURLToPath(new URL('../../src/cli/xe/main.js', import.meta.url));
const waitMs = 30_000;

describe('A host that is gone for good in a migration past its commit point', function () {
  this.timeout(120_000);
  let pair: Pair;
  let vm: PairVm;
  let one: PairHost;
  let two: PairHost;
  let idle: Expected['idle'];

  before(async () => {
    pair = await startPair({ vms: [[]], dirtyRate: 50, disks: false });
    [one, two] = pair.hosts;
    vm = pair.vms[0] as PairVm;
    idle = [idleOf(one), idleOf(two)];
  });
  after(() => pair?.stop());

  async function xe(...words: string[]): Promise<string> {
    const { port } = new URL(one.url);
    const server = ['-s', '127.0.0.1', '-p', port, '-u', 'root', '-pwf', `${one.directory}/root-password`];
    const { stdout } = await execa(process.execPath, [program, ...server, ...words]);
    return stdout;
  }
  const doubt = async () =>
    (await pair.call<Record<string, string>>('VM.get_other_config', vm.ref))['xenferry:in-doubt'];
  const refusalOf = (method: string, ...params: unknown[]) =>
    pair.call(method, ...params).then(
      () => 'done',
      (error: { code: string }) => error.code,
    );

  /** Everywhere that an operator looks, and with what the VM does not do meanwhile. */
  async function isSeenInDoubt(): Promise<void> {
    const reason = await until('the doubt', waitMs, doubt);
    expect(reason).to.match(/migration [0-9a-f]{32}/);
    expect(await xe('vm-list', `uuid=${vm.uuid}`, 'params=all')).to.include('xenferry:in-doubt');
    expect(await xe('message-list', `obj-uuid=${vm.uuid}`)).to.include('VM_MIGRATION_IN_DOUBT');
    expect(await refusalOf('VM.unpause', vm.ref)).not.to.equal('done');
    expect(await refusalOf('VM.hard_shutdown', vm.ref)).not.to.equal('done');
    expect(await refusalOf('VM.start', vm.ref, false, false)).not.to.equal('done');
    expect(await refusalOf('VM.pool_migrate', vm.ref, two.ref, {})).not.to.equal('done');
  }

  async function isOn(host: PairHost): Promise<void> {
    if ((await pair.call('VM.get_resident_on', vm.ref)) === host.ref) return;
    expect(await pair.ended(await pair.migrate(vm, host, false), waitMs)).to.have.property('status', 'success');
  }

  async function holdsAndMigrates(): Promise<void> {
    expect(await settled(pair, { idle, powerLost: false }, waitMs)).to.deep.equal([]);
    const { destination } = await pair.sides(vm);
    const { status } = await pair.ended(await pair.migrate(vm, destination, true), waitMs);
    expect(status).to.equal('success');
    expect(await violations(pair, { idle, powerLost: false })).to.deep.equal([]);
  }

  it('is the destination: the VM is in doubt, goes on at the source by xe, and what comes back doubles nothing', async () => {
    await isOn(one);
    await addRule(pair, two, { side: 'destination', step: 'taken' }, vm, { action: 'kill', target: 'daemon' });
    const { status, error } = await pair.ended(await pair.migrate(vm, two, false), waitMs);
    expect([status, error[0]]).to.deep.equal(['failure', 'VM_MIGRATE_FAILED']);
    expect(error.join(' ')).to.include(`xe vm-reset-powerstate uuid=${vm.uuid} --force`);
    await isSeenInDoubt();
    await xe('vm-reset-powerstate', `uuid=${vm.uuid}`, '--force');
    expect(await pair.call('VM.get_power_state', vm.ref)).to.equal('Running');
    expect(await pair.call('VM.get_resident_on', vm.ref)).to.equal(one.ref);
    expect(await doubt()).to.equal(undefined);
    await two.restart();
    await holdsAndMigrates();
  });

  it('is the source: what the destination took goes on there by xe, and what comes back doubles nothing', async () => {
    await isOn(two);
    const rule = await addRule(pair, one, { side: 'destination', step: 'taken' }, vm, { action: 'stall' });
    const task = await pair.migrate(vm, one, true);
    expect(await fired(pair, one, rule, task)).to.equal(true);
    await two.kill();
    await one.kill();
    await one.restart();
    await isSeenInDoubt();
    await xe('vm-reset-powerstate', `uuid=${vm.uuid}`, '--force');
    expect(await pair.call('VM.get_power_state', vm.ref)).to.equal('Running');
    expect(await pair.call('VM.get_resident_on', vm.ref)).to.equal(one.ref);
    await two.restart();
    await holdsAndMigrates();
  });
});
