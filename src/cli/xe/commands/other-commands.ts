/** Tasks, messages, and the own password. */

import type { Command } from '../command.js';
import { paramNamed } from '../command-line.js';
import { onUuid } from '../selection.js';
import { parseCount } from '../value.js';

const cancelTask = onUuid({
  name: 'task-cancel',
  class: 'task',
  help: 'Ask a task to stop.',
  common: true,
  run: ({ session }, ref) => session.call('task.cancel', ref),
});

/** Classes that a message can be about, and the parameters that name their objects. */
const subjects: readonly (readonly [param: string, cls: string])[] = [
  ['vm-uuid', 'VM'],
  ['host-uuid', 'Host'],
  ['sr-uuid', 'SR'],
  ['pool-uuid', 'Pool'],
];

const createMessage: Command = {
  name: 'message-create',
  required: ['name', 'priority', 'body'],
  optional: subjects.map(([param]) => param),
  help: 'Create a message about a VM, host, SR or pool, which one of the optional parameters names, and print its uuid.',
  async run(context) {
    const { session, params, printer } = context;
    const [name, priority, body] = ['name', 'priority', 'body'].map((param) => paramNamed(params, param) as string);
    const about = subjects.find(([param]) => paramNamed(params, param) !== undefined);
    if (about === undefined) throw new Error('Nothing is named: give vm-uuid=, host-uuid=, sr-uuid= or pool-uuid=');
    const [param, cls] = about;
    const rank = parseCount('priority', priority as string);
    const message = await session.call<string>('message.create', name, rank, cls, paramNamed(params, param), body);
    const { uuid } = await session.call<{ uuid: string }>('message.get_record', message);
    printer.list([uuid]);
  },
};

const destroyMessages: Command = {
  name: 'message-destroy',
  required: [],
  optional: ['uuid', 'uuids'],
  help: 'Remove the message with uuid=, or those with uuids=, which commas join.',
  async run({ session, params }) {
    const [uuid, uuids] = ['uuid', 'uuids'].map((name) => paramNamed(params, name));
    const named = [...(uuid === undefined ? [] : [uuid]), ...(uuids?.split(',') ?? [])];
    if (named.length === 0) throw new Error('No message is named: give uuid= or uuids=');
    const messages: string[] = [];
    for (const each of named) messages.push(await session.call<string>('message.get_by_uuid', each));
    await session.call('message.destroy_many', messages);
  },
};

const destroyAllMessages: Command = {
  name: 'message-destroy-all',
  required: [],
  optional: ['before', 'after', 'priority'],
  help: 'Remove every message, or those before= or after= a time, as 2026-11-23T10:00:00Z, or of a priority=.',
  async run({ session, params }) {
    const filters = ['before', 'after', 'priority'].flatMap((name) => {
      const value = paramNamed(params, name);
      return value === undefined ? [] : [[name, value]];
    });
    await session.call('message.destroy_all', Object.fromEntries(filters));
  },
};

const changePassword: Command = {
  name: 'user-password-change',
  required: ['new'],
  optional: ['old'],
  help: 'Change the password of the user who is logged in.',
  run: ({ session, params }) =>
    session.call('session.change_password', paramNamed(params, 'old') ?? '', paramNamed(params, 'new')),
};

export const otherCommands: readonly Command[] = [
  cancelTask,
  createMessage,
  destroyMessages,
  destroyAllMessages,
  changePassword,
];
