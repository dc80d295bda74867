/**
 * Making the disks that a template describes in other_config:disks, as XML:
 * `<provision><disk device="0" size="8589934592" sr="(uuid, or empty for the pool's default SR)" bootable="true" type="system"/></provision>`.
 */
import { SaxesParser } from 'saxes';
import type { RecordOf, Ref } from '../../idl/index.js';
import { messageOf, XapiError } from '../base/errors.js';
import type { CallTask } from '../base/handlers.js';
import { nullRef, recordWithDefaults } from '../base/value.js';
import { blockDevice } from './block-devices.js';
import type { Database } from './database.js';
import type { StorageDeps } from './storage.js';
import { createVdi, destroyVdi } from './vdi-operations.js';

const disksKey = 'disks';

interface DiskOrder {
  readonly device: string;
  /** Bytes. */
  readonly size: number;
  readonly SR: Ref<'SR'>;
  readonly bootable: boolean;
  readonly type: RecordOf<'VDI'>['type'];
}

/**
 * Make the disks that a VM's other_config asks for, and take the order out of it.
 * @throws INVALID_VALUE for an order that is none, UUID_INVALID for its SR, what VDI.create throws; no disk is left then
 */
export async function makeDisks(deps: StorageDeps, task: CallTask, vm: Ref<'VM'>): Promise<void> {
  const { db } = deps;
  const orders = readOrders(db, db.get('VM', vm).other_config[disksKey] ?? '');
  const made: { vdi: Ref<'VDI'>; vbd: Ref<'VBD'> }[] = [];
  try {
    for (const order of orders) made.push(await makeDisk(deps, task, vm, order));
  } catch (error) {
    for (const { vbd, vdi } of made) {
      db.destroy('VBD', vbd);
      await destroyVdi(deps, task.ref, vdi).catch(() => undefined);
    }
    throw error;
  }
  db.removeFromMap('VM', vm, 'other_config', disksKey);
}

async function makeDisk(deps: StorageDeps, task: CallTask, VM: Ref<'VM'>, order: DiskOrder) {
  const { db } = deps;
  const taken = db.get('VM', VM).VBDs.map((vbd) => db.get('VBD', vbd).userdevice);
  const userdevice = blockDevice(order.device, taken);
  const vdi = await createVdi(deps, task.ref, {
    ...(recordWithDefaults('VDI') as RecordOf<'VDI'>),
    ...{ name_label: `disk ${userdevice}`, name_description: `of ${db.get('VM', VM).name_label}` },
    ...{ SR: order.SR, virtual_size: order.size, type: order.type },
  });
  const vbd = db.create('VBD', {
    ...{ VM, VDI: vdi, userdevice, bootable: order.bootable, mode: 'RW', type: 'Disk', other_config: { owner: '' } },
  });
  return { vdi, vbd };
}

function readOrders(db: Database, text: string): DiskOrder[] {
  if (text.trim() === '') return [];
  const orders: DiskOrder[] = [];
  const parser = new SaxesParser();
  parser.on('error', (error) => {
    throw invalid(text, messageOf(error));
  });
  parser.on('opentag', ({ name, attributes }) => {
    if (name === 'disk') orders.push(readOrder(db, text, attributes));
    else if (name !== 'provision') throw invalid(text, `<${name}> in place of <disk>`);
  });
  parser.write(text).close();
  return orders;
}

function readOrder(db: Database, text: string, given: Readonly<Record<string, string>>): DiskOrder {
  const { device = '', size = '', sr = '', bootable = 'false', type = 'system' } = given;
  if (!/^[1-9]\d*$/.test(size)) throw invalid(text, `size is '${size}', not bytes in decimal`);
  if (type !== 'system' && type !== 'user' && type !== 'ephemeral') {
    throw invalid(text, `type is '${type}', not system, user or ephemeral`);
  }
  const [pool] = db.all('pool');
  const SR = sr === '' ? (pool?.[1].default_SR ?? nullRef) : db.byUuid('SR', sr);
  return { device, size: Number(size), SR, bootable: bootable === 'true', type };
}

function invalid(text: string, why: string): XapiError {
  return new XapiError('INVALID_VALUE', [`other_config:${disksKey}`, text], why);
}
