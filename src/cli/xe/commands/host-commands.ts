/** Hosts: enabling, emptying and looking at them. */

import type { Command } from '../command.js';
import { boolParam, keyedParams, paramNamed } from '../command-line.js';
import { xeClasses } from '../fields.js';
import { longCall } from '../long-call.js';
import { nameReferences } from '../record.js';
import { onHosts, onUuid, refParam } from '../selection.js';
import { columnsOf, labelOf, listedRow } from '../table.js';
import { parseCount } from '../value.js';
import { assertConfirmed } from './confirmation.js';

const enable = onHosts({
  name: 'host-enable',
  help: 'Let VMs start on the selected hosts again.',
  common: true,
  run: ({ session }, { ref }) => session.call('host.enable', ref),
});

const disable = onHosts({
  name: 'host-disable',
  optional: ['auto-enable'],
  help: 'Let no VM start on the selected hosts; with auto-enable=false not even after the host has restarted.',
  common: true,
  run: ({ session, params }, { ref }) =>
    session.call('host.disable', ref, ...(boolParam(params, 'auto-enable', true) ? [] : [false])),
});

const declareDead = onHosts({
  name: 'host-declare-dead',
  count: 'one',
  help: 'Say that the selected host is gone for good: every VM on it is settled as vm-reset-powerstate does. Switch it off first.',
  run: (context, { ref }) => longCall(context, 'host.declare_dead', ref),
});

const evacuate = onHosts({
  name: 'host-evacuate',
  optional: ['network-uuid', 'batch-size'],
  count: 'one',
  help: 'Migrate every VM away from the selected host, batch-size= of them at once, over the network network-uuid= if given.',
  common: true,
  async run(context, { ref }) {
    const batch = paramNamed(context.params, 'batch-size');
    const size = batch === undefined ? 0 : parseCount('batch-size', batch);
    await longCall(context, 'host.evacuate', ref, await refParam(context, 'network-uuid', 'network'), size);
  },
});

const preventEvacuation = onUuid({
  name: 'host-get-vms-which-prevent-evacuation',
  class: 'host',
  optional: ['params'],
  help: 'List the VMs that cannot be migrated away from a host, each with the reason.',
  async run({ session, objects, params, printer }, ref) {
    const reasons = await session.call<Record<string, string[]>>('host.get_vms_which_prevent_evacuation', ref);
    const vms = await objects.all('VM');
    const shown = xeClasses.vm;
    const columns = columnsOf(shown, paramNamed(params, 'params'), ['uuid', 'name-label']);
    for (const [vm, reason] of Object.entries(reasons)) {
      const record = vms.get(vm) ?? {};
      const row = await listedRow(objects, { shown, ref: vm, record }, columns);
      const why = await nameReferences(objects, reason.join(','));
      printer.table([[...row, [labelOf({ name: 'reason', kind: 'RO' }), why]]]);
    }
  },
});

const cpuInfo: Command = {
  name: 'host-cpu-info',
  required: [],
  optional: ['uuid'],
  help: 'Show the CPUs of a host, of the one that xe is connected to unless uuid= names another.',
  async run(context) {
    const { session, params, printer } = context;
    const named = paramNamed(params, 'uuid') !== undefined;
    const host = named
      ? await refParam(context, 'uuid', 'host')
      : await session.call('session.get_this_host', session.ref);
    printer.table([Object.entries(await session.call<Record<string, string>>('host.get_cpu_info', host))]);
  },
};

const forget = onUuid({
  name: 'host-forget',
  class: 'host',
  optional: ['force'],
  help: 'Remove a host that is lost for good from the pool; asks first, unless force=true. Use pool-eject for a host that lives.',
  async run(context, ref) {
    const host = (await context.objects.all('host')).get(ref);
    await assertConfirmed(context, [`The host ${host?.uuid} (${host?.name_label}) will be forgotten for good.`]);
    await context.session.call('host.destroy', ref);
  },
});

const callPlugin: Command = {
  name: 'host-call-plugin',
  required: ['host-uuid', 'plugin', 'fn'],
  optional: ['args:'],
  help: "Call a function of a plugin of a host with the arguments 'args:name=value', and print what it answers.",
  async run(context) {
    const { session, params, printer } = context;
    const [plugin, fn] = ['plugin', 'fn'].map((name) => paramNamed(params, name));
    const args = Object.fromEntries(keyedParams(params, 'args'));
    const host = await refParam(context, 'host-uuid', 'host');
    printer.list([await session.call<string>('host.call_plugin', host, plugin, fn, args)]);
  },
};

export const hostCommands: readonly Command[] = [
  enable,
  disable,
  declareDead,
  evacuate,
  preventEvacuation,
  cpuInfo,
  forget,
  callPlugin,
];
