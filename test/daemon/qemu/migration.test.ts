/** VMs of QEMU move between two daemons by the calls of a client. */
import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { vmRecord } from '../../../src/cli/client/vm-record.js';
import { qemuProgram } from '../../backend/qemu/memtest.js';
import { eventually } from '../../hypervisor/hypervisor-process.js';
import type { Daemon } from '../daemon.js';
import { openQemuSite, type QemuSite } from './site.js';

/** Where that is possible their processes are of a user without rights. */
const common = ['migration-digest = true', ...(process.getuid?.() === 0 ? ['qemu-user = nobody'] : [])];

(qemuProgram === undefined ? describe.skip : describe)('a VM with QEMU (needs QEMU 9 and memtest86+)', function () {
  this.timeout(180_000);
  let here: QemuSite;
  let there: QemuSite;
  let daemons: readonly Daemon[];
  before(async () => {
    [here, there] = [openQemuSite(...common, 'host-name = here'), openQemuSite(...common, 'host-name = there')];
    const coordinator = await here.enter();
    daemons = [coordinator, await there.join(coordinator, here)];
    await eventually(async () => (await hosts()).length === 2 || undefined);
  });
  after(async () => {
    await here.close();
    await there.close();
  });

  const hosts = () => here.call<string[]>('host.get_all');
  const hostNamed = async (name: string) => (await here.call<string[]>('host.get_by_name_label', name))[0] ?? '';
  const serial = (site: QemuSite, domid: string) => path.join(site.directoryOf(domid), 'serial.log');
  const printed = (site: QemuSite, domid: string) => fs.statSync(serial(site, domid)).size;
  const goesOn = (site: QemuSite, domid: string) => {
    const before = printed(site, domid);
    return eventually(() => printed(site, domid) > before || undefined);
  };
  const memtest = async (): Promise<string> => {
    const kernel = { PV_kernel: '/boot/memtest86+x64.bin', PV_args: 'console=ttyS0,115200' };
    const vm = await here.call<string>('VM.create', { ...vmRecord({ name: 'm', memory: 32 * 2 ** 20 }), ...kernel });
    await here.call('VM.start_on', vm, await hostNamed('here'), false, false);
    const domid = String(await here.field(vm, 'domid'));
    await eventually(() => /Memtest86\+/.test(fs.readFileSync(serial(here, domid), 'latin1')) || undefined);
    return vm;
  };

  const rows: readonly (readonly [what: string, compressor: string, options: Record<string, string>])[] = [
    ['none', 'stream', { compress: 'false' }],
    ['stream', 'stream', { compress: 'true' }],
    ['xenguest', 'xenguest', { compress: 'true' }],
  ];
  for (const [what, compressor, options] of rows) {
    it(`moves to another host and back while it tests its memory, compressor ${what}`, async () => {
      for (const [index, site] of [here, there].entries()) {
        if (compressor === 'stream') continue;
        site.configure(`migration-compressor = ${compressor}`);
        daemons[index]?.reload();
        await site.logged(/migration-compressor: stream is now xenguest/);
      }
      const vm = await memtest();
      for (const [name, site] of [
        ['there', there],
        ['here', here],
      ] as const) {
        const host = await hostNamed(name);
        const task = await here.call<string>('Async.VM.pool_migrate', vm, host, options);
        await eventually(async () => (await here.call('task.get_status', task)) !== 'pending' || undefined);
        expect(await here.call('task.get_error_info', task)).to.deep.equal([]);
        expect(await here.call('task.get_other_config', task)).to.include({
          compressor_used: what,
          memory_intact: 'true',
        });
        expect(await here.field(vm, 'resident_on')).to.equal(host);
        await goesOn(site, String(await here.field(vm, 'domid')));
      }
      await here.call('VM.hard_shutdown', vm);
    });
  }

  it('is suspended and resumed, its guest none the wiser', async () => {
    const vm = await memtest();
    await here.call('VM.suspend', vm);
    expect(await here.field(vm, 'power_state')).to.equal('Suspended');
    await here.call('VM.resume', vm, false, false);
    await goesOn(here, String(await here.field(vm, 'domid')));
    await here.call('VM.hard_shutdown', vm);
  });
});
