/** The devices of VMs, listed by VM. */

import type { Command, Context } from '../command.js';
import { paramNamed } from '../command-line.js';
import { xeClasses } from '../fields.js';
import { objectsOf, type XeObject } from '../record.js';
import { onVms } from '../selection.js';
import { columnsOf, listedRow } from '../table.js';

const vifColumns = ['uuid', 'vm-name-label', 'device', 'MAC', 'network-uuid', 'network-name-label'];

const vifs = onVms({
  name: 'vm-vif-list',
  optional: ['params'],
  count: 'any',
  help: 'List the virtual interfaces of the selected VMs.',
  async run(context, { ref }) {
    const { objects, params, printer } = context;
    const columns = columnsOf(xeClasses.vif, paramNamed(params, 'params'), vifColumns);
    const own = (await objectsOf(objects, xeClasses.vif)).filter(({ record }) => record.VM === ref);
    printer.table(await Promise.all(own.map((vif) => listedRow(objects, vif, columns))));
  },
});

/** A command that lists VBDs of one type, each with its VDI. */
function blockDevices(name: string, type: 'CD' | 'Disk', columns: readonly string[], help: string): Command {
  return onVms({
    name,
    optional: ['vbd-params', 'vdi-params'],
    help,
    async run(context, { ref }) {
      const own = (await objectsOf(context.objects, xeClasses.vbd)).filter(
        ({ record }) => record.VM === ref && record.type === type,
      );
      for (const [i, vbd] of own.entries()) await showBlockDevice(context, `${type} ${i}`, vbd, columns);
    },
  });
}

async function showBlockDevice(
  { objects, params, printer }: Context,
  name: string,
  vbd: XeObject,
  columns: readonly string[],
): Promise<void> {
  printer.message(`${name} VBD:`);
  printer.table([await listedRow(objects, vbd, columnsOf(xeClasses.vbd, paramNamed(params, 'vbd-params'), columns))]);
  const vdi = (await objectsOf(objects, xeClasses.vdi)).find(({ ref }) => ref === vbd.record.VDI);
  if (vdi === undefined) return;
  const vdiColumns = ['uuid', 'name-label', 'virtual-size', 'sr-name-label'];
  printer.message(`${name} VDI:`);
  printer.table([
    await listedRow(objects, vdi, columnsOf(xeClasses.vdi, paramNamed(params, 'vdi-params'), vdiColumns)),
  ]);
}

export const vmDeviceCommands: readonly Command[] = [
  vifs,
  blockDevices(
    'vm-cd-list',
    'CD',
    ['uuid', 'vm-name-label', 'userdevice', 'empty'],
    'List the CDs of the selected VMs.',
  ),
  blockDevices('vm-disk-list', 'Disk', ['uuid', 'vm-name-label', 'userdevice'], 'List the disks of the selected VMs.'),
];
