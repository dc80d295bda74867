/** Removing VMs, alone or with their disks. */

import type { Command, Context } from '../command.js';
import { longCall } from '../long-call.js';
import type { XapiRecord } from '../record.js';
import { onUuid, onVms } from '../selection.js';
import { assertConfirmed } from './confirmation.js';

const destroy = onUuid({
  name: 'vm-destroy',
  class: 'VM',
  help: 'Remove a halted VM; its disks stay.',
  async run({ session }, ref) {
    if (await session.call<boolean>('VM.get_is_control_domain', ref))
      throw new Error('A control domain is not destroyed');
    await session.call('VM.destroy', ref);
  },
});

const uninstall = onVms({
  name: 'vm-uninstall',
  optional: ['force'],
  help: 'Stop and remove the selected VMs with the disks that are their own; asks first, unless force=true.',
  run: (context, { ref, record }) => removeWithDisks(context, ref, record),
});

const uninstallTemplate: Command = {
  name: 'template-uninstall',
  required: ['template-uuid'],
  optional: ['force'],
  help: 'Remove a template with the disks that are its own; asks first, unless force=true.',
  async run(context) {
    const { session, params } = context;
    const uuid = params.find(([name]) => name === 'template-uuid')?.[1];
    const ref = await session.call<string>('VM.get_by_uuid', uuid);
    const record = await session.call<XapiRecord>('VM.get_record', ref);
    if (record.is_a_template !== true) throw new Error(`${uuid} is no template`);
    await removeWithDisks(context, ref, record);
  },
};

async function removeWithDisks(context: Context, vm: string, record: XapiRecord): Promise<void> {
  const { session } = context;
  const disks = await ownDisks(context, record);
  await assertConfirmed(context, [
    'About to be removed:',
    `VM : ${record.uuid} (${record.name_label})`,
    ...disks.map(([, vdi]) => `VDI: ${vdi.uuid} (${vdi.name_label})${sharedMark(vdi)}`),
  ]);
  if (record.power_state !== 'Halted') await longCall(context, 'VM.hard_shutdown', vm);
  await session.call('VM.destroy', vm);
  for (const [disk] of disks) await session.call('VDI.destroy', disk);
}

function sharedMark({ VBDs }: XapiRecord): string {
  return (VBDs as readonly string[]).length > 1 ? ', which other VMs use too' : '';
}

/** The VDIs behind VBDs that are marked as their owner, and the one with the memory of a suspended VM. */
async function ownDisks({ objects }: Context, record: XapiRecord): Promise<[ref: string, vdi: XapiRecord][]> {
  const [vbds, vdis] = [await objects.all('VBD'), await objects.all('VDI')];
  const owned = (record.VBDs as string[])
    .map((ref) => vbds.get(ref))
    .filter((vbd) => vbd !== undefined && Object.hasOwn(vbd.other_config as object, 'owner'))
    .map((vbd) => String(vbd?.VDI));
  return [...vdis].filter(([ref]) => owned.includes(ref) || ref === record.suspend_VDI);
}

export const vmRemovalCommands: readonly Command[] = [destroy, uninstall, uninstallTemplate];
