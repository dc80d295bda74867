/** A VM's record as its domain's life changes it; the devices' and the metrics' with it. */
import type { RecordOf, Ref } from '../../idl/index.js';
import { nullRef } from '../base/value.js';
import type { Database } from './database.js';

export interface Residence {
  readonly host: Ref<'host'>;
  readonly powerState: 'Running' | 'Paused';
  readonly domid: number;
}

/** The VM has a domain on a host. */
export function setResident(db: Database, ref: Ref<'VM'>, residence: Residence, now: Date): void {
  const vm = db.get('VM', ref);
  const booted = vm.power_state === 'Halted';
  db.update('VM', ref, {
    power_state: residence.powerState,
    resident_on: residence.host,
    scheduled_to_be_resident_on: nullRef,
    domid: residence.domid,
    memory_target: vm.memory_dynamic_max,
  });
  setMetrics(
    db,
    vm.metrics,
    {
      memory_actual: vm.memory_static_max,
      VCPUs_number: vm.VCPUs_max,
      state: [residence.powerState.toLowerCase()],
      hvm: true,
      current_domain_type: 'hvm',
      ...(booted ? { start_time: now } : {}),
    },
    now,
  );
  attachDevices(db, ref, true);
}

/** The VM has no domain anywhere. */
export function setHalted(db: Database, ref: Ref<'VM'>, now: Date): void {
  db.update('VM', ref, {
    power_state: 'Halted',
    resident_on: nullRef,
    scheduled_to_be_resident_on: nullRef,
    domid: -1,
  });
  const metrics = { memory_actual: 0, VCPUs_number: 0, state: ['halted'], hvm: false };
  setMetrics(db, db.get('VM', ref).metrics, { ...metrics, current_domain_type: 'unspecified' }, now);
  attachDevices(db, ref, false);
}

type Metrics = RecordOf<'VM_metrics'>;

function setMetrics(db: Database, ref: Ref<'VM_metrics'>, patch: Partial<Metrics>, now: Date): void {
  const generation = db.generation();
  if (db.find('VM_metrics', ref) === undefined) return;
  db.update('VM_metrics', ref, patch);
  if (db.generation() > generation) db.update('VM_metrics', ref, { last_updated: now });
}

function attachDevices(db: Database, ref: Ref<'VM'>, currently_attached: boolean): void {
  const { VIFs, VBDs, VGPUs } = db.get('VM', ref);
  for (const vif of VIFs) db.update('VIF', vif, { currently_attached });
  for (const vbd of VBDs) db.update('VBD', vbd, { currently_attached });
  for (const vgpu of VGPUs) db.update('VGPU', vgpu, { currently_attached });
}

/** Remove a VM's record with those of its metrics and devices. */
export function removeVm(db: Database, ref: Ref<'VM'>): void {
  const vm = db.find('VM', ref);
  if (vm === undefined) return;
  for (const vif of vm.VIFs) db.destroy('VIF', vif);
  for (const vbd of vm.VBDs) db.destroy('VBD', vbd);
  for (const vgpu of vm.VGPUs) db.destroy('VGPU', vgpu);
  for (const console of vm.consoles) db.destroy('console', console);
  if (db.find('VM_metrics', vm.metrics) !== undefined) db.destroy('VM_metrics', vm.metrics);
  db.destroy('VM', ref);
}
