/** The storage of a host that has just been heard of: a local SR where it has none, and a look at those that it has. */
import { randomUUID } from 'node:crypto';
import type { Ref } from '../../../idl/index.js';
import { messageOf, toXapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { HostStorage } from '../../host/storage/storage.js';
import type { Database } from '../database/database.js';
import { type MessageDeps, tellOfHost } from '../events/messages.js';
import { fileType } from './storage-allowed-operations.js';

export interface LocalStorageDeps extends MessageDeps {
  readonly log: Log;
}

/** What the pool says of the type of SR that hosts have. */
export function seedDriver(db: Database, version: string): void {
  const operations = [
    'VDI_CREATE',
    'VDI_DELETE',
    'VDI_RESIZE',
    'VDI_CLONE',
    'VDI_SNAPSHOT',
    'VDI_INTRODUCE',
    'VDI_UPDATE',
  ];
  const capabilities = ['SR_PROBE', 'SR_UPDATE', ...operations];
  const fields = {
    type: fileType,
    name_label: 'File',
    name_description: "SR whose virtual disks are sparse files in a directory of its host's",
    vendor: 'xenferry',
    version,
    required_api_version: '1.0',
    capabilities,
    features: Object.fromEntries(capabilities.map((name) => [name, 1])),
    supported_image_formats: ['raw' as const],
  };
  const known = db.all('SM').find(([, sm]) => sm.type === fileType);
  if (known === undefined) db.create('SM', fields);
  else db.update('SM', known[0], fields);
}

/**
 * Make a local SR for a host that has no storage, the pool's default where the host is the coordinator and there is none; of a
 * host that has storage, look whether it is still there. What fails is logged: a host without storage is a host all the same.
 */
export async function provideLocalStorage(
  deps: LocalStorageDeps,
  host: Ref<'host'>,
  storage: HostStorage,
): Promise<void> {
  const { PBDs, hostname } = deps.db.get('host', host);
  try {
    if (PBDs.length === 0) await createLocal(deps.db, host, storage);
    else for (const pbd of PBDs) await look(deps, pbd, storage);
  } catch (error) {
    deps.log.warn(`the storage of host ${hostname} cannot be made ready: ${messageOf(error)}`, { error });
  }
}

async function createLocal(db: Database, host: Ref<'host'>, storage: HostStorage): Promise<void> {
  const uuid = randomUUID();
  await storage.createSr(uuid);
  const { physicalSize: physical_size, physicalUtilisation: physical_utilisation } = await storage.statSr(uuid);
  const name = { name_label: 'Local storage', name_description: 'Files on the host' };
  const figures = { physical_size, physical_utilisation };
  const SR = db.create('SR', { uuid, ...name, type: fileType, content_type: 'user', ...figures });
  db.create('PBD', { host, SR, device_config: {}, currently_attached: true });
  const [pool] = db.all('pool');
  if (pool === undefined || pool[1].master !== host || db.find('SR', pool[1].default_SR) !== undefined) return;
  db.update('pool', pool[0], { default_SR: SR, suspend_image_SR: SR, crash_dump_SR: SR });
}

/** An SR whose directory is gone is attached no more; of a host that does not answer nothing is known. */
async function look(deps: LocalStorageDeps, pbd: Ref<'PBD'>, storage: HostStorage): Promise<void> {
  const { db, log } = deps;
  const { SR, host, currently_attached } = db.get('PBD', pbd);
  if (!currently_attached) return;
  const { uuid, name_label } = db.get('SR', SR);
  try {
    const { physicalSize, physicalUtilisation } = await storage.statSr(uuid);
    db.update('SR', SR, { physical_size: physicalSize, physical_utilisation: physicalUtilisation });
  } catch (error) {
    if (toXapiError(error).code !== 'SR_BACKEND_FAILURE') throw error;
    log.warn(`SR ${uuid} is not there: ${messageOf(error)}`);
    db.update('PBD', pbd, { currently_attached: false });
    tellOfHost(deps, 'PBD_PLUG_FAILED_ON_SERVER_START', host, `does not have its SR ${name_label} (${uuid}) any more`);
  }
}
