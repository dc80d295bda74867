/**
 * Every command that `help --all` names, against a pool that runs: each does something, or is refused with the error
 * that fits.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { LocalPool } from '../../../src/cli/local-pool/local-pool.js';
import { commandTable } from '../../../src/cli/xe/command-table.js';
import { classCommands } from '../../../src/cli/xe/commands/class-commands.js';
import { fieldsOf, type XeClass, xeClasses } from '../../../src/cli/xe/fields.js';
import { xeAt } from './harness.js';
import { sharedPools, xeIn } from './shared-pools.js';

const classes: readonly XeClass[] = Object.values(xeClasses);
const noUuid = 'No object has that uuid.';

describe('every command of xe', function () {
  this.timeout(60_000);
  let pool: LocalPool;
  let host1: string;
  let host2: string;
  let directory: string;
  /** What there was at first; whatever else there is goes after each test. */
  let first: Map<string, string[]>;
  const swept: readonly (readonly [command: string, remove: string, ...with: string[]])[] = [
    ['vm', 'vm-uninstall', '--force'],
    ['vdi', 'vdi-destroy'],
    ['network', 'network-destroy'],
    ['message', 'message-destroy'],
  ];
  before(async () => {
    pool = (await sharedPools()).here;
    directory = mkdtempSync(join(tmpdir(), 'xenferry-every-'));
    [host1 = '', host2 = ''] = pool.hosts.map(({ uuid }) => uuid);
    first = new Map(await Promise.all(swept.map(async ([command]) => [command, await uuids(command)] as const)));
  });
  after(() => rmSync(directory, { recursive: true }));
  afterEach(async () => {
    await xe('host-enable', `uuid=${host2}`);
    for (const sr of await uuids('sr', 'name-label=extra')) {
      await xe('pbd-unplug', `uuid=${(await uuids('pbd', `sr-uuid=${sr}`))[0]}`);
      await xe('sr-forget', `uuid=${sr}`);
    }
    for (const [command, remove, ...more] of swept) {
      for (const uuid of await uuids(command)) {
        if (!first.get(command)?.includes(uuid)) await xe(remove, `uuid=${uuid}`, ...more);
      }
    }
  });

  const xe = (...args: string[]) => xeIn(pool, ...args);
  async function printed(...args: string[]): Promise<string> {
    const { status, out, err } = await xe(...args);
    expect({ status, err }, args.join(' ')).to.deep.equal({ status: 0, err: '' });
    return out.replace(/\n$/, '');
  }
  async function uuids(command: string, ...filters: string[]): Promise<string[]> {
    const text = await printed(`${command}-list`, 'params=uuid', '--minimal', ...filters);
    return text === '' ? [] : text.split(',');
  }

  /** What commands work on, made for one test. */
  const vm = async () => {
    const uuid = await printed('vm-create', 'name-label=extra');
    const limits = ['static-min=8MiB', 'dynamic-min=16MiB', 'dynamic-max=16MiB', 'static-max=16MiB'];
    await printed('vm-memory-limits-set', `uuid=${uuid}`, ...limits);
    return uuid;
  };
  const running = async () => {
    const uuid = await vm();
    await printed('vm-start', `uuid=${uuid}`, 'on=host1');
    return uuid;
  };
  const after1 = async (command: string, made: Promise<string>) => {
    const uuid = await made;
    await printed(command, `uuid=${uuid}`);
    return uuid;
  };
  const local = async () => (await uuids('sr', 'host=host1', 'name-label=Local storage'))[0];
  const vdi = async () => printed('vdi-create', `sr-uuid=${await local()}`, 'name-label=extra', 'virtual-size=1MiB');
  const vbd = async (of: Promise<string>) => {
    const uuid = await of;
    await printed('vm-disk-add', `uuid=${uuid}`, 'device=0', 'disk-size=1MiB', `sr-uuid=${await local()}`);
    return (await uuids('vbd', `vm-uuid=${uuid}`))[0] as string;
  };
  const drive = async () => printed('vbd-create', `vm-uuid=${await vm()}`, 'device=3', 'type=CD');
  const network = () => printed('network-create', 'name-label=extra');
  const vif = async (of: Promise<string>) =>
    printed('vif-create', `vm-uuid=${await of}`, `network-uuid=${await network()}`, 'device=1');
  const sr = () => printed('sr-create', 'name-label=extra', 'type=file', `host-uuid=${host1}`);
  const unplugged = async () => {
    const uuid = await sr();
    const [pbd = ''] = await uuids('pbd', `sr-uuid=${uuid}`);
    await printed('pbd-unplug', `uuid=${pbd}`);
    return { sr: uuid, pbd };
  };
  const template = async () => {
    const uuid = await vm();
    await printed('vm-param-set', `uuid=${uuid}`, 'is-a-template=true');
    return uuid;
  };
  const message = async () =>
    printed('message-create', 'name=extra', 'priority=5', 'body=text', `vm-uuid=${await vm()}`);
  const sizes = ['static-min=8MiB', 'dynamic-min=8MiB', 'dynamic-max=16MiB', 'static-max=16MiB'];

  type Row = readonly [command: string, params: () => Promise<string[]>, refused?: RegExp];
  const nothing = async () => [];
  const on = (name: string, made: () => Promise<string>, ...more: string[]) =>
    [name, async () => [`uuid=${await made()}`, ...more]] as const satisfies Row;
  const rows: readonly Row[] = [
    on('vm-start', vm, 'on=host1'),
    on('vm-shutdown', running, '--force'),
    on('vm-reboot', running, '--force'),
    on('vm-suspend', running),
    on('vm-resume', () => after1('vm-suspend', running()), 'on=host1'),
    on('vm-pause', running),
    on('vm-unpause', () => after1('vm-pause', running())),
    on('vm-reset-powerstate', vm, '--force'),
    ['vm-copy-bios-strings', async () => [`uuid=${await vm()}`, `host-uuid=${host1}`]],
    ['vm-create', async () => ['name-label=extra']],
    on('vm-clone', vm, 'new-name-label=extra'),
    on('vm-copy', vm, 'new-name-label=extra'),
    ['vm-install', async () => ['template=Other install media', 'new-name-label=extra']],
    on('vm-destroy', vm),
    on('vm-uninstall', vm, '--force'),
    ['template-uninstall', async () => [`template-uuid=${await template()}`, '--force']],
    on('vm-memory-limits-set', vm, ...sizes),
    on('vm-memory-static-range-set', vm, 'min=4MiB', 'max=32MiB'),
    on('vm-memory-dynamic-range-set', vm, 'min=8MiB', 'max=16MiB'),
    on('vm-memory-set', vm, 'memory=32MiB'),
    on('vm-memory-target-set', vm, 'target=8MiB'),
    on('vm-vif-list', vm),
    on('vm-cd-list', vm),
    on('vm-disk-list', vm),
    on('vm-disk-add', vm, 'device=0', 'disk-size=1MiB'),
    [
      'vm-disk-remove',
      async () => {
        await vbd(vm());
        return ['name-label=extra', 'device=0'];
      },
    ],
    ['cd-list', nothing],
    ['vm-cd-add', async () => [`uuid=${await vm()}`, 'cd-name=none', 'device=3'], /No CD has the name-label 'none'/],
    ['vm-cd-eject', async () => [`uuid=${await vm()}`], /The VM has no CD drive/],
    ['vm-cd-insert', async () => [`uuid=${await vm()}`, 'cd-name=none'], /No CD has the name-label 'none'/],
    [
      'vm-cd-remove',
      async () => {
        await drive();
        return ['name-label=extra', 'cd-name=<EMPTY>'];
      },
    ],
    on('diagnostic-vm-status', vm),
    on('vm-migrate', running, 'host=host2'),
    on('host-enable', async () => host2),
    on('host-disable', async () => host2),
    [
      'host-declare-dead',
      async () => ['host=host2'],
      /^The operation is not allowed now\.\nreason: [-\w]+ \(host2\) answers: it is not dead\n$/,
    ],
    ['host-evacuate', async () => ['host=host2', 'network-uuid=none'], new RegExp(noUuid)],
    on('host-get-vms-which-prevent-evacuation', async () => host2),
    ['host-cpu-info', nothing],
    ['host-forget', async () => [`uuid=${host2}`, '--force', '--minimal'], /^The host is alive\.\n/],
    [
      'host-call-plugin',
      async () => [`host-uuid=${host1}`, 'plugin=none', 'fn=none'],
      /^The host has no such plugin\.\nname: none\n$/,
    ],
    ['host-domain-list', nothing],
    [
      'host-domain-adopt',
      async () => ['uuid=none'],
      /^Error: No host has a domain none of which there is no record\n$/,
    ],
    [
      'host-domain-destroy',
      async () => ['uuid=none'],
      /^Error: No host has a domain none of which there is no record\n$/,
    ],
    [
      'pool-join',
      async () => ['master-address=127.0.0.1:1', 'master-username=root', 'master-password=x'],
      /^The host is the coordinator of other hosts; it can only join with none\.\n/,
    ],
    [
      'pool-eject',
      async () => [`host-uuid=${host1}`, '--force', '--minimal'],
      /^The operation is not allowed now\.\nreason: [-\w]+ \(host1\) is the coordinator/,
    ],
    ['pool-designate-new-master', async () => [`host-uuid=${host2}`], /^The server does not do this\.\n/],
    ['pool-dump-database', async () => [`file-name=${join(directory, 'dump')}`]],
    ['pool-sync-database', nothing],
    ['pool-recover-slaves', nothing],
    ['pool-secret-rotate', nothing],
    ['pool-rotate-secret', nothing],
    ['sr-create', async () => ['name-label=extra', 'type=file', `host-uuid=${host1}`]],
    on('sr-scan', sr),
    on('sr-destroy', async () => (await unplugged()).sr),
    on('sr-forget', async () => (await unplugged()).sr),
    [
      'pbd-create',
      async () => [`sr-uuid=${await sr()}`, `host-uuid=${host1}`],
      /^The SR is connected to the host already\.\n/,
    ],
    on('pbd-destroy', async () => (await unplugged()).pbd),
    on('pbd-plug', async () => (await unplugged()).pbd),
    on('pbd-unplug', async () => (await uuids('pbd', `sr-uuid=${await sr()}`))[0] as string),
    ['vdi-create', async () => [`sr-uuid=${await local()}`, 'name-label=extra', 'virtual-size=1MiB']],
    on('vdi-destroy', vdi),
    on('vdi-forget', vdi),
    on('vdi-resize', vdi, 'disk-size=2MiB'),
    on('vdi-clone', vdi),
    ['vdi-copy', async () => [`uuid=${await vdi()}`, `sr-uuid=${await local()}`]],
    ['vbd-create', async () => [`vm-uuid=${await vm()}`, `vdi-uuid=${await vdi()}`, 'device=0']],
    ['vbd-insert', async () => [`uuid=${await drive()}`, `vdi-uuid=${await vdi()}`]],
    ['vbd-eject', async () => [`uuid=${await drive()}`], /^The drive is empty\.\n/],
    ['vbd-plug', async () => [`uuid=${await vbd(vm())}`], /^The VM is not in the power state that this needs\.\n/],
    on('vbd-unplug', () => vbd(running())),
    on('vbd-destroy', () => vbd(vm())),
    ['vif-create', async () => [`vm-uuid=${await vm()}`, `network-uuid=${await network()}`, 'device=0']],
    ['vif-move', async () => [`uuid=${await vif(vm())}`, `network-uuid=${await network()}`]],
    ['vif-plug', async () => [`uuid=${await vif(vm())}`], /^The VM is not in the power state that this needs\.\n/],
    ['vif-unplug', async () => [`uuid=${await vif(vm())}`], /^The VM is not in the power state that this needs\.\n/],
    on('vif-destroy', () => vif(vm())),
    ['network-create', async () => ['name-label=extra']],
    on('network-destroy', network),
    on('pif-plug', async () => (await uuids('pif'))[0] as string),
    [
      'pif-unplug',
      async () => [`uuid=${(await uuids('pif'))[0]}`],
      /^The interface carries the management of the host\.\n/,
    ],
    ['task-cancel', async () => ['uuid=none'], new RegExp(noUuid)],
    ['message-create', async () => ['name=extra', 'priority=5', 'body=text', `vm-uuid=${await vm()}`]],
    on('message-destroy', message),
    ['message-destroy-all', async () => ['before=1980-01-01T00:00:00Z']],
    ['user-password-change', async () => [`old=${pool.credentials.password}`, `new=${pool.credentials.password}`]],
    ['event-wait', async () => ['class=vm', `uuid=${await vm()}`, 'power-state=halted']],
  ];
  for (const [command, params, refused] of rows) {
    it(`${command} ${refused === undefined ? 'does something' : 'is refused with the error that fits'}`, async () => {
      const args = await params();
      if (refused === undefined) return void (await printed(command, ...args));
      const { status, out, err } = await xe(command, ...args);
      expect({ status, out }).to.deep.equal({ status: 1, out: '' });
      expect(err).to.match(refused).and.not.to.contain('OpaqueRef');
    });
  }

  for (const shown of classes) {
    it(`${shown.command}: the commands of its class`, async () => {
      const [uuid = 'none'] = await uuids(shown.command);
      for (const { name, required } of classCommands(shown)) {
        if (name === `${shown.command}-list`) continue;
        const verb = name.slice(`${shown.command}-param-`.length);
        const fields = fieldsOf(shown);
        const changed =
          fields.find(({ kind }) => kind === 'MRW' || kind === 'SRW') ?? fields.find(({ kind }) => kind === 'RW');
        const field = verb === 'get' ? fields[0] : changed;
        const params = required.filter((param) => param.startsWith('param-'));
        const values = params.map((param) => `${param}=${param === 'param-name' ? field?.name : 'none'}`);
        const { status, out, err } = await xe(name, `uuid=${uuid}`, ...values);
        const what = `${name} ${values.join(' ')}: ${out}${err}`;
        if (uuid === 'none') expect(err, what).to.match(/^No object has that uuid\.\ntype: \w+\nuuid: none\n$/);
        else if (['list', 'get'].includes(verb)) expect({ status, err }, what).to.deep.equal({ status: 0, err: '' });
        else
          expect({ status, err }, what).to.satisfy(
            () => status === 0 || /^(Error: Key none|Error: Field|Nothing is given|Field) /.test(err),
          );
        expect(`${out}${err}`, what).not.to.match(/OpaqueRef|undefined|\[object/);
      }
    });
  }

  it('is in one of these tables', () => {
    const tried = new Set([
      ...rows.map(([command]) => command),
      ...classes.flatMap((shown) => classCommands(shown)).map(({ name }) => name),
    ]);
    const commands = commandTable();
    const missing = [...commands.keys()].filter((name) => !tried.has(name));
    expect(missing.map((name) => `${name}: this file has no row for it`)).to.deep.equal([]);
    const gone = [...tried].filter((name) => !commands.has(name));
    expect(gone.map((name) => `${name}: src/cli/xe/command-table.ts has it no more`)).to.deep.equal([]);
  });

  it('tells how it is used, without a server', async () => {
    for (const { name, help } of commandTable().values()) {
      for (const words of [
        ['help', name],
        [name, '--help'],
      ]) {
        const { status, out, err } = await xeAt({ url: '' }, words, { XE_PASSWORD: '' });
        expect({ status, err }, words.join(' ')).to.deep.equal({ status: 0, err: '' });
        expect(out, words.join(' '))
          .to.match(new RegExp(`^command name +: ${name}\\n`))
          .and.to.contain(help);
      }
    }
  });
});
