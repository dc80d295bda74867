/** A VM's record as its domain's life changes it; the devices' and the metrics' with it. */
import type { RecordOf, Ref } from '../../../idl/index.js';
import { nullRef } from '../../model/value.js';
import type { Database } from '../database/database.js';
import { linuxName } from './block-devices.js';
import { isSimulated } from './guest-kind.js';
import { withdrawDoubts } from './in-doubt.js';
import { domainMemory } from './memory-limits.js';

export interface Placement {
  readonly host: Ref<'host'>;
  readonly powerState: 'Running' | 'Paused';
  readonly domid: number;
}

/** Set a VM's record to its domain on a host. */
export function setResident(db: Database, ref: Ref<'VM'>, residence: Placement, now: Date): void {
  const vm = db.get('VM', ref);
  db.update('VM', ref, {
    power_state: residence.powerState,
    resident_on: residence.host,
    scheduled_to_be_resident_on: nullRef,
    domid: residence.domid,
    domarch: 'x86_64',
    memory_target: vm.memory_dynamic_max,
  });
  setMetrics(
    db,
    vm.metrics,
    {
      memory_actual: domainMemory(vm),
      VCPUs_number: vm.VCPUs_max,
      state: [residence.powerState.toLowerCase()],
      hvm: true,
      current_domain_type: 'hvm',
    },
    now,
  );
  if (vm.power_state !== 'Halted') return;
  const arrives = Object.values(vm.current_operations).includes('migrate_send');
  if (arrives) setArrived(db, ref, now);
  else setBooted(db, ref, now);
}

/** Set the record of a VM that has come from another pool: its guest goes on with the devices that it had. */
function setArrived(db: Database, ref: Ref<'VM'>, now: Date): void {
  const { VBDs, VGPUs } = db.get('VM', ref);
  for (const vbd of VBDs) if (db.get('VBD', vbd).currently_attached) attachVbd(db, vbd);
  for (const vgpu of VGPUs) db.update('VGPU', vgpu, { currently_attached: true });
  setGuest(db, ref, now);
}

/** Set a VM's record to a fresh boot, with all of its devices and a guest that tells of itself. */
export function setBooted(db: Database, ref: Ref<'VM'>, now: Date): void {
  const { VIFs, VBDs, VGPUs } = db.get('VM', ref);
  for (const vif of VIFs) db.update('VIF', vif, { currently_attached: true });
  for (const vbd of VBDs) attachVbd(db, vbd);
  for (const vgpu of VGPUs) db.update('VGPU', vgpu, { currently_attached: true });
  setGuest(db, ref, now);
}

function setGuest(db: Database, ref: Ref<'VM'>, now: Date): void {
  setMetrics(db, db.get('VM', ref).metrics, { start_time: now }, now);
  removeGuestMetrics(db, ref);
  const guest = isSimulated(db, ref) ? simulatedGuest : silentGuest;
  const told = { ...guest, networks: guestNetworks(db, ref), last_updated: now };
  db.update('VM', ref, { guest_metrics: db.create('VM_guest_metrics', told) });
}

/** Have a VM's guest, where there is one, tell of VIFs that have come or gone. */
export function updateGuestNetworks(db: Database, ref: Ref<'VM'>, now: Date): void {
  const { guest_metrics } = db.get('VM', ref);
  if (db.find('VM_guest_metrics', guest_metrics) === undefined) return;
  db.update('VM_guest_metrics', guest_metrics, { networks: guestNetworks(db, ref), last_updated: now });
}

/** The addresses that the simulated guest tells of its VIFs: link-local ones for each, made of the MAC address, as a guest without DHCP has. */
function guestNetworks(db: Database, ref: Ref<'VM'>): Record<string, string> {
  if (!isSimulated(db, ref)) return {};
  const found = db.get('VM', ref).VIFs.flatMap((vif): [string, string][] => {
    const { device, MAC, currently_attached } = db.get('VIF', vif);
    if (!currently_attached) return [];
    const bytes = MAC.split(':').map((byte) => Number.parseInt(byte, 16));
    if (bytes.length !== 6 || bytes.some(Number.isNaN)) return [];
    const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = bytes;
    // 169.254.1.0 to 169.254.254.255 are for hosts.
    const ipv4 = `169.254.${1 + (e % 254)}.${f}`;
    const groups = [((a ^ 2) << 8) | b, (c << 8) | 0xff, 0xfe00 | d, (e << 8) | f];
    const ipv6 = `fe80::${groups.map((group) => group.toString(16)).join(':')}`;
    return [
      [`${device}/ip`, ipv4],
      [`${device}/ipv4/0`, ipv4],
      [`${device}/ipv6/0`, ipv6],
    ];
  });
  return Object.fromEntries(found);
}

/** What the simulated guest tells: it has drivers for its devices, and does what it is asked to. */
const simulatedGuest: Partial<RecordOf<'VM_guest_metrics'>> = {
  os_version: { name: 'xenferry simulated guest', distro: 'simulated', major: '1', minor: '0' },
  PV_drivers_version: { major: '1', minor: '0', micro: '0', build: '0' },
  PV_drivers_up_to_date: true,
  PV_drivers_detected: true,
  other: {
    'feature-poweroff': '1',
    'feature-reboot': '1',
    'feature-shutdown': '1',
    'feature-suspend': '1',
  },
  live: true,
  can_use_hotplug_vbd: 'yes',
  can_use_hotplug_vif: 'yes',
};

/** A guest of which only what is outside of it is known. */
const silentGuest: Partial<RecordOf<'VM_guest_metrics'>> = {
  live: true,
  can_use_hotplug_vbd: 'no',
  can_use_hotplug_vif: 'no',
};

function removeGuestMetrics(db: Database, ref: Ref<'VM'>): void {
  const { guest_metrics } = db.get('VM', ref);
  if (db.find('VM_guest_metrics', guest_metrics) !== undefined) db.destroy('VM_guest_metrics', guest_metrics);
  db.update('VM', ref, { guest_metrics: nullRef });
}

/** Mark a VBD as attached, under the name that a Linux guest gives the device. */
export function attachVbd(db: Database, ref: Ref<'VBD'>): void {
  const { userdevice } = db.get('VBD', ref);
  db.update('VBD', ref, { currently_attached: true, device: linuxName(userdevice) ?? userdevice });
}

/** Mark a VBD as not attached. */
export function detachVbd(db: Database, ref: Ref<'VBD'>): void {
  db.update('VBD', ref, { currently_attached: false, device: '' });
}

/** Set a VM's record to no domain anywhere. */
export function setHalted(db: Database, ref: Ref<'VM'>, now: Date): void {
  leaveHost(db, ref, 'Halted');
  const metrics = { memory_actual: 0, VCPUs_number: 0, state: ['halted'], hvm: false };
  setMetrics(db, db.get('VM', ref).metrics, { ...metrics, current_domain_type: 'unspecified' }, now);
  removeGuestMetrics(db, ref);
  const { VIFs, VBDs, VGPUs } = db.get('VM', ref);
  for (const vif of VIFs) db.update('VIF', vif, { currently_attached: false });
  for (const vbd of VBDs) detachVbd(db, vbd);
  for (const vgpu of VGPUs) db.update('VGPU', vgpu, { currently_attached: false });
}

/** Set the record of a suspended VM that has come from another pool, with its suspend image. */
export function setArrivedSuspended(db: Database, ref: Ref<'VM'>, now: Date): void {
  setArrived(db, ref, now);
  setSuspended(db, ref, now);
}

/** Set a VM's record to its memory being in a suspend image. The VM keeps its devices, and what its guest has told. */
export function setSuspended(db: Database, ref: Ref<'VM'>, now: Date): void {
  leaveHost(db, ref, 'Suspended');
  const metrics = { memory_actual: 0, VCPUs_number: 0, state: ['suspended'] };
  setMetrics(db, db.get('VM', ref).metrics, metrics, now);
}

function leaveHost(db: Database, ref: Ref<'VM'>, power_state: 'Halted' | 'Suspended'): void {
  db.update('VM', ref, {
    power_state,
    resident_on: nullRef,
    scheduled_to_be_resident_on: nullRef,
    domid: -1,
    domarch: '',
    memory_target: 0,
  });
}

type Metrics = RecordOf<'VM_metrics'>;

function setMetrics(db: Database, ref: Ref<'VM_metrics'>, patch: Partial<Metrics>, now: Date): void {
  const generation = db.generation();
  if (db.find('VM_metrics', ref) === undefined) return;
  db.update('VM_metrics', ref, patch);
  if (db.generation() > generation) db.update('VM_metrics', ref, { last_updated: now });
}

/** Remove a VM's record with those of its metrics and devices. */
export function removeVm(db: Database, ref: Ref<'VM'>): void {
  const vm = db.find('VM', ref);
  if (vm === undefined) return;
  for (const vif of vm.VIFs) db.destroy('VIF', vif);
  for (const vbd of vm.VBDs) db.destroy('VBD', vbd);
  for (const vgpu of vm.VGPUs) db.destroy('VGPU', vgpu);
  for (const console of vm.consoles) db.destroy('console', console);
  removeGuestMetrics(db, ref);
  withdrawDoubts(db, vm.uuid);
  if (db.find('VM_metrics', vm.metrics) !== undefined) db.destroy('VM_metrics', vm.metrics);
  db.destroy('VM', ref);
}
