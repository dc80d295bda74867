/** A pool with its local storage, and short ways to what the tests of storage do. */
import { join } from 'node:path';
import type { RecordOf, Ref } from '../../../idl/index.js';
import { nullRef, recordWithDefaults } from '../../../src/model/value.js';
import type { Fixture } from '../fixture.js';

export const mib = 2 ** 20;
export const noVdi = nullRef as Ref<'VDI'>;

export interface NewTestSr {
  readonly type?: string;
  readonly config?: Record<string, string>;
  readonly size?: number;
  readonly shared?: boolean;
}

export function storageLab(f: Fixture) {
  const sr = f.pool.db.all('pool')[0]?.[1].default_SR as Ref<'SR'>;
  const { handlers } = f.pool.dispatch;
  const vdiRow = (ref: Ref<'VDI'>) => f.pool.db.get('VDI', ref);
  const srRow = (ref = sr) => f.pool.db.get('SR', ref);
  const dirOf = (ref = sr, host = f.a): string => join(host.dir, 'sr', srRow(ref).uuid);
  return {
    /** The local SR of host a. */
    sr,
    handlers,
    vdiRow,
    srRow,
    dirOf,
    fileOf: (vdi: Ref<'VDI'>): string => join(dirOf(vdiRow(vdi).SR), `${vdiRow(vdi).location}.raw`),
    createVdi(given: Partial<RecordOf<'VDI'>> = {}) {
      const defaults = recordWithDefaults('VDI') as RecordOf<'VDI'>;
      const args = { ...defaults, name_label: 'disk', SR: sr, virtual_size: 8 * mib, ...given };
      return Promise.resolve(handlers.VDI.create(f.context(), args));
    },
    createSr(host = f.hostA, given: NewTestSr = {}) {
      const { type = 'file', config = {}, size = 0, shared = false } = given;
      const call = handlers.SR.create(f.context(), host, config, size, 'more', '', type, 'user', shared, {});
      return Promise.resolve(call);
    },
    /** A VBD of a VM that runs on host a. */
    attach(vdi: Ref<'VDI'>, mode: 'RO' | 'RW' = 'RW'): Ref<'VBD'> {
      const { db } = f.pool;
      const vm = db.create('VM', { name_label: 'user', resident_on: f.hostA, power_state: 'Running' });
      return db.create('VBD', { VM: vm, VDI: vdi, type: 'Disk', mode, userdevice: '0', currently_attached: true });
    },
    createPbd(host: Ref<'host'>, SR: Ref<'SR'>) {
      const defaults = recordWithDefaults('PBD') as RecordOf<'PBD'>;
      return Promise.resolve(handlers.PBD.create(f.context(), { ...defaults, host, SR }));
    },
  };
}
