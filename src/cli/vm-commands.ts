/** What xe does with VMs, and with tasks, beyond their parameters. */
import { boolParam, paramNamed } from './command-line.js';
import { longCall } from './long-call.js';
import { type Command, objectNamed, withSelectedVms } from './xe-command.js';
import { xeClasses } from './xe-fields.js';

const start: Command = {
  name: 'vm-start',
  required: [],
  optional: ['on', 'paused', 'force'],
  help: 'Start the selected VMs; on= names the host by uuid or name-label, paused=true leaves them paused.',
  selects: 'VMs',
  common: true,
  run: (context) =>
    withSelectedVms(context, ['on', 'paused'], async ({ ref }) => {
      const { params, objects } = context;
      const on = paramNamed(params, 'on');
      const how = [boolParam(params, 'paused'), boolParam(params, 'force')];
      if (on === undefined) return longCall(context, 'VM.start', ref, ...how);
      const host = await objectNamed(objects, xeClasses.host, on);
      return longCall(context, 'VM.start_on', ref, host.ref, ...how);
    }),
};

const shutdown: Command = {
  name: 'vm-shutdown',
  required: [],
  optional: ['force'],
  help: 'Shut the selected VMs down; with force=true their domains are destroyed without asking the guests.',
  selects: 'VMs',
  common: true,
  run: (context) =>
    withSelectedVms(context, [], ({ ref }) =>
      longCall(context, boolParam(context.params, 'force') ? 'VM.hard_shutdown' : 'VM.clean_shutdown', ref),
    ),
};

/** A command that sends one message for each VM selected. */
function simple(name: string, message: string, help: string): Command {
  return {
    name,
    required: [],
    optional: [],
    help,
    selects: 'VMs',
    common: true,
    run: (context) => withSelectedVms(context, [], ({ ref }) => context.session.call(message, ref)),
  };
}

const cancelTask: Command = {
  name: 'task-cancel',
  required: ['uuid'],
  optional: [],
  help: 'Ask a task to stop.',
  common: true,
  async run({ session, params }) {
    await session.call('task.cancel', await session.call('task.get_by_uuid', paramNamed(params, 'uuid')));
  },
};

export const vmCommands: readonly Command[] = [
  start,
  shutdown,
  simple('vm-pause', 'VM.pause', 'Stop the virtual CPUs of the selected VMs; their memory stays.'),
  simple('vm-unpause', 'VM.unpause', 'Let the selected VMs, which are paused, run again.'),
  cancelTask,
];
