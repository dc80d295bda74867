/** The pool: who belongs to it, and what all of it shares. */

import { download } from '../../client/download.js';
import type { Command, Context } from '../command.js';
import { boolParam, paramNamed } from '../command-line.js';
import type { XapiRecord } from '../record.js';
import { refParam } from '../selection.js';
import { assertConfirmed } from './confirmation.js';

const join: Command = {
  name: 'pool-join',
  required: ['master-address', 'master-username', 'master-password'],
  optional: ['force'],
  help: 'Make the host that xe is connected to a member of the pool whose coordinator is at master-address=.',
  common: true,
  async run({ session, params, printer }) {
    const to = ['master-address', 'master-username', 'master-password'].map((name) => paramNamed(params, name));
    await session.call(boolParam(params, 'force') ? 'pool.join_force' : 'pool.join', ...to);
    printer.message('The host joins the pool now. Use the coordinator from here on.');
  },
};

const eject: Command = {
  name: 'pool-eject',
  required: ['host-uuid'],
  optional: ['force'],
  help: 'Make a member leave the pool, and lose what is on its local storage; asks first, unless force=true.',
  common: true,
  async run(context) {
    const host = await refParam(context, 'host-uuid', 'host');
    const record = (await context.objects.all('host')).get(host);
    await assertConfirmed(context, [
      `The host ${record?.uuid} (${record?.name_label}) leaves the pool, and what is on its local storage is lost.`,
      ...(await localDisks(context, host)).map((vdi) => `VDI: ${vdi.uuid} (${vdi.name_label})`),
    ]);
    await context.session.call('pool.eject', host);
  },
};

/** The VDIs on SRs that no other host can reach. */
async function localDisks({ objects }: Context, host: string): Promise<XapiRecord[]> {
  const links = [...(await objects.all('PBD')).values()];
  const isLocal = (sr: unknown) => links.filter((pbd) => pbd.SR === sr).every((pbd) => pbd.host === host);
  const local = links.filter((pbd) => pbd.host === host && isLocal(pbd.SR)).map((pbd) => pbd.SR);
  return [...(await objects.all('VDI')).values()].filter((vdi) => local.includes(vdi.SR));
}

/** A command that sends one message about the whole pool. */
function ofPool(name: string, message: string, help: string): Command {
  return { name, required: [], optional: [], help, run: ({ session }) => session.call(message) };
}

const designate: Command = {
  name: 'pool-designate-new-master',
  required: ['host-uuid'],
  optional: [],
  help: 'Make another host the coordinator of the pool.',
  run: async (context) =>
    context.session.call('pool.designate_new_master', await refParam(context, 'host-uuid', 'host')),
};

const dumpDatabase: Command = {
  name: 'pool-dump-database',
  required: ['file-name'],
  optional: [],
  help:
    'Fetch the database of the pool, as it is now, into the new file file-name=. It holds the hash of the password and may hold the ' +
    "pool's secret; docs/operations.md tells how it is restored.",
  run: ({ session, params }) => download(session, '/pool/xmldbdump', paramNamed(params, 'file-name') as string),
};

const rotate = 'Replace the secret with which the hosts of the pool know each other.';

export const poolCommands: readonly Command[] = [
  join,
  eject,
  designate,
  dumpDatabase,
  ofPool(
    'pool-sync-database',
    'pool.sync_database',
    'Make the database durable, and give every host what it needs of it.',
  ),
  ofPool('pool-recover-slaves', 'pool.recover_slaves', 'Ask every host that does not answer once more, at once.'),
  ofPool('pool-secret-rotate', 'pool.rotate_secret', rotate),
  ofPool('pool-rotate-secret', 'pool.rotate_secret', `${rotate} The same as pool-secret-rotate.`),
];
