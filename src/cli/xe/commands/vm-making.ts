/** Making VMs: from nothing, from another VM, from a template. */

import { vmRecord } from '../../client/vm-record.js';
import type { Command, Context } from '../command.js';
import { type Params, paramNamed } from '../command-line.js';
import { xeClasses } from '../fields.js';
import { longCall } from '../long-call.js';
import { nullRef, objectsOf } from '../record.js';
import { onVms, refParam, uuidOf } from '../selection.js';

const mebibyte = 2 ** 20;

const create: Command = {
  name: 'vm-create',
  required: ['name-label'],
  optional: ['name-description'],
  help: 'Create a VM with 256 MiB of memory, one virtual CPU and no devices, and print its uuid.',
  async run(context) {
    const { params, session, printer } = context;
    const name = paramNamed(params, 'name-label') as string;
    const description = paramNamed(params, 'name-description') ?? '';
    const record = vmRecord({ name, description, memory: 256 * mebibyte, leastMemory: 128 * mebibyte });
    printer.list([await uuidOf(context, 'VM', await session.call('VM.create', record))]);
  },
};

const newName = ['new-name-label'];
const newDescription = 'new-name-description';

/**
 * Describe a new VM, if a description is given.
 * @returns its uuid
 */
async function described(context: Context, vm: string): Promise<string> {
  const description = paramNamed(context.params, newDescription);
  if (description !== undefined) await context.session.call('VM.set_name_description', vm, description);
  return uuidOf(context, 'VM', vm);
}

const clone = onVms({
  name: 'vm-clone',
  prints: true,
  required: newName,
  optional: [newDescription],
  templates: true,
  help: 'Clone the selected VMs or templates, sharing what their disks have in common, and print the new uuids.',
  async run(context, { ref }) {
    const name = paramNamed(context.params, 'new-name-label');
    return described(context, await longCall(context, 'VM.clone', ref, name));
  },
});

const copy = onVms({
  name: 'vm-copy',
  prints: true,
  required: newName,
  optional: [newDescription, 'sr-uuid'],
  templates: true,
  count: 'one',
  help: 'Copy the selected VM or template with full copies of its disks, on the SR sr-uuid= if given, and print the new uuid.',
  async run(context, { ref }) {
    const name = paramNamed(context.params, 'new-name-label');
    return described(context, await longCall(context, 'VM.copy', ref, name, await refParam(context, 'sr-uuid', 'SR')));
  },
});

const templateNames = ['template', 'template-uuid', 'template-name-label', 'template-name'];

const install: Command = {
  name: 'vm-install',
  required: newName,
  optional: [...templateNames, 'sr-uuid', 'sr-name-label', 'copy-bios-strings-from'],
  help:
    'Make a VM from the template that template= names by uuid or name-label, with the disks that the template describes and ' +
    'the BIOS strings of the host copy-bios-strings-from=, if given, and print its uuid.',
  common: true,
  async run(context) {
    const { params, session, printer } = context;
    const template = await templateOf(context);
    const sr = await srOf(context);
    const bios = await refParam(context, 'copy-bios-strings-from', 'host');
    const name = paramNamed(params, 'new-name-label');
    const make = sr === nullRef ? ['VM.clone', template, name] : ['VM.copy', template, name, sr];
    const vm = await longCall(context, ...(make as [string, ...unknown[]]));
    try {
      await session.call('VM.set_name_description', vm, 'Installed by xe');
      if (sr !== nullRef) await session.call('VM.set_suspend_SR', vm, sr);
      if (bios !== nullRef) await longCall(context, 'VM.copy_bios_strings', vm, bios);
      await placeDisks(context, vm, sr);
      await longCall(context, 'VM.provision', vm);
    } catch (error) {
      await session.call('VM.destroy', vm).catch(() => undefined);
      throw error;
    }
    printer.list([await uuidOf(context, 'VM', vm)]);
  },
};

/** The template that the parameters name. */
async function templateOf({ objects, params }: Context): Promise<string> {
  const asked = (params as Params).find(([name]) => templateNames.includes(name));
  if (asked === undefined) throw new Error('No template is given: template= names one by uuid or name-label');
  const [how, text] = asked;
  const templates = (await objectsOf(objects, xeClasses.template)).filter(({ record }) => record.is_a_template);
  const found = templates.filter(
    ({ record: { uuid, name_label: label } }) =>
      (uuid === text && !how.includes('name')) || (label === text && how !== 'template-uuid'),
  );
  if (found.length === 0) throw new Error(`No template has the uuid or name-label '${text}'`);
  if (found.length > 1) throw new Error(`${found.length} templates have the name-label '${text}'; give template-uuid=`);
  return (found[0] as { ref: string }).ref;
}

/** The SR for the new VM's disks: null to leave them where the template's are. */
async function srOf(context: Context): Promise<string> {
  const name = paramNamed(context.params, 'sr-name-label');
  const sr = await refParam(context, 'sr-uuid', 'SR');
  if (name === undefined) return sr;
  const named = await context.session.call<string[]>('SR.get_by_name_label', name);
  const found = sr === nullRef ? named : named.filter((ref) => ref === sr);
  if (found.length !== 1) throw new Error(`${found.length} SRs have the name-label '${name}'; give sr-uuid=`);
  return found[0] as string;
}

/**
 * The disks that provisioning makes are described in other_config, each with its SR: write ours, else the pool's
 * default one.
 */
async function placeDisks({ objects, session }: Context, vm: string, sr: string): Promise<void> {
  const { disks } = await session.call<Record<string, string>>('VM.get_other_config', vm);
  if (disks === undefined || !/<disk\b/.test(disks)) return;
  const [pool] = (await objects.all('pool')).values();
  const place = (await objects.all('SR')).get(sr === nullRef ? String(pool?.default_SR) : sr);
  if (place === undefined) throw new Error('The pool has no default SR: sr-uuid= or sr-name-label= names one');
  const placed = disks.replace(/\bsr=(["'])[^"']*\1/g, `sr="${place.uuid}"`);
  await session.call('VM.remove_from_other_config', vm, 'disks');
  await session.call('VM.add_to_other_config', vm, 'disks', placed);
}

export const vmMakingCommands: readonly Command[] = [create, clone, copy, install];
