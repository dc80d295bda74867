/**
 * Making the disks that a template describes in other_config:disks, as XML:
 * `<provision><disk device="0" size="8589934592" sr="(uuid, or empty for the pool's default SR)" bootable="true" type="system"/></provision>`.
 */
import { SaxesParser } from 'saxes';
import type { RecordOf, Ref } from '../../../idl/index.js';
import { messageOf, XapiError } from '../../base/errors.js';
import type { CallTask } from '../../model/handlers.js';
import { nullRef, recordWithDefaults } from '../../model/value.js';
import type { Database } from '../database/database.js';
import type { StorageDeps } from '../storage/sr-access.js';
import { withSrs } from '../storage/storage-allowed-operations.js';
import { makeVdis, type NewVdi, type Relate } from '../storage/vdi-making.js';
import { emptyVdi } from '../storage/vdis.js';
import { blockDevice } from '../vm-records/block-devices.js';

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
 * @param relate what goes with that, at once
 * @throws INVALID_VALUE for an order that is none, UUID_INVALID for its SR, what VDI.create throws; all is as it was then
 */
export async function makeDisks(deps: StorageDeps, task: CallTask, vm: Ref<'VM'>, relate: Relate<void>): Promise<void> {
  const { db } = deps;
  const orders = readOrders(db, db.get('VM', vm).other_config[disksKey] ?? '');
  const taken = db.get('VM', vm).VBDs.map((vbd) => db.get('VBD', vbd).userdevice);
  const devices = orders.map(({ device }) => {
    const userdevice = blockDevice(device, taken);
    taken.push(userdevice);
    return userdevice;
  });
  const disks = orders.map((order, index) => newDisk(db, vm, order, devices[index] ?? ''));
  const srs = orders.map(({ SR }) => SR);
  await withSrs(db, srs, 'vdi_create', task.ref, () =>
    makeVdis(deps, task, disks, (vdis, onUndo) => {
      for (const [index, VDI] of vdis.entries()) {
        const [userdevice = '', bootable = false] = [devices[index], orders[index]?.bootable];
        // Goes with the disk, where that goes.
        db.create('VBD', { VM: vm, VDI, userdevice, bootable, mode: 'RW', type: 'Disk', other_config: { owner: '' } });
      }
      const { other_config } = db.get('VM', vm);
      onUndo(() => db.update('VM', vm, { other_config }));
      db.removeFromMap('VM', vm, 'other_config', disksKey);
      relate(vdis, onUndo);
    }),
  );
}

function newDisk(db: Database, vm: Ref<'VM'>, { SR, size, type }: DiskOrder, userdevice: string): NewVdi {
  return emptyVdi({
    ...(recordWithDefaults('VDI') as RecordOf<'VDI'>),
    name_label: `disk ${userdevice}`,
    name_description: `of ${db.get('VM', vm).name_label}`,
    SR,
    virtual_size: size,
    type,
  });
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
