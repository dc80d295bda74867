/** BIOS strings of VMs: set once, by a caller, from a host, or, when a VM starts without any, those of every VM. */
import type { Ref } from '../../../idl/index.js';
import { invalidValue, XapiError } from '../../base/errors.js';
import { biosKeys, genericBiosStrings, longestBiosString } from '../../model/bios-strings.js';
import type { Database } from '../database/database.js';

type Strings = Readonly<Record<string, string>>;

/**
 * Set the BIOS strings that are given, and the others as every VM has them.
 * @throws VM_BIOS_STRINGS_ALREADY_SET, INVALID_VALUE [key, value] for an unknown key, and a value that is empty, long or not printable ASCII
 */
export function setBiosStrings(db: Database, vm: Ref<'VM'>, value: Strings): void {
  assertUnset(db, vm);
  for (const [key, text] of Object.entries(value)) {
    if (!biosKeys.some((known) => known === key)) throw invalidValue(key, text, biosKeys.join(', '));
    const fits = /^[\x20-\x7e]+$/.test(text) && text.length <= longestBiosString;
    if (!fits) throw invalidValue(key, text, `1 to ${longestBiosString} printable characters of ASCII`);
  }
  db.update('VM', vm, { bios_strings: { ...genericBiosStrings, ...value } });
}

/** Set the BIOS strings of a host, on which the VM is to start from then on. @throws VM_BIOS_STRINGS_ALREADY_SET, HANDLE_INVALID */
export function copyBiosStrings(db: Database, vm: Ref<'VM'>, host: Ref<'host'>): void {
  assertUnset(db, vm);
  db.update('VM', vm, { bios_strings: db.get('host', host).bios_strings, affinity: host });
}

/** Give a VM that starts the BIOS strings of every VM, where it has none. */
export function provideBiosStrings(db: Database, vm: Ref<'VM'>): void {
  if (isUnset(db, vm)) db.update('VM', vm, { bios_strings: genericBiosStrings });
}

function assertUnset(db: Database, vm: Ref<'VM'>): void {
  if (!isUnset(db, vm)) throw new XapiError('VM_BIOS_STRINGS_ALREADY_SET', []);
}

function isUnset(db: Database, vm: Ref<'VM'>): boolean {
  return Object.keys(db.get('VM', vm).bios_strings).length === 0;
}
