/**
 * The disks and CDs of VMs: adding, changing and removing them. CDs are the VDIs of SRs whose content type is `iso`.
 */

import { XapiError } from '../../../base/errors.js';
import type { Command, Context } from '../command.js';
import { paramNamed } from '../command-line.js';
import { xeClasses } from '../fields.js';
import { objectsOf, type XapiRecord, type XeObject } from '../record.js';
import { onVms, refParam } from '../selection.js';
import { columnsOf, listedRow } from '../table.js';
import { parseSize } from '../value.js';
import { noQuality } from './device-commands.js';

const addDisk = onVms({
  name: 'vm-disk-add',
  required: ['disk-size', 'device'],
  optional: ['sr-uuid'],
  help:
    "Create a disk on the pool's default SR, or on sr-uuid=, and connect it to the selected VMs as a device that their " +
    "'allowed-VBD-devices' name; disk-size= may have the unit KiB, MiB, GiB or TiB.",
  common: true,
  async run(context, vm) {
    const { session, params } = context;
    const size = parseSize('disk-size', paramNamed(params, 'disk-size') as string);
    const vdi = await session.call<string>('VDI.create', {
      name_label: 'Created by xe',
      name_description: 'Created by xe',
      SR: await srForDisk(context),
      virtual_size: size,
      type: 'user',
      sharable: false,
      read_only: false,
      other_config: {},
      xenstore_data: {},
      sm_config: { vmhint: vm.record.uuid },
      tags: [],
    });
    try {
      await connect(context, vm, { VDI: vdi, type: 'Disk', mode: 'RW', other_config: { owner: '' } });
    } catch (error) {
      await session.call('VDI.destroy', vdi).catch(() => undefined);
      throw error;
    }
  },
});

/** The SR that is named, else the default one of the pool. */
async function srForDisk(context: Context): Promise<string> {
  if (paramNamed(context.params, 'sr-uuid') !== undefined) return refParam(context, 'sr-uuid', 'SR');
  const [pool] = (await context.objects.all('pool')).values();
  const sr = String(pool?.default_SR);
  if (!(await context.objects.all('SR')).has(sr)) throw new Error('The pool has no default SR: sr-uuid= names one');
  return sr;
}

/** Make a VBD at the device that the command names, and plug it in where that can be done now. */
async function connect({ session, params }: Context, { ref }: XeObject, vbd: XapiRecord): Promise<void> {
  const made = await session.call<string>('VBD.create', {
    VM: ref,
    device: '',
    userdevice: paramNamed(params, 'device'),
    bootable: false,
    unpluggable: true,
    empty: false,
    other_config: {},
    ...vbd,
    ...noQuality,
  });
  const allowed = await session.call<string[]>('VBD.get_allowed_operations', made);
  if (allowed.includes('plug')) await session.call('VBD.plug', made);
}

const removeDisk = onVms({
  name: 'vm-disk-remove',
  required: ['device'],
  help: 'Remove the disk that is connected to the selected VMs as device=, and destroy it.',
  common: true,
  async run(context, vm) {
    const device = paramNamed(context.params, 'device');
    const found = (await drivesOf(context, vm, 'Disk')).find(({ record }) => record.userdevice === device);
    if (found === undefined) throw new Error(`The VM has no disk at device ${device}`);
    await context.session.call('VBD.destroy', found.ref);
    await context.session.call('VDI.destroy', found.record.VDI);
  },
});

/** The VBDs of a VM that are of one type. */
async function drivesOf({ objects }: Context, vm: XeObject, type: 'CD' | 'Disk'): Promise<XeObject[]> {
  const all = await objectsOf(objects, xeClasses.vbd);
  return all.filter(({ record }) => record.VM === vm.ref && record.type === type);
}

/** The VDIs that are CDs. */
async function cds({ objects }: Context): Promise<XeObject[]> {
  const srs = await objects.all('SR');
  const all = await objectsOf(objects, xeClasses.vdi);
  return all.filter(({ record }) => srs.get(String(record.SR))?.content_type === 'iso');
}

async function cdNamed(context: Context): Promise<string> {
  const name = paramNamed(context.params, 'cd-name');
  const found = (await cds(context)).filter(({ record }) => record.name_label === name);
  const [cd] = found;
  if (cd === undefined) throw new Error(`No CD has the name-label '${name}'; cd-list shows those that there are`);
  if (found.length > 1) {
    throw new Error(`${found.length} CDs have the name-label '${name}'; vbd-create and vbd-insert take the vdi-uuid`);
  }
  return cd.ref;
}

const listCds: Command = {
  name: 'cd-list',
  required: [],
  optional: ['params'],
  help: "List the CDs that VMs can be given: the VDIs of SRs whose 'content-type' is iso.",
  common: true,
  async run(context) {
    const columns = columnsOf(xeClasses.vdi, paramNamed(context.params, 'params'), ['name-label', 'uuid']);
    const rows = (await cds(context)).map((cd) => listedRow(context.objects, cd, columns));
    context.printer.table(await Promise.all(rows));
  },
};

const addCd = onVms({
  name: 'vm-cd-add',
  required: ['cd-name', 'device'],
  help: "Connect the CD cd-name= to the selected VMs, as a device that their 'allowed-VBD-devices' name.",
  common: true,
  run: async (context, vm) => connect(context, vm, { VDI: await cdNamed(context), type: 'CD', mode: 'RO' }),
});

const ejectCd = onVms({
  name: 'vm-cd-eject',
  help: 'Take the CD out of the only CD drive of the selected VMs; vbd-eject does it for one of several drives.',
  common: true,
  async run(context, vm) {
    const [drive, ...more] = await drivesOf(context, vm, 'CD');
    if (drive === undefined) throw new Error('The VM has no CD drive');
    if (more.length > 0) throw new Error(`The VM has ${more.length + 1} CD drives; vbd-eject takes the uuid of one`);
    await context.session.call('VBD.eject', drive.ref);
  },
});

const insertCd = onVms({
  name: 'vm-cd-insert',
  required: ['cd-name'],
  help: 'Put the CD cd-name= into the only empty CD drive of the selected VMs; vbd-insert does it for one of several drives.',
  common: true,
  async run(context, vm) {
    const cd = await cdNamed(context);
    const [drive, ...more] = (await drivesOf(context, vm, 'CD')).filter(({ record }) => record.empty);
    if (drive === undefined) throw new XapiError('VM_NO_EMPTY_CD_VBD', [vm.ref]);
    if (more.length > 0)
      throw new Error(`${more.length + 1} CD drives of the VM are empty; vbd-insert takes the uuid of one`);
    await context.session.call('VBD.insert', drive.ref, cd);
  },
});

const emptyDrive = '<EMPTY>';

const removeCd = onVms({
  name: 'vm-cd-remove',
  required: ['cd-name'],
  help: `Remove the drive that holds the CD cd-name= from the selected VMs; cd-name='${emptyDrive}' removes one that is empty.`,
  common: true,
  async run(context, vm) {
    const name = paramNamed(context.params, 'cd-name');
    const named = (await cds(context)).filter(({ record }) => record.name_label === name).map(({ ref }) => ref);
    const found = (await drivesOf(context, vm, 'CD')).find(({ record }) =>
      name === emptyDrive ? record.empty : named.includes(String(record.VDI)),
    );
    if (found === undefined) throw new Error(`No drive of the VM holds a CD with the name-label '${name}'`);
    await context.session.call('VBD.destroy', found.ref);
  },
});

export const vmDiskCommands: readonly Command[] = [addDisk, removeDisk, listCds, addCd, ejectCd, insertCd, removeCd];
