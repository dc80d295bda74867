/** Networks, and the virtual disks and interfaces of VMs. */

import type { Command } from '../command.js';
import { boolParam, paramNamed } from '../command-line.js';
import { nullRef } from '../record.js';
import { onUuid, refParam, sending, uuidOf } from '../selection.js';
import { parseCount, parseValue } from '../value.js';

/** Parameters of a device that limit nothing. */
export const noQuality = { qos_algorithm_type: '', qos_algorithm_params: {} };

const createVbd: Command = {
  name: 'vbd-create',
  required: ['vm-uuid', 'device'],
  optional: ['vdi-uuid', 'bootable', 'type', 'mode', 'unpluggable'],
  help:
    "Connect a VDI to a VM as a device that its 'allowed-VBD-devices' names, and print the VBD's uuid; type= is Disk, CD or Floppy, " +
    'mode= is RO or RW (a CD is RO), and a CD needs no VDI.',
  common: true,
  async run(context) {
    const { session, params, printer } = context;
    const vdi = await refParam(context, 'vdi-uuid', 'VDI');
    const type = await parseValue(session, 'type', 'enum:vbd_type', paramNamed(params, 'type') ?? 'Disk');
    if (type === 'Disk' && vdi === nullRef)
      throw new Error('A disk needs vdi-uuid=; only a CD or floppy drive can be empty');
    const record = {
      VM: await refParam(context, 'vm-uuid', 'VM'),
      VDI: vdi,
      device: '',
      userdevice: paramNamed(params, 'device'),
      bootable: boolParam(params, 'bootable'),
      mode: await parseValue(
        session,
        'mode',
        'enum:vbd_mode',
        paramNamed(params, 'mode') ?? (type === 'CD' ? 'RO' : 'RW'),
      ),
      type,
      unpluggable: boolParam(params, 'unpluggable', true),
      empty: vdi === nullRef,
      other_config: {},
      ...noQuality,
    };
    printer.list([await uuidOf(context, 'VBD', await session.call('VBD.create', record))]);
  },
};

const insert = onUuid({
  name: 'vbd-insert',
  class: 'VBD',
  required: ['vdi-uuid'],
  help: 'Put a VDI into an empty CD or floppy drive.',
  run: async (context, ref) => context.session.call('VBD.insert', ref, await refParam(context, 'vdi-uuid', 'VDI')),
});

const createVif: Command = {
  name: 'vif-create',
  required: ['device', 'network-uuid', 'vm-uuid'],
  optional: ['mac'],
  help:
    "Connect a VM to a network as a device that its 'allowed-VIF-devices' names, and print the VIF's uuid; the server chooses the " +
    'MAC address unless mac= gives it.',
  common: true,
  async run(context) {
    const { session, params, printer } = context;
    const network = await refParam(context, 'network-uuid', 'network');
    const mac = paramNamed(params, 'mac') ?? '';
    const record = {
      device: paramNamed(params, 'device'),
      network,
      VM: await refParam(context, 'vm-uuid', 'VM'),
      MAC: mac === 'random' ? '' : mac,
      MTU: await session.call('network.get_MTU', network),
      other_config: {},
      ...noQuality,
    };
    printer.list([await uuidOf(context, 'VIF', await session.call('VIF.create', record))]);
  },
};

const moveVif = onUuid({
  name: 'vif-move',
  class: 'VIF',
  required: ['network-uuid'],
  help: 'Connect a virtual interface to another network.',
  run: async (context, ref) =>
    context.session.call('VIF.move', ref, await refParam(context, 'network-uuid', 'network')),
});

/** A command that unplugs a device, by force if asked to. */
function unplug(name: string, className: 'VBD' | 'VIF', help: string): Command {
  return onUuid({
    name,
    class: className,
    optional: ['force'],
    help: `${help}; with force=true even if the guest does not agree.`,
    run: ({ session, params }, ref) =>
      session.call(`${className}.unplug${boolParam(params, 'force') ? '_force' : ''}`, ref),
  });
}

const createNetwork: Command = {
  name: 'network-create',
  required: ['name-label'],
  optional: ['name-description', 'MTU', 'bridge', 'managed'],
  help: 'Create a network, and print its uuid; the server chooses the bridge unless bridge= gives it.',
  common: true,
  async run(context) {
    const { session, params, printer } = context;
    const record = {
      name_label: paramNamed(params, 'name-label'),
      name_description: paramNamed(params, 'name-description') ?? '',
      MTU: parseCount('MTU', paramNamed(params, 'MTU') ?? '1500'),
      bridge: paramNamed(params, 'bridge') ?? '',
      managed: boolParam(params, 'managed', true),
      other_config: {},
      tags: [],
    };
    printer.list([await uuidOf(context, 'network', await session.call('network.create', record))]);
  },
};

export const deviceCommands: readonly Command[] = [
  createVbd,
  insert,
  sending('vbd-eject', 'VBD.eject', 'Take the VDI out of a CD or floppy drive.'),
  sending('vbd-plug', 'VBD.plug', 'Plug a virtual disk into its running VM.'),
  unplug('vbd-unplug', 'VBD', 'Unplug a virtual disk from its running VM'),
  sending('vbd-destroy', 'VBD.destroy', 'Remove the connection between a VM and a VDI; the VDI stays.'),
  createVif,
  moveVif,
  sending('vif-plug', 'VIF.plug', 'Plug a virtual interface into its running VM.'),
  unplug('vif-unplug', 'VIF', 'Unplug a virtual interface from its running VM'),
  sending('vif-destroy', 'VIF.destroy', 'Remove a virtual interface.'),
  createNetwork,
  sending('network-destroy', 'network.destroy', 'Remove a network that nothing uses.'),
  sending('pif-plug', 'PIF.plug', 'Bring a physical interface up.'),
  sending('pif-unplug', 'PIF.unplug', 'Bring a physical interface down.'),
];
