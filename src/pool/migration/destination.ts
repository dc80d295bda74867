/** Where a migration goes: what the caller gave, checked and made into what the source host needs. */
import { isIPv6 } from 'node:net';
import type { Ref } from '../../../idl/index.js';
import { configKeys } from '../../base/config/keys.js';
import { defined } from '../../base/defined.js';
import { invalidValue, XapiError } from '../../base/errors.js';
import { serverForms, serverOrigin, spokenUrl, whyRefused } from '../../base/server-address.js';
import type { Destination } from '../../host/service/service.js';
import { xenopsPath } from '../../wire/connection/channel.js';
import type { Database } from '../database/database.js';
import type { Members } from '../hosts/members.js';

type Strings = Readonly<Record<string, string>>;

/** The part of a destination that is in another pool. */
export type ForeignDestination = Extract<Destination, { kind: 'foreign' }>;

/** The keys of the map that host.migrate_receive gives and VM.migrate_send takes. */
const needed = ['host', 'xenops', 'session_id', 'master'] as const;

/**
 * The URL, `http://address:port`, of a host on one of the pool's networks.
 * @throws HANDLE_INVALID, HOST_CANNOT_ATTACH_NETWORK [host, network], PIF_HAS_NO_NETWORK_CONFIGURATION [pif],
 *   INTERFACE_HAS_NO_IP [pif]
 */
export function urlOn(db: Database, members: Members, host: Ref<'host'>, network: Ref<'network'>): string {
  const pif = db.get('network', network).PIFs.find((ref) => db.get('PIF', ref).host === host);
  db.get('host', host);
  if (pif === undefined) throw new XapiError('HOST_CANNOT_ATTACH_NETWORK', [host, network]);
  const row = db.get('PIF', pif);
  const six = row.primary_address_type === 'IPv6';
  const mode = six ? row.ipv6_configuration_mode : row.ip_configuration_mode;
  if (mode === 'None') throw new XapiError('PIF_HAS_NO_NETWORK_CONFIGURATION', [pif]);
  const address = (six ? row.IPv6[0]?.replace(/\/.*/, '') : row.IP) ?? '';
  if (address === '') throw new XapiError('INTERFACE_HAS_NO_IP', [pif]);
  const { port } = new URL(members.url(host));
  return `http://${isIPv6(address) ? `[${address}]` : address}${port === '' ? '' : `:${port}`}`;
}

/**
 * A host of this pool.
 * @param xenops by which its xenops path is to be reached; as the host itself says, where absent
 */
export function poolDestination(db: Database, members: Members, host: Ref<'host'>, xenops?: string): Destination {
  return defined({ kind: 'pool' as const, hostUuid: db.get('host', host).uuid, url: members.url(host), xenops });
}

/** The destination map of VM.migrate_send. @throws INVALID_VALUE for what is missing or names no server */
export function readDestination(dest: Strings): {
  host: Ref<'host'>;
  foreign: ForeignDestination & { readonly xenops: string };
} {
  for (const key of needed) {
    if ((dest[key] ?? '') === '') {
      throw invalidValue(`dest:${key}`, '', 'what host.migrate_receive gives');
    }
  }
  const { host = '', session_id: session = '', master = '', xenops = '' } = dest;
  return {
    host: host as Ref<'host'>,
    foreign: { kind: 'foreign', hostRef: host, master: coordinatorOrigin(master), session, xenops: xenopsOf(xenops) },
  };
}

/**
 * The URL below which the calls and channels of a migration go. The session behind it says nothing: each has the token of the
 * migration.
 */
function xenopsOf(xenops: string): string {
  try {
    const { pathname } = spokenUrl(xenops);
    if (pathname.replace(/\/+$/, '') !== xenopsPath) throw new Error('another path', { cause: 'another path' });
    return `${serverOrigin(xenops, configKeys.port.default)}${xenopsPath}`;
  } catch (error) {
    const allowed = `http://address:port${xenopsPath}, as host.migrate_receive gives`;
    throw invalidValue('dest:xenops', xenops, `${allowed}; ${whyRefused(error)}`);
  }
}

/** The session of the other pool is sent there. */
function coordinatorOrigin(master: string): string {
  try {
    return serverOrigin(master, configKeys.port.default);
  } catch (error) {
    throw invalidValue('dest:master', master, `${serverForms}; ${whyRefused(error)}`);
  }
}

/**
 * The network at the destination for each VIF of a VM: what the map says, else where another VIF of the same network goes.
 * @throws VIF_NOT_IN_MAP [vif] where neither says, HANDLE_INVALID for what is no VIF of the VM
 */
export function mapVifs(db: Database, vm: Ref<'VM'>, vifMap: Strings): Map<Ref<'VIF'>, string> {
  const vifs = db.get('VM', vm).VIFs;
  const byNetwork = new Map<Ref<'network'>, string>();
  for (const [key, network] of Object.entries(vifMap)) {
    const vif = key as Ref<'VIF'>;
    if (!vifs.includes(vif)) throw new XapiError('HANDLE_INVALID', ['VIF', key]);
    byNetwork.set(db.get('VIF', vif).network, network);
  }
  return new Map(
    vifs.map((vif) => {
      const network = vifMap[vif] ?? byNetwork.get(db.get('VIF', vif).network);
      if (network === undefined) throw new XapiError('VIF_NOT_IN_MAP', [vif]);
      return [vif, network];
    }),
  );
}
