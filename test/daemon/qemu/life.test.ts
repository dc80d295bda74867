import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { connectQmp } from '../../../src/backend/qemu/qmp.js';
import { qemuProgram } from '../../backend/qemu/memtest.js';
import { isAlive } from '../../support/processes.js';
import { openQemuSite, type QemuSite, vbdOf } from './site.js';

(qemuProgram === undefined ? describe.skip : describe)(
  'a VM of a daemon with QEMU (needs QEMU 9 and memtest86+)',
  function () {
    this.timeout(120_000);
    let site: QemuSite;
    before(async () => {
      site = openQemuSite();
      await site.enter();
    });
    after(() => site.close());

    const started = async (fields: Record<string, unknown> = {}) => {
      const vm = await site.vm(fields);
      await site.call('VM.start', vm, false, false);
      const domid = String(await site.field(vm, 'domid'));
      await site.up(domid);
      return { vm, domid };
    };

    it('runs as its record says, keeps its machine, and has its files where nobody else gets', async () => {
      const { vm, domid } = await started({ VCPUs_max: 2, VCPUs_at_startup: 2, platform: { 'cores-per-socket': '2' } });
      const platform = await site.field<Record<string, string>>(vm, 'platform');
      expect(platform['machine-type']).to.match(/^pc-i440fx-\d/);
      expect(platform).to.include.keys('cpu-model', 'cores-per-socket');
      const argv = fs.readFileSync(`/proc/${site.process(domid)}/cmdline`, 'utf8').split('\0');
      expect(argv).to.include.members(['16384k', '2,sockets=1,cores=2', await site.field(vm, 'uuid')]);
      expect(fs.statSync(site.directoryOf(domid)).mode & 0o777).to.equal(0o700);
      expect(fs.readdirSync(site.directoryOf(domid))).to.include.members(['serial.sock', 'serial.log', 'vnc.sock']);
      const metrics = await site.call<{ memory_actual: string; VCPUs_number: string }>(
        'VM_metrics.get_record',
        await site.field(vm, 'metrics'),
      );
      expect(Number(metrics.memory_actual)).to.equal(16 * 2 ** 20);
      const guest = await site.call<object>('VM_guest_metrics.get_record', await site.field(vm, 'guest_metrics'));
      expect(guest).to.deep.include({ os_version: {}, networks: {}, PV_drivers_detected: false });
      await site.call('VM.hard_shutdown', vm);
      expect(await site.field(vm, 'power_state')).to.equal('Halted');
      expect(fs.existsSync(site.directoryOf(domid))).to.equal(false);
    });

    it('is shut down cleanly by its power button, and rebooted so', async () => {
      const { vm, domid } = await started();
      await site.call('VM.clean_reboot', vm);
      const next = await site.until(vm, 'Running', domid);
      await site.up(next);
      await site.call('VM.clean_shutdown', vm);
      expect(await site.field(vm, 'power_state')).to.equal('Halted');
    });

    it('is paused, goes on, and is rebooted by force', async () => {
      const { vm, domid } = await started();
      await site.call('VM.pause', vm);
      expect(await site.field(vm, 'power_state')).to.equal('Paused');
      await site.call('VM.unpause', vm);
      await site.call('VM.hard_reboot', vm);
      await site.up(await site.until(vm, 'Running', domid));
      await site.call('VM.hard_shutdown', vm);
    });

    const ends: readonly (readonly [letter: string, what: string, fields: Record<string, string>, state: string])[] = [
      ['o', 'turns itself off', { actions_after_shutdown: 'destroy' }, 'Halted'],
      ['o', 'turns itself off', { actions_after_shutdown: 'restart' }, 'Running'],
      ['r', 'resets its machine', { actions_after_reboot: 'restart' }, 'Running'],
      ['r', 'resets its machine', { actions_after_reboot: 'destroy' }, 'Halted'],
      ['c', 'panics', { actions_after_crash: 'destroy' }, 'Halted'],
      ['c', 'panics', { actions_after_crash: 'restart' }, 'Running'],
    ];
    for (const [letter, what, fields, state] of ends) {
      it(`whose guest ${what} is ${state} then, with ${JSON.stringify(fields)}`, async () => {
        const { vm, domid } = await started(fields);
        await site.send(domid, letter);
        const next = await site.until(vm, state, domid);
        if (state === 'Halted') return;
        await site.up(next);
        await site.call('VM.hard_shutdown', vm);
      });
    }

    it('has the firmware, the disks, the drives and the interfaces of its record', async function () {
      if (!fs.existsSync('/usr/share/OVMF/OVMF_CODE_4M.fd')) this.skip();
      const uefi = { HVM_boot_params: { firmware: 'uefi', order: 'dc' }, memory_static_max: 128 * 2 ** 20 };
      const vm = await site.vm({ ...uefi, memory_dynamic_max: 128 * 2 ** 20 });
      const image = await site.disk(vm, 'xvdb', { sm_config: { 'image-format': 'qcow2' } });
      execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', image, '8M']);
      const drive = { VDI: 'OpaqueRef:NULL', empty: true, mode: 'RO', type: 'CD' };
      await site.call('VBD.create', { ...vbdOf(vm, '3'), ...drive });
      const [network] = await site.call<string[]>('network.get_all');
      const vif = { VM: vm, network, device: '0', MAC: '02:00:00:00:00:01', MTU: 1500, other_config: {} };
      await site.call('VIF.create', { ...vif, qos_algorithm_type: '', qos_algorithm_params: {} });
      await site.call('VM.start', vm, false, false);
      const domid = String(await site.field(vm, 'domid'));
      const qmp = await connectQmp(path.join(site.directoryOf(domid), 'helper.qmp'), 10_000);
      const blocks = await qmp.execute<{ qdev?: string; inserted?: { drv: string; image: object } }[]>('query-block');
      const kinds = blocks.map(({ qdev = '', inserted }) => `${qdev.split('/')[3]} ${inserted?.drv}`);
      expect(kinds).to.include.members(['vbd0 raw', 'vbd1 qcow2']);
      expect(blocks.some(({ qdev, inserted }) => qdev?.endsWith('vbd3') && inserted === undefined)).to.equal(true);
      qmp.close();
      expect(fs.readdirSync(path.join(site.stateDir, 'firmware'))).to.deep.equal([
        `${await site.field(vm, 'uuid')}.fd`,
      ]);
      const argv = fs.readFileSync(`/proc/${site.process(domid)}/cmdline`, 'utf8');
      expect(argv).to.contain('mac=02:00:00:00:00:01').and.to.contain('user,id=net0');
      await site.call('VM.hard_shutdown', vm);
    });

    it('is refused devices while it runs, and what its host does not have', async () => {
      const { vm } = await started();
      const [vbd] = await site.field<string[]>(vm, 'VBDs');
      expect(await site.call('VBD.get_allowed_operations', vbd)).to.deep.equal(['attach']);
      await site.call('VM.hard_shutdown', vm);
      await site.call('VM.set_platform', vm, { vtpm: 'true' });
      expect(await failure(site.call('VM.start', vm, false, false))).to.deep.equal([
        'INVALID_VALUE',
        'platform:vtpm',
        'true',
      ]);
      await site.call('VM.set_platform', vm, {});
      await site.call('VM.set_PV_kernel', vm, '/etc/passwd');
      expect(await failure(site.call('VM.start', vm, false, false))).to.deep.equal([
        'INVALID_VALUE',
        'PV_kernel',
        '/etc/passwd',
      ]);
      expect(await site.field(vm, 'power_state')).to.equal('Halted');
    });
  },
);

(qemuProgram === undefined ? describe.skip : describe)(
  'a daemon with QEMU that is killed (needs QEMU 9 and memtest86+)',
  function () {
    this.timeout(120_000);

    it('finds its domains when it starts anew, which have gone on', async () => {
      const site = openQemuSite();
      const daemon = await site.enter();
      const vm = await site.vm();
      await site.call('VM.start', vm, false, false);
      const domid = String(await site.field(vm, 'domid'));
      await site.up(domid);
      const pid = site.process(domid);
      await daemon.end('SIGKILL');
      expect(isAlive(pid)).to.equal(true);
      await site.enter();
      expect(await site.until(vm, 'Running')).to.equal(domid);
      expect(site.process(domid)).to.equal(pid);
      await site.call('VM.clean_shutdown', vm);
      expect(isAlive(pid)).to.equal(false);
      await site.close();
    });
  },
);

const asRoot = process.getuid?.() === 0;

(qemuProgram === undefined || !asRoot ? describe.skip : describe)(
  'a daemon whose QEMU processes are of another user (needs root, QEMU 9 and memtest86+)',
  function () {
    this.timeout(120_000);

    it('opens for them what they may not, and gets along with them', async () => {
      const site = openQemuSite('qemu-user = nobody');
      fs.chmodSync(site.directory, 0o711);
      await site.enter();
      const vm = await site.vm();
      await site.call('VM.start', vm, false, false);
      const domid = String(await site.field(vm, 'domid'));
      await site.up(domid);
      const status = fs.readFileSync(`/proc/${site.process(domid)}/status`, 'latin1');
      expect(status)
        .to.match(/^Uid:\t(?!0\t)\d+\t/m)
        .and.to.match(/^Seccomp:\t2$/m)
        .and.to.match(/^CapEff:\t0+$/m);
      const { uid } = fs.statSync(site.directoryOf(domid));
      expect(uid).to.not.equal(0);
      expect(fs.statSync(path.join(site.stateDir, 'sr')).uid).to.equal(0);
      await site.call('VM.clean_shutdown', vm);
      await site.close();
    });
  },
);

async function failure(call: Promise<unknown>): Promise<readonly string[]> {
  const error: { code?: string; params?: readonly string[] } = await call.then(
    () => ({}),
    (thrown) => thrown,
  );
  return [error.code ?? '', ...(error.params ?? [])];
}
