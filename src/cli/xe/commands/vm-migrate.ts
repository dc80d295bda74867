/** xe vm-migrate: to a host of the pool, or to another pool. */

import { XapiError } from '../../../base/errors.js';
import type { TaskRecord } from '../../client/task.js';
import { login, serverUrl, type XapiSession } from '../../client/xapi-client.js';
import type { Context } from '../command.js';
import { keyedParams, type Params, paramNamed, parseBool } from '../command-line.js';
import { withNames } from '../error.js';
import { xeClasses } from '../fields.js';
import { longTask } from '../long-call.js';
import { createObjects, type Objects, objectsOf, type XapiRecord, type XeObject } from '../record.js';
import { objectNamed, onVms } from '../selection.js';

const remote = ['remote-master', 'remote-username', 'remote-password', 'remote-network'];
const maps = ['vif', 'vdi', 'vgpu', 'image-format'];

export const vmMigrate = onVms({
  name: 'vm-migrate',
  optional: [
    ...['host', 'host-uuid', 'host-name', 'live', 'force', 'copy', 'compress'],
    ...remote,
    ...maps.map((map) => `${map}:`),
  ],
  help:
    'Migrate the selected VMs to the host that host= names by uuid or name-label. With remote-master=, remote-username= and ' +
    'remote-password= they go to that pool, vif:<VIF uuid>=<network uuid> and the like saying what is connected to what there, ' +
    'image-format:<VDI uuid>=<format> in which format a disk is kept. ' +
    'compress= says whether the memory is compressed on its way; without it, the pool decides.',
  common: true,
  run: (context, vm) => (isRemote(context.params) ? migrateToPool(context, vm) : migrateInPool(context, vm)),
});

function isRemote(params: Params): boolean {
  return params.some(([name]) => remote.includes(name) || maps.includes(name.split(':')[0] as string));
}

/** What is not given is left out, so that the pool decides. */
function optionsOf(params: Params): Record<string, string> {
  const options: Record<string, string> = {};
  for (const name of ['force', 'live', 'copy']) {
    const value = paramNamed(params, name);
    if (value !== undefined) options[name] = String(parseBool(name, value));
  }
  const compress = paramNamed(params, 'compress');
  if (compress === undefined) return options;
  // The server takes what it does not know for not given.
  if (!/^(true|on|1|false|off|0)$/i.test(compress)) {
    throw new Error(`compress= is true, on, 1, false, off or 0, not '${compress}'`);
  }
  return { ...options, compress };
}

function hostParam(params: Params): string | undefined {
  return paramNamed(params, 'host') ?? paramNamed(params, 'host-uuid') ?? paramNamed(params, 'host-name');
}

async function migrateInPool(context: Context, vm: XeObject): Promise<void> {
  const name = hostParam(context.params);
  if (name === undefined) throw new Error('No destination is given: host= names one');
  const host = await objectNamed(context.objects, xeClasses.host, name);
  const end = await longTask(context, 'VM.pool_migrate', vm.ref, host.ref, optionsOf(context.params));
  context.printer.message(summary(vm, host, end.figures));
}

/** The uuid of a copy is printed. */
async function migrateToPool(context: Context, vm: XeObject): Promise<void> {
  const [server, username, password] = remote.map((name) => paramNamed(context.params, name));
  if (server === undefined || username === undefined || password === undefined) {
    throw new Error('A migration to another pool needs remote-master, remote-username and remote-password');
  }
  const options = optionsOf(context.params);
  const url = serverUrl(server);
  const there = await login({ url, username, password }, 'xe').catch((error: unknown) => {
    if (!(error instanceof XapiError) || error.code !== 'SESSION_AUTHENTICATION_FAILED') throw error;
    throw new Error(`the pool at ${url} accepts no such remote-username and remote-password`, { cause: error });
  });
  const remoteObjects = createObjects(there);
  try {
    await send(context, vm, remoteObjects, options);
  } catch (error) {
    throw error instanceof XapiError ? await withNames(error, remoteObjects) : error;
  } finally {
    await there.logout();
  }
}

async function send(context: Context, vm: XeObject, remoteObjects: Objects, options: Record<string, string>) {
  const { params, printer, session: here } = context;
  const { session: there } = remoteObjects;
  const host = await remoteHost(remoteObjects, hostParam(params));
  const network = await remoteNetwork(remoteObjects, host.ref, paramNamed(params, 'remote-network'));
  printer.message(`Migrating to host ${host.record.name_label} over network ${network.record.name_label}`);
  const { vif, vdi, vgpu } = await mapsOf(here, there, params);
  const formats = await formatsOf(here, params);
  const destination = await there.call('host.migrate_receive', host.ref, network.ref, options);
  const live = options.live !== 'false';
  // Servers that know no formats of disks have no parameter for them.
  const more = Object.keys(formats).length === 0 ? [] : [formats];
  const end = await longTask(context, 'VM.migrate_send', vm.ref, destination, live, vdi, vif, options, vgpu, ...more);
  printer.message(summary(vm, host, end.figures));
  if (options.copy === 'true') printer.list([await there.call('VM.get_uuid', end.result)]);
}

/** Say on one line what happened, as far as the server has put figures into the task. */
function summary({ record: vm }: XeObject, { record: host }: Found, figures: TaskRecord['other_config']): string {
  const {
    compressor_used: compressor,
    seconds,
    guest_bytes: guest,
    wire_bytes: wire,
    ratio,
    downtime_ms: downtime,
  } = figures;
  const mebibytes = (bytes: string) => `${(Number(bytes) / 2 ** 20).toFixed(1)} MiB`;
  const parts = [
    compressor === undefined ? [] : [`compressor ${compressor}`],
    seconds === undefined ? [] : [`${Number(seconds).toFixed(2)} s`],
    guest === undefined || wire === undefined ? [] : [`${mebibytes(wire)} sent for ${mebibytes(guest)}`],
    ratio === undefined ? [] : [`ratio ${Number(ratio).toFixed(2)}`],
    downtime === undefined ? [] : [`downtime ${Math.round(Number(downtime))} ms`],
    figures.fallback === undefined ? [] : [figures.fallback],
  ].flat();
  return `${vm.name_label} migrated to ${host.name_label}${parts.length > 0 ? `: ${parts.join(', ')}` : ''}`;
}

interface Found {
  readonly ref: string;
  readonly record: XapiRecord;
}

/** The host of the other pool that is named, else its coordinator. */
async function remoteHost(objects: Objects, name: string | undefined): Promise<Found> {
  if (name !== undefined) return objectNamed(objects, xeClasses.host, name, 'of the remote pool ');
  const [pool] = (await objects.all('pool')).values();
  const ref = String(pool?.master);
  const record = (await objects.all('host')).get(ref);
  if (record === undefined) throw new Error('The remote pool names no coordinator: give host=');
  return { ref, record };
}

/** The network that is named, else that of the host's management interface. */
async function remoteNetwork(objects: Objects, host: string, name: string | undefined): Promise<Found> {
  const networks = await objectsOf(objects, xeClasses.network);
  if (name !== undefined) {
    const found = networks.find(({ record }) => [record.uuid, record.name_label, record.bridge].includes(name));
    if (found === undefined) throw new Error(`The remote pool has no network '${name}'`);
    return found;
  }
  const interfaces = [...(await objects.all('PIF')).values()];
  const management = interfaces.find((pif) => pif.host === host && pif.management === true);
  const found = networks.find(({ ref }) => ref === management?.network);
  if (found === undefined) throw new Error('The remote host has no management interface: give remote-network=');
  return found;
}

/** `vif:`, `vdi:` and `vgpu:` parameters as maps from references here to references there. */
async function mapsOf(here: XapiSession, there: XapiSession, params: Params) {
  const mapOf = async (prefix: string, from: string, to: string) => {
    const map: Record<string, string> = {};
    for (const [uuid, target] of keyedParams(params, prefix)) {
      const ref = await here.call<string>(`${from}.get_by_uuid`, uuid);
      map[ref] = await there.call<string>(`${to}.get_by_uuid`, target);
    }
    return map;
  };
  return {
    vif: await mapOf('vif', 'VIF', 'network'),
    vdi: await mapOf('vdi', 'VDI', 'SR'),
    vgpu: await mapOf('vgpu', 'VGPU', 'GPU_group'),
  };
}

/** `image-format:` parameters as a map from references. */
async function formatsOf(here: XapiSession, params: Params): Promise<Record<string, string>> {
  const formats: Record<string, string> = {};
  for (const [uuid, format] of keyedParams(params, 'image-format')) {
    formats[await here.call<string>('VDI.get_by_uuid', uuid)] = format;
  }
  return formats;
}
