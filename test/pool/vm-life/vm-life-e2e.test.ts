import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import { connectHypervisor, type HypervisorClient } from '../../../src/backend/simulator/client.js';
import { socketPathOf } from '../../../src/backend/simulator/program.js';
import type { SimulatedDomain } from '../../../src/base/protocol/hypervisor-protocol.js';
import { login, type XapiSession } from '../../../src/cli/client/xapi-client.js';
import { type LocalPool, type LocalPools, startLocalPool } from '../../../src/cli/local-pool/local-pool.js';

const mebibyte = 2 ** 20;

describe('the life of a VM on a real host', function () {
  this.timeout(60_000);
  let running: LocalPools;
  let session: XapiSession;
  let hypervisor: HypervisorClient;
  let stateDir: string;
  before(async () => {
    running = await startLocalPool({ hosts: 2, vms: 0, memory: 16 * mebibyte });
    const [pool] = running.pools as [LocalPool];
    session = await login(pool.credentials, 'test');
    stateDir = dirname(pool.hosts[1]?.config ?? '');
    hypervisor = await connectHypervisor(socketPathOf(stateDir), 'helper');
  });
  after(async () => {
    await hypervisor?.close();
    await session?.logout();
    await running?.stop();
  });

  const call = <T = unknown>(method: string, ...params: unknown[]) => session.call<T>(method, ...params);
  const domains = async () => (await hypervisor.call('list', {})).result;
  const domainOf = async (uuid: string) => (await domains()).find((domain) => domain.uuid === uuid) as SimulatedDomain;
  const images = () => (existsSync(join(stateDir, 'suspend')) ? readdirSync(join(stateDir, 'suspend')) : []);
  const failure = (method: string, ...params: unknown[]) =>
    call(method, ...params).then(
      () => [],
      (error: { code: string; params: string[] }) => [error.code, ...error.params],
    );

  it('goes from template to end on a member, and its memory with it', async () => {
    const [template] = await call<string[]>('VM.get_by_name_label', 'Other install media');
    const [here] = await call<string[]>('host.get_by_name_label', 'host1');
    const [there] = await call<string[]>('host.get_by_name_label', 'host2');
    const [network] = await call<string[]>('network.get_all');
    const vm = await call<string>('VM.clone', template, 'mine');
    await call('VM.set_memory', vm, 16 * mebibyte);
    await call('VM.add_to_other_config', vm, 'simulator:dirty-pages-per-second', '2000');
    await call('VM.provision', vm);
    const vif = await call<string>('VIF.create', {
      ...{ device: '0', network, VM: vm, MAC: '', MTU: 1500 },
      ...{ other_config: {}, qos_algorithm_type: '', qos_algorithm_params: {} },
    });
    await call('VM.start_on', vm, there, false, false);
    const uuid = await call<string>('VM.get_uuid', vm);
    while ((await domainOf(uuid)).pagesWritten < 100) await new Promise((resolve) => setTimeout(resolve, 5));
    // What the guest is to be later counts from its next start on.
    await call('VM.add_to_other_config', vm, 'simulator:seed', '77');
    const before = await domainOf(uuid);

    await call('VM.suspend', vm);
    expect(await call('VM.get_power_state', vm)).to.equal('Suspended');
    expect(await domains()).to.deep.equal([]);
    expect(images()).to.deep.equal([`${uuid}.memory`]);
    expect(statSync(join(stateDir, 'suspend', `${uuid}.memory`)).mode & 0o777).to.equal(0o600);
    expect((await failure('VM.resume_on', vm, here, false, false))[0]).to.equal('OPERATION_NOT_ALLOWED');
    expect(await call('VIF.get_currently_attached', vif)).to.equal(true);

    await call('VM.resume', vm, true, false);
    expect(await call('VM.get_power_state', vm)).to.equal('Paused');
    const restored = await domainOf(uuid);
    expect(restored.handle.domid).to.be.above(before.handle.domid);
    expect(restored.ticks).to.be.at.least(before.ticks);
    expect((await hypervisor.call('verify', { handle: restored.handle })).result.badPages).to.equal(0);
    expect(images()).to.deep.equal([]);
    await call('VM.unpause', vm);
    while ((await domainOf(uuid)).ticks <= restored.ticks) await new Promise((resolve) => setTimeout(resolve, 5));

    await call('VM.clean_reboot', vm);
    const rebooted = await domainOf(uuid);
    expect(rebooted.handle.domid).to.be.above(restored.handle.domid);
    expect(await call('VM.get_domid', vm)).to.equal(rebooted.handle.domid);
    expect(rebooted.ticks).to.be.below(restored.ticks);

    await call('VM.suspend', vm);
    await call('VM.hard_shutdown', vm);
    expect([images(), await call('VM.get_power_state', vm)]).to.deep.equal([[], 'Halted']);
    await call('VM.destroy', vm);
    expect(await failure('VM.get_uuid', vm)).to.deep.equal(['HANDLE_INVALID', 'VM', vm]);
  });

  it('is shown beside the control domain of each', async () => {
    for (const name of ['host1', 'host2']) {
      const [host] = await call<string[]>('host.get_by_name_label', name);
      const dom0 = await call<string>('host.get_control_domain', host);
      expect(await call('VM.get_record', dom0)).to.deep.include({
        name_label: `Control domain on host: ${name}`,
        resident_on: host,
        power_state: 'Running',
        is_control_domain: true,
      });
    }
  });
});
