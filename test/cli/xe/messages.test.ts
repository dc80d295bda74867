import { expect } from 'chai';
import { surface } from '../../../src/model/surface.js';
import { type Answer, type FakeXapi, startFakeXapi } from './fake-xapi.js';
import { database, endedTask, xeAt } from './harness.js';

type Call = readonly [method: string, ...params: unknown[]];

/** What each command sends, in order, when every message that makes something answers `made`. */
const made = 'OpaqueRef:v2';
const one = 2 ** 20;

const rows: [args: string, calls: Call[], out?: string][] = [
  ['vm-suspend vm=web', [['Async.VM.suspend', 'OpaqueRef:v1']]],
  ['vm-resume uuid=vm-2', [['Async.VM.resume', made, false, false]]],
  ['vm-resume uuid=vm-2 on=two --force', [['Async.VM.resume_on', made, 'OpaqueRef:h2', false, true]]],
  ['vm-reboot vm=web', [['Async.VM.clean_reboot', 'OpaqueRef:v1']]],
  ['vm-reboot vm=web force=true', [['Async.VM.hard_reboot', 'OpaqueRef:v1']]],
  ['message-destroy-all', [['message.destroy_all', {}]]],
  [
    'message-destroy-all priority=5 before=20260101T00:00:00Z',
    [['message.destroy_all', { before: '20260101T00:00:00Z', priority: '5' }]],
  ],
  ['vm-reset-powerstate vm=web --force', [['VM.power_state_reset', 'OpaqueRef:v1']]],
  ['vm-clone vm=template new-name-label=new', [['Async.VM.clone', 'OpaqueRef:t1', 'new']], 'vm-2\n'],
  [
    'vm-clone vm=web new-name-label=new new-name-description=why',
    [
      ['Async.VM.clone', 'OpaqueRef:v1', 'new'],
      ['VM.set_name_description', made, 'why'],
    ],
    'vm-2\n',
  ],
  [
    'vm-copy vm=web new-name-label=new sr-uuid=sr-1',
    [['Async.VM.copy', 'OpaqueRef:v1', 'new', 'OpaqueRef:s1']],
    'vm-2\n',
  ],
  [
    'vm-install template=template new-name-label=new',
    [
      ['Async.VM.clone', 'OpaqueRef:t1', 'new'],
      ['VM.set_name_description', made, 'Installed by xe'],
      ['Async.VM.provision', made],
    ],
    'vm-2\n',
  ],
  [
    'vm-install template-uuid=template-1 new-name-label=new sr-uuid=sr-1',
    [
      ['Async.VM.copy', 'OpaqueRef:t1', 'new', 'OpaqueRef:s1'],
      ['VM.set_name_description', made, 'Installed by xe'],
      ['VM.set_suspend_SR', made, 'OpaqueRef:s1'],
      ['Async.VM.provision', made],
    ],
    'vm-2\n',
  ],
  [
    'vm-install template=template new-name-label=new copy-bios-strings-from=host-2',
    [
      ['Async.VM.clone', 'OpaqueRef:t1', 'new'],
      ['VM.set_name_description', made, 'Installed by xe'],
      ['Async.VM.copy_bios_strings', made, 'OpaqueRef:h2'],
      ['Async.VM.provision', made],
    ],
    'vm-2\n',
  ],
  ['vm-copy-bios-strings uuid=vm-2 host-uuid=host-1', [['Async.VM.copy_bios_strings', made, 'OpaqueRef:h1']]],
  ['vm-destroy uuid=vm-2', [['VM.destroy', made]]],
  [
    'vm-uninstall uuid=vm-2 force=true',
    [
      ['VM.destroy', made],
      ['VDI.destroy', 'OpaqueRef:d1'],
    ],
    'About to be removed:\nVM : vm-2 (db)\nVDI: vdi-1 (disk)\n',
  ],
  [
    'vm-memory-limits-set vm=web static-min=1MiB static-max=4M dynamic-min=2MiB dynamic-max=3mb',
    [['VM.set_memory_limits', 'OpaqueRef:v1', one, 4 * one, 2 * one, 3 * one]],
  ],
  ['vm-memory-dynamic-range-set vm=web min=1 max=2', [['VM.set_memory_dynamic_range', 'OpaqueRef:v1', 1, 2]]],
  ['vm-memory-set vm=template memory=1MiB', [['VM.set_memory', 'OpaqueRef:t1', one]]],
  ['vm-memory-target-set vm=web target=1MiB', [['VM.set_memory_dynamic_range', 'OpaqueRef:v1', one, one]]],
  ['host-enable host=one', [['host.enable', 'OpaqueRef:h1']]],
  ['host-disable name-description=first', [['host.disable', 'OpaqueRef:h1']]],
  [
    'host-disable --multiple auto-enable=false',
    [
      ['host.disable', 'OpaqueRef:h1', false],
      ['host.disable', 'OpaqueRef:h2', false],
    ],
  ],
  ['host-declare-dead host=one', [['Async.host.declare_dead', 'OpaqueRef:h1']]],
  ['host-evacuate uuid=host-1', [['Async.host.evacuate', 'OpaqueRef:h1', 'OpaqueRef:NULL', 0]]],
  [
    'host-evacuate host=one batch-size=3 network-uuid=net-1',
    [['Async.host.evacuate', 'OpaqueRef:h1', 'OpaqueRef:n1', 3]],
  ],
  ['host-forget uuid=host-2 --force --minimal', [['host.destroy', 'OpaqueRef:h2']], '\n'],
  [
    'host-call-plugin host-uuid=host-1 plugin=p fn=f args:a=1 args:b=2',
    [['host.call_plugin', 'OpaqueRef:h1', 'p', 'f', { a: '1', b: '2' }]],
    'OpaqueRef:v2\n',
  ],
  [
    'pool-join master-address=far master-username=root master-password=pw',
    [['pool.join', 'far', 'root', 'pw']],
    'The host joins the pool now. Use the coordinator from here on.\n',
  ],
  ['pool-eject host-uuid=host-2 force=true --minimal', [['pool.eject', 'OpaqueRef:h2']], '\n'],
  ['pool-sync-database', [['pool.sync_database']]],
  ['pool-secret-rotate', [['pool.rotate_secret']]],
  [
    'sr-create name-label=n type=file host-uuid=host-1 device-config:location=/srv',
    [['SR.create', 'OpaqueRef:h1', { location: '/srv' }, 0, 'n', '', 'file', '', false, {}]],
    'sr-1\n',
  ],
  [
    'sr-create name-label=n type=nfs shared=true physical-size=1MiB',
    [['SR.create', 'OpaqueRef:h1', {}, one, 'n', '', 'nfs', '', true, {}]],
    'sr-1\n',
  ],
  ['sr-scan uuid=sr-1', [['SR.scan', 'OpaqueRef:s1']]],
  ['sr-forget uuid=sr-1', [['SR.forget', 'OpaqueRef:s1']]],
  ['sr-destroy uuid=sr-1', [['SR.destroy', 'OpaqueRef:s1']]],
  ['pbd-unplug uuid=pbd-1', [['PBD.unplug', 'OpaqueRef:b1']]],
  [
    'vdi-create sr-uuid=sr-1 name-label=n virtual-size=1MiB type=System tags:blue=',
    [
      [
        'VDI.create',
        {
          name_label: 'n',
          name_description: '',
          SR: 'OpaqueRef:s1',
          virtual_size: one,
          type: 'system',
          sharable: false,
          read_only: false,
          other_config: {},
          xenstore_data: {},
          sm_config: {},
          tags: ['blue'],
        },
      ],
    ],
    'vdi-1\n',
  ],
  ['vdi-resize uuid=vdi-1 disk-size=1MiB', [['Async.VDI.resize', 'OpaqueRef:d1', one]]],
  ['vdi-destroy uuid=vdi-1', [['VDI.destroy', 'OpaqueRef:d1']]],
  [
    'vbd-create vm-uuid=vm-1 vdi-uuid=vdi-1 device=0 mode=ro',
    [
      [
        'VBD.create',
        {
          VM: 'OpaqueRef:v1',
          VDI: 'OpaqueRef:d1',
          device: '',
          userdevice: '0',
          bootable: false,
          mode: 'RO',
          type: 'Disk',
          unpluggable: true,
          empty: false,
          other_config: {},
          qos_algorithm_type: '',
          qos_algorithm_params: {},
        },
      ],
    ],
    'vbd-1\n',
  ],
  ['vbd-plug uuid=vbd-1', [['VBD.plug', 'OpaqueRef:k1']]],
  ['vbd-unplug uuid=vbd-1', [['VBD.unplug', 'OpaqueRef:k1']]],
  ['vbd-insert uuid=vbd-1 vdi-uuid=vdi-1', [['VBD.insert', 'OpaqueRef:k1', 'OpaqueRef:d1']]],
  [
    'vif-create vm-uuid=vm-1 network-uuid=net-1 device=1 mac=aa:bb:cc:dd:ee:ff',
    [
      [
        'VIF.create',
        {
          device: '1',
          network: 'OpaqueRef:n1',
          VM: 'OpaqueRef:v1',
          MAC: 'aa:bb:cc:dd:ee:ff',
          MTU: 1500,
          other_config: {},
          qos_algorithm_type: '',
          qos_algorithm_params: {},
        },
      ],
    ],
    'vif-1\n',
  ],
  ['vif-unplug uuid=vif-1 --force', [['VIF.unplug_force', 'OpaqueRef:f1']]],
  ['vif-destroy uuid=vif-1', [['VIF.destroy', 'OpaqueRef:f1']]],
  [
    'network-create name-label=n MTU=9000',
    [
      [
        'network.create',
        { name_label: 'n', name_description: '', MTU: 9000, bridge: '', managed: true, other_config: {}, tags: [] },
      ],
    ],
    'net-1\n',
  ],
  ['user-password-change old=a new=b', [['session.change_password', 'a', 'b']]],
];

/** The model has the message, as a task where it is called so, and with that many parameters. */
function assertInModel([name, ...params]: Call): void {
  const message = surface.get(name.replace(/^Async\./, ''));
  expect(message, name).not.to.equal(undefined);
  if (name.startsWith('Async.')) expect(message?.async, name).to.equal(true);
  expect(params.length, name).to.be.within(message?.required ?? 0, message?.params.length ?? 0);
}

const refused: [args: string, message: string][] = [
  ['vm-reset-powerstate vm=web', 'This is dangerous if the VM still runs anywhere; give force=true if it does not'],
  ['vm-copy new-name-label=x vm=db', '2 VMs match, and this is done for one at a time'],
  ['vm-install template=web new-name-label=x', "No template has the uuid or name-label 'web'"],
  ['vm-install new-name-label=x', 'No template is given: template= names one by uuid or name-label'],
  ['host-enable', '2 hosts match; give --multiple to do it for all of them'],
  ['host-enable host=three', 'No matching hosts found'],
  ['host-evacuate --multiple', '2 hosts match, and this is done for one at a time'],
  [
    'host-evacuate host=one batch-size=all',
    "Failed to parse parameter 'batch-size': expecting a whole number, not 'all'",
  ],
  ['sr-create name-label=n type=file', 'A local SR belongs to one host of the pool: host-uuid= names it'],
  ['vbd-create vm-uuid=vm-1 device=0', 'A disk needs vdi-uuid=; only a CD or floppy drive can be empty'],
  ['message-destroy', 'No message is named: give uuid= or uuids='],
  ['message-create name=n priority=1 body=b', 'Nothing is named: give vm-uuid=, host-uuid=, sr-uuid= or pool-uuid='],
  ['event-wait class=cat', "There is no class 'cat'"],
];

describe('what commands of xe send', () => {
  let server: FakeXapi;
  const start = async (answers: Record<string, Answer> = {}) => {
    server = await startFakeXapi(database(), {
      ...endedTask({ result: `<value>${made}</value>` }),
      'host.call_plugin': () => made,
      'SR.create': () => 'OpaqueRef:s1',
      'VDI.create': () => 'OpaqueRef:d1',
      'VBD.create': () => 'OpaqueRef:k1',
      'VIF.create': () => 'OpaqueRef:f1',
      'network.create': () => 'OpaqueRef:n1',
      ...answers,
    });
  };
  const sent = () => server.calls.filter(({ method }) => !/^task\./.test(method)).map((c) => [c.method, ...c.params]);
  afterEach(() => server.close());

  for (const [args, calls, out = ''] of rows) {
    it(args, async () => {
      await start();
      for (const call of calls) assertInModel(call);
      expect(await xeAt(server, args.split(' '))).to.deep.equal({ status: 0, out, err: '' });
      expect(sent()).to.deep.equal(calls);
    });
  }

  for (const [args, message] of refused) {
    it(`nothing for ${args}`, async () => {
      await start();
      expect(await xeAt(server, args.split(' '))).to.deep.equal({ status: 1, out: '', err: `Error: ${message}\n` });
      expect(sent()).to.deep.equal([]);
    });
  }

  it('what cannot be undone only after yes', async () => {
    await start();
    const args = ['vm-uninstall', 'vm=web'];
    const no = await xeAt(server, args, {}, 'no');
    expect(no).to.include({ status: 1, err: 'Error: Nothing was done; answer yes, or give force=true\n' });
    expect(no.out).to.equal('About to be removed:\nVM : vm-1 (web)\n');
    expect(sent()).to.deep.equal([]);
    expect(await xeAt(server, args, {}, 'yes')).to.include({ status: 0 });
    expect(sent()).to.deep.equal([
      ['Async.VM.hard_shutdown', 'OpaqueRef:v1'],
      ['VM.destroy', 'OpaqueRef:v1'],
    ]);
  });

  it('where the disks of a new VM go', async () => {
    const disks = '<provision><disk device="0" size="8" sr="" type="system"/></provision>';
    await start({ 'VM.get_other_config': () => ({ disks }) });
    const args = ['vm-install', 'template=template', 'new-name-label=new'];
    const { err } = await xeAt(server, args);
    expect(err).to.equal('Error: The pool has no default SR: sr-uuid= or sr-name-label= names one\n');
    expect(sent().at(-1)).to.deep.equal(['VM.destroy', made]);
    expect((await xeAt(server, [...args, 'sr-uuid=sr-1'])).status).to.equal(0);
    expect(sent()).to.deep.include(['VM.add_to_other_config', made, 'disks', disks.replace('sr=""', 'sr="sr-1"')]);
  });

  it('nothing after a vm-install that failed but what removes the VM', async () => {
    await start({
      'VM.set_name_description': () => {
        throw ['NOT_IMPLEMENTED', 'x'];
      },
    });
    const { status, err } = await xeAt(server, ['vm-install', 'template=template', 'new-name-label=new']);
    expect({ status, err }).to.deep.equal({ status: 1, err: 'The server does not do this.\nfunction: x\n' });
    expect(sent().at(-1)).to.deep.equal(['VM.destroy', made]);
  });
});

describe('what xe lists of VMs and hosts', () => {
  let server: FakeXapi;
  beforeEach(async () => {
    server = await startFakeXapi(database(), {
      'host.get_vms_which_prevent_evacuation': () => ({ 'OpaqueRef:v1': ['VM_LACKS_FEATURE', 'OpaqueRef:v1'] }),
      'session.get_this_host': () => 'OpaqueRef:h1',
      'host.get_cpu_info': () => ({ cpu_count: '2', vendor: 'none' }),
    });
  });
  afterEach(() => server.close());
  const out = async (args: string) => (await xeAt(server, args.split(' '))).out;

  it('their interfaces and disks', async () => {
    expect(await out('vm-vif-list vm=web params=uuid,MAC')).to.equal(
      'uuid ( RO)    : vif-1\n     MAC ( RO): AA:bb:cc:00:11:22\n\n\n',
    );
    expect(await out('vm-disk-list uuid=vm-2 vdi-params=name-label vbd-params=userdevice')).to.equal(
      'Disk 0 VBD:\nuserdevice ( RW)    : 0\n\n\nDisk 0 VDI:\nname-label ( RW)    : disk\n\n\n',
    );
    expect(await out('vm-disk-list uuid=vm-2 --minimal')).to.equal('vbd-1,vdi-1\n');
    expect(await out('vm-cd-list uuid=vm-2 --minimal')).to.equal('\n');
  });

  it('what keeps a host from being emptied', async () => {
    expect(await out('host-get-vms-which-prevent-evacuation uuid=host-1')).to.equal(
      'uuid ( RO)          : vm-1\n    name-label ( RW): web\n        reason ( RO): VM_LACKS_FEATURE,vm-1 (web)\n\n\n',
    );
  });

  it('the CPUs of the host that it talks to', async () => {
    expect(await out('host-cpu-info')).to.equal('cpu_count    : 2\n       vendor: none\n\n\n');
    expect(server.calls.at(-1)?.params).to.deep.equal(['OpaqueRef:h1']);
  });
});
