/** VM.*: how much memory, and how many virtual CPUs. A domain has all of its memory from its start, and no more than that. */
import type { ClassHandlers } from '../../../model/handlers.js';
import { assertRange, mostVcpus } from '../../vm-records/create.js';
import { setMemoryLimits } from '../../vm-records/memory-limits.js';
import { assertAllowed } from '../../vm-records/vm-allowed-operations.js';
import type { HandlerDeps } from '../deps.js';

type MemoryMessage =
  | 'set_memory'
  | 'set_memory_limits'
  | 'set_memory_static_min'
  | 'set_memory_static_max'
  | 'set_memory_static_range'
  | 'set_memory_dynamic_min'
  | 'set_memory_dynamic_max'
  | 'set_memory_dynamic_range'
  | 'set_HVM_shadow_multiplier'
  | 'set_VCPUs_max'
  | 'set_VCPUs_at_startup'
  | 'compute_memory_overhead'
  | 'maximise_memory'
  | 'get_cooperative';

const mebibyte = 2 ** 20;

/** The handlers of a VM's memory and virtual CPUs. */
export function vmMemoryHandlers({ db }: HandlerDeps): Pick<ClassHandlers<'VM'>, MemoryMessage> {
  return {
    set_memory: (_context, vm, bytes) =>
      setMemoryLimits(db, vm, 'changing_memory_limits', {
        memory_static_max: bytes,
        memory_dynamic_min: bytes,
        memory_dynamic_max: bytes,
      }),
    set_memory_limits: (_context, vm, staticMin, staticMax, dynamicMin, dynamicMax) =>
      setMemoryLimits(db, vm, 'changing_memory_limits', {
        memory_static_min: staticMin,
        memory_static_max: staticMax,
        memory_dynamic_min: dynamicMin,
        memory_dynamic_max: dynamicMax,
      }),
    set_memory_static_min: (_context, vm, min) =>
      setMemoryLimits(db, vm, 'changing_static_range', { memory_static_min: min }),
    set_memory_static_max: (_context, vm, max) =>
      setMemoryLimits(db, vm, 'changing_static_range', { memory_static_max: max }),
    set_memory_static_range: (_context, vm, min, max) =>
      setMemoryLimits(db, vm, 'changing_static_range', { memory_static_min: min, memory_static_max: max }),
    set_memory_dynamic_min: (_context, vm, min) =>
      setMemoryLimits(db, vm, 'changing_dynamic_range', { memory_dynamic_min: min }),
    set_memory_dynamic_max: (_context, vm, max) =>
      setMemoryLimits(db, vm, 'changing_dynamic_range', { memory_dynamic_max: max }),
    set_memory_dynamic_range: (_context, vm, min, max) =>
      setMemoryLimits(db, vm, 'changing_dynamic_range', { memory_dynamic_min: min, memory_dynamic_max: max }),
    async set_HVM_shadow_multiplier(_context, vm, value) {
      assertAllowed(db, vm, 'changing_shadow_memory');
      assertRange('HVM_shadow_multiplier', value, 0, 1024);
      db.update('VM', vm, { HVM_shadow_multiplier: value });
      await db.saved();
    },
    async set_VCPUs_max(_context, vm, value) {
      assertAllowed(db, vm, 'changing_VCPUs');
      assertRange('VCPUs_max', value, db.get('VM', vm).VCPUs_at_startup, mostVcpus);
      db.update('VM', vm, { VCPUs_max: value });
      await db.saved();
    },
    async set_VCPUs_at_startup(_context, vm, value) {
      assertAllowed(db, vm, 'changing_VCPUs');
      assertRange('VCPUs_at_startup', value, 1, db.get('VM', vm).VCPUs_max);
      db.update('VM', vm, { VCPUs_at_startup: value });
      await db.saved();
    },
    // The simulated hypervisor takes nothing for itself.
    compute_memory_overhead: (_context, vm) => db.get('VM', vm).memory_overhead,
    maximise_memory(_context, vm, total) {
      const { memory_overhead } = db.get('VM', vm);
      return Math.max(0, Math.floor((total - memory_overhead) / mebibyte) * mebibyte);
    },
    get_cooperative(_context, vm) {
      db.get('VM', vm);
      return true;
    },
  };
}
