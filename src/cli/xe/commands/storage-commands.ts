/** Storage: SRs, the PBDs that connect them to hosts, VDIs on them. */

import type { Command, Context } from '../command.js';
import { boolParam, keyedParams, paramNamed } from '../command-line.js';
import { longCall } from '../long-call.js';
import { nullRef } from '../record.js';
import { onUuid, refParam, sending, uuidOf } from '../selection.js';
import { parseSize, parseValue } from '../value.js';

const createSr: Command = {
  name: 'sr-create',
  required: ['name-label', 'type'],
  optional: [
    'name-description',
    'host-uuid',
    'shared',
    'physical-size',
    'content-type',
    'device-config:',
    'sm-config:',
  ],
  help:
    'Create an SR of the given type and connect it, and print its uuid; a local one of a pool needs host-uuid=. What the type ' +
    "needs is given as 'device-config:name=value'.",
  common: true,
  async run(context) {
    const { session, params, printer } = context;
    const [name, type] = ['name-label', 'type'].map((param) => paramNamed(params, param));
    const [description = '', content = ''] = ['name-description', 'content-type'].map((p) => paramNamed(params, p));
    const shared = boolParam(params, 'shared');
    const host = await hostOf(context, shared);
    const size = parseSize('physical-size', paramNamed(params, 'physical-size') ?? '0');
    const device = mapParam(context, 'device-config');
    const manager = mapParam(context, 'sm-config');
    const sr = await session.call<string>(
      'SR.create',
      host,
      device,
      size,
      name,
      description,
      type,
      content,
      shared,
      manager,
    );
    printer.list([await uuidOf(context, 'SR', sr)]);
  },
};

/** The host that is named; else the coordinator, where it is the only one or all share the SR. */
async function hostOf(context: Context, shared: boolean): Promise<string> {
  const named = await refParam(context, 'host-uuid', 'host');
  if (named !== nullRef) return named;
  if (!shared && (await context.objects.all('host')).size > 1) {
    throw new Error('A local SR belongs to one host of the pool: host-uuid= names it');
  }
  const [pool] = (await context.objects.all('pool')).values();
  return String(pool?.master);
}

function mapParam({ params }: Context, prefix: string): Record<string, string> {
  return Object.fromEntries(keyedParams(params, prefix));
}

const createPbd: Command = {
  name: 'pbd-create',
  required: ['host-uuid', 'sr-uuid'],
  optional: ['device-config:'],
  help: "Connect an SR to a host, with 'device-config:name=value' as its type needs, and print the PBD's uuid; pbd-plug comes next.",
  async run(context) {
    const record = {
      host: await refParam(context, 'host-uuid', 'host'),
      SR: await refParam(context, 'sr-uuid', 'SR'),
      device_config: mapParam(context, 'device-config'),
      other_config: {},
    };
    context.printer.list([await uuidOf(context, 'PBD', await context.session.call('PBD.create', record))]);
  },
};

const createVdi: Command = {
  name: 'vdi-create',
  required: ['sr-uuid', 'name-label', 'virtual-size'],
  optional: ['name-description', 'type', 'sharable', 'sm-config:', 'tags:'],
  help: 'Create a VDI on an SR, and print its uuid; virtual-size= may have the unit KiB, MiB, GiB or TiB.',
  common: true,
  async run(context) {
    const { session, params, printer } = context;
    const record = {
      name_label: paramNamed(params, 'name-label'),
      name_description: paramNamed(params, 'name-description') ?? '',
      SR: await refParam(context, 'sr-uuid', 'SR'),
      virtual_size: parseSize('virtual-size', paramNamed(params, 'virtual-size') as string),
      type: await parseValue(session, 'type', 'enum:vdi_type', paramNamed(params, 'type') ?? 'user'),
      sharable: boolParam(params, 'sharable'),
      read_only: false,
      other_config: {},
      xenstore_data: {},
      sm_config: mapParam(context, 'sm-config'),
      tags: keyedParams(params, 'tags').map(([tag]) => tag),
    };
    printer.list([await uuidOf(context, 'VDI', await session.call('VDI.create', record))]);
  },
};

const resizeVdi = onUuid({
  name: 'vdi-resize',
  class: 'VDI',
  required: ['disk-size'],
  optional: ['online'],
  help: 'Make a VDI larger; with online=true while a VM uses it.',
  async run(context, ref) {
    const size = parseSize('disk-size', paramNamed(context.params, 'disk-size') as string);
    await longCall(context, boolParam(context.params, 'online') ? 'VDI.resize_online' : 'VDI.resize', ref, size);
  },
});

const cloneVdi = onUuid({
  name: 'vdi-clone',
  prints: true,
  class: 'VDI',
  optional: ['new-name-label', 'new-name-description', 'driver-params:'],
  help: 'Clone a VDI on its SR, sharing what both have in common, and print the uuid of the new one.',
  async run(context, ref) {
    const clone = await longCall(context, 'VDI.clone', ref, mapParam(context, 'driver-params'));
    for (const field of ['name-label', 'name-description']) {
      const value = paramNamed(context.params, `new-${field}`);
      if (value !== undefined) await context.session.call(`VDI.set_${field.replace('-', '_')}`, clone, value);
    }
    return uuidOf(context, 'VDI', clone);
  },
});

const copyVdi = onUuid({
  name: 'vdi-copy',
  prints: true,
  class: 'VDI',
  optional: ['sr-uuid', 'base-vdi-uuid', 'into-vdi-uuid'],
  help:
    'Copy a VDI to the SR sr-uuid=, or into the VDI into-vdi-uuid=, and print the uuid of the copy; with base-vdi-uuid= only what ' +
    'differs from that VDI.',
  async run(context, ref) {
    const sr = await refParam(context, 'sr-uuid', 'SR');
    const [base, into] = [
      await refParam(context, 'base-vdi-uuid', 'VDI'),
      await refParam(context, 'into-vdi-uuid', 'VDI'),
    ];
    return uuidOf(context, 'VDI', await longCall(context, 'VDI.copy', ref, sr, base, into));
  },
});

export const storageCommands: readonly Command[] = [
  createSr,
  sending('sr-scan', 'SR.scan', "Look what is on an SR, and bring the VDIs' records up to date."),
  sending('sr-destroy', 'SR.destroy', 'Destroy an SR with everything on it.'),
  sending('sr-forget', 'SR.forget', 'Remove the record of an SR; what is on it stays.'),
  createPbd,
  sending('pbd-destroy', 'PBD.destroy', 'Remove the connection between a host and an SR.'),
  sending('pbd-plug', 'PBD.plug', 'Attach an SR to the host that a PBD connects it to.'),
  sending('pbd-unplug', 'PBD.unplug', 'Detach an SR from the host that a PBD connects it to.'),
  createVdi,
  sending('vdi-destroy', 'VDI.destroy', 'Destroy a VDI with what is on it.'),
  sending('vdi-forget', 'VDI.forget', 'Remove the record of a VDI; what is on it stays.'),
  resizeVdi,
  cloneVdi,
  copyVdi,
];
