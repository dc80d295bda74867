/** VM.*: fields with a rule of their own. */

import { invalidValue } from '../../../base/errors.js';
import type { ClassHandlers } from '../../../model/handlers.js';
import { copyBiosStrings, setBiosStrings } from '../../vm-records/bios-strings.js';
import { assertAllowed, badPowerState } from '../../vm-records/vm-allowed-operations.js';
import type { HandlerDeps } from '../deps.js';

type SettingMessage =
  | 'set_NVRAM'
  | 'add_to_NVRAM'
  | 'remove_from_NVRAM'
  | 'set_ha_restart_priority'
  | 'set_ha_always_run'
  | 'set_domain_type'
  | 'set_has_vendor_device'
  | 'set_bios_strings'
  | 'copy_bios_strings';

const restartPriorities = ['restart', 'best-effort', ''];

/** The handlers of a VM's settings. */
export function vmSettingHandlers({ db }: HandlerDeps): Pick<ClassHandlers<'VM'>, SettingMessage> {
  const assertHalted = (ref: Parameters<typeof assertAllowed>[1]): void => {
    const vm = db.get('VM', ref);
    if (vm.power_state !== 'Halted') throw badPowerState(ref, vm, ['Halted']);
  };
  return {
    async set_NVRAM(_context, vm, NVRAM) {
      assertAllowed(db, vm, 'changing_NVRAM');
      db.update('VM', vm, { NVRAM });
      await db.saved();
    },
    async add_to_NVRAM(_context, vm, key, value) {
      assertAllowed(db, vm, 'changing_NVRAM');
      db.addToMap('VM', vm, 'NVRAM', key, value);
      await db.saved();
    },
    async remove_from_NVRAM(_context, vm, key) {
      assertAllowed(db, vm, 'changing_NVRAM');
      db.removeFromMap('VM', vm, 'NVRAM', key);
      await db.saved();
    },
    async set_ha_restart_priority(_context, vm, value) {
      if (!restartPriorities.includes(value)) {
        throw invalidValue('ha_restart_priority', value, 'restart, best-effort, empty');
      }
      db.update('VM', vm, { ha_restart_priority: value });
      await db.saved();
    },
    async set_ha_always_run(_context, vm, value) {
      db.update('VM', vm, { ha_restart_priority: value ? 'restart' : '' });
      await db.saved();
    },
    async set_domain_type(_context, vm, value) {
      assertHalted(vm);
      const allowed = value === 'hvm' || value === 'unspecified';
      if (!allowed) throw invalidValue('domain_type', value, 'hvm');
      db.update('VM', vm, { domain_type: 'hvm' });
      await db.saved();
    },
    set_bios_strings: (_context, vm, value) => setBiosStrings(db, vm, value),
    copy_bios_strings: (_context, vm, host) => copyBiosStrings(db, vm, host),
    async set_has_vendor_device(_context, vm, value) {
      assertHalted(vm);
      db.update('VM', vm, { has_vendor_device: value });
      await db.saved();
    },
  };
}
