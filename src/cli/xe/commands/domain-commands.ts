/** What hosts have of VMs that no record of the pool knows, as after the restore of an older database. */
import { defined } from '../../../base/defined.js';
import { XapiError } from '../../../base/errors.js';
import type { Command, Context } from '../command.js';
import { paramNamed } from '../command-line.js';
import type { Row } from '../printer.js';
import { refParam } from '../selection.js';
import { labelOf } from '../table.js';
import { assertConfirmed } from './confirmation.js';

/** Domain as the plugin `domains` lists it. */
interface Domain {
  readonly uuid: string;
  readonly name: string;
  readonly state: string;
  readonly domid: number;
  readonly memory: number;
  readonly vcpus: number;
  readonly in_doubt: string;
}

interface Placed {
  readonly host: string;
  readonly hostUuid: string;
  readonly domain: Domain;
}

const list: Command = {
  name: 'host-domain-list',
  required: [],
  optional: ['host-uuid'],
  help: 'List the domains and suspended VMs of which the pool has no record, of every host that answers or of one.',
  async run(context) {
    context.printer.table((await placed(context)).map(rowOf));
  },
};

const adopt: Command = {
  name: 'host-domain-adopt',
  required: ['uuid'],
  optional: ['host-uuid', 'new-name-label'],
  help: 'Make a VM of a domain that host-domain-list shows, and print its uuid. It has no disks and interfaces until they are created.',
  async run(context) {
    const { session, params, printer } = context;
    const { host, domain } = await named(context);
    const name = paramNamed(params, 'new-name-label');
    const args = { uuid: domain.uuid, ...defined({ 'name-label': name }) };
    await session.call('host.call_plugin', host, plugin, 'adopt', args);
    printer.list([domain.uuid]);
  },
};

const destroy: Command = {
  name: 'host-domain-destroy',
  required: ['uuid'],
  optional: ['host-uuid', 'force'],
  help: 'Destroy a domain or suspended VM that host-domain-list shows; asks first, unless force=true.',
  async run(context) {
    const { host, hostUuid, domain } = await named(context);
    const { uuid, name, state } = domain;
    await assertConfirmed(context, [
      `The ${state} domain ${uuid} (${name}) on host ${hostUuid} will be destroyed for good.`,
    ]);
    await context.session.call('host.call_plugin', host, plugin, 'destroy', { uuid });
  },
};

const plugin = 'domains';

/** List the domains on the host that host-uuid= names, else on every host that answers. */
async function placed(context: Context): Promise<Placed[]> {
  const { session, params, objects, terminal } = context;
  const one = paramNamed(params, 'host-uuid') === undefined ? undefined : await refParam(context, 'host-uuid', 'host');
  const found: Placed[] = [];
  for (const [host, record] of await objects.all('host')) {
    if (one !== undefined && host !== one) continue;
    const hostUuid = String(record.uuid);
    try {
      const answer = await session.call<string>('host.call_plugin', host, plugin, 'list', {});
      found.push(...(JSON.parse(answer) as Domain[]).map((domain) => ({ host, hostUuid, domain })));
    } catch (error) {
      if (one !== undefined || !(error instanceof XapiError) || error.code !== 'HOST_OFFLINE') throw error;
      terminal.err(`host ${record.name_label} (${hostUuid}) does not answer\n`);
    }
  }
  return found;
}

/** @throws an Error where no host, or more than one, has the domain that uuid= names */
async function named(context: Context): Promise<Placed> {
  const uuid = paramNamed(context.params, 'uuid');
  const found = (await placed(context)).filter(({ domain }) => domain.uuid === uuid);
  const [first, other] = found;
  if (first === undefined) throw new Error(`No host has a domain ${uuid} of which there is no record`);
  if (other !== undefined) throw new Error(`More than one host has a domain ${uuid}; host-uuid= names one`);
  return first;
}

function rowOf({ hostUuid, domain }: Placed): Row {
  const { uuid, name, state, domid, memory, vcpus, in_doubt } = domain;
  const fields: [name: string, value: string][] = [
    ['uuid', uuid],
    ['name', name],
    ['host-uuid', hostUuid],
    ['power-state', state],
    ['domid', String(domid)],
    ['memory', String(memory)],
    ['VCPUs', String(vcpus)],
    ...(in_doubt === '' ? [] : ([['in-doubt', in_doubt]] as [string, string][])),
  ];
  return fields.map(([label, value]) => [labelOf({ name: label, kind: 'RO' }), value]);
}

export const domainCommands: readonly Command[] = [list, adopt, destroy];
