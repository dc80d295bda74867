/** The life of VMs: start, stop and what is between. */

import type { Command } from '../command.js';
import { boolParam, paramNamed } from '../command-line.js';
import { xeClasses } from '../fields.js';
import { longCall } from '../long-call.js';
import { objectNamed, onVms, refParam } from '../selection.js';

const start = onVms({
  name: 'vm-start',
  optional: ['on', 'paused', 'force'],
  help: 'Start the selected VMs; on= names the host by uuid or name-label, paused=true leaves them paused.',
  common: true,
  async run(context, { ref }) {
    const { params, objects } = context;
    const on = paramNamed(params, 'on');
    const how = [boolParam(params, 'paused'), boolParam(params, 'force')];
    if (on === undefined) return longCall(context, 'VM.start', ref, ...how);
    return longCall(context, 'VM.start_on', ref, (await objectNamed(objects, xeClasses.host, on)).ref, ...how);
  },
});

const resume = onVms({
  name: 'vm-resume',
  optional: ['on', 'force'],
  help: 'Let the selected VMs, which are suspended, run again; on= names the host by uuid or name-label.',
  common: true,
  async run(context, { ref }) {
    const { params, objects } = context;
    const on = paramNamed(params, 'on');
    const how = [false, boolParam(params, 'force')];
    if (on === undefined) return longCall(context, 'VM.resume', ref, ...how);
    return longCall(context, 'VM.resume_on', ref, (await objectNamed(objects, xeClasses.host, on)).ref, ...how);
  },
});

/** A command with a gentle way, and one by force. */
function forcible(name: string, gently: string, byForce: string, help: string): Command {
  return onVms({
    name,
    optional: ['force'],
    help,
    common: true,
    run: (context, { ref }) => longCall(context, boolParam(context.params, 'force') ? byForce : gently, ref),
  });
}

const copyBiosStrings = onVms({
  name: 'vm-copy-bios-strings',
  required: ['host-uuid'],
  help: 'Give the selected VMs, which have no BIOS strings, those of the host that host-uuid= names, where they start from then on.',
  async run(context, { ref }) {
    await longCall(context, 'VM.copy_bios_strings', ref, await refParam(context, 'host-uuid', 'host'));
  },
});

const resetPowerState = onVms({
  name: 'vm-reset-powerstate',
  optional: ['force'],
  help: 'Settle the selected VMs of which a host is gone for good: a copy in doubt that is left goes on, else the VM is halted; needs force=true.',
  async run(context, { ref }) {
    if (!boolParam(context.params, 'force')) {
      throw new Error('This is dangerous if the VM still runs anywhere; give force=true if it does not');
    }
    await context.session.call('VM.power_state_reset', ref);
  },
});

/** A command that sends one message for each VM selected, which is soon done. */
function brief(name: string, message: string, help: string): Command {
  return onVms({ name, help, common: true, run: ({ session }, { ref }) => session.call(message, ref) });
}

export const vmCommands: readonly Command[] = [
  start,
  forcible(
    'vm-shutdown',
    'VM.clean_shutdown',
    'VM.hard_shutdown',
    'Shut the selected VMs down; with force=true their domains are destroyed without asking the guests.',
  ),
  forcible(
    'vm-reboot',
    'VM.clean_reboot',
    'VM.hard_reboot',
    'Start the selected VMs anew; with force=true without asking the guests.',
  ),
  onVms({
    name: 'vm-suspend',
    help: 'Save the memory of the selected VMs to disk, and stop them.',
    common: true,
    run: (context, { ref }) => longCall(context, 'VM.suspend', ref),
  }),
  resume,
  brief('vm-pause', 'VM.pause', 'Stop the virtual CPUs of the selected VMs; their memory stays.'),
  brief('vm-unpause', 'VM.unpause', 'Let the selected VMs, which are paused, run again.'),
  resetPowerState,
  copyBiosStrings,
];
