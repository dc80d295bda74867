/** Which fields mirror another field: the class and field that hold a reference, and the set at its target that lists them. */
import type { ClassName } from '../../../idl/index.js';

export interface Relation {
  readonly from: ClassName;
  readonly field: string;
  readonly to: ClassName;
  readonly set: string;
}

/** Every back reference of the model; the database keeps the sets right, nobody else writes them. */
const relations: readonly Relation[] = [
  { from: 'VIF', field: 'VM', to: 'VM', set: 'VIFs' },
  { from: 'VIF', field: 'network', to: 'network', set: 'VIFs' },
  { from: 'VBD', field: 'VM', to: 'VM', set: 'VBDs' },
  { from: 'VBD', field: 'VDI', to: 'VDI', set: 'VBDs' },
  { from: 'VGPU', field: 'VM', to: 'VM', set: 'VGPUs' },
  { from: 'console', field: 'VM', to: 'VM', set: 'consoles' },
  { from: 'VM', field: 'resident_on', to: 'host', set: 'resident_VMs' },
  { from: 'VM', field: 'snapshot_of', to: 'VM', set: 'snapshots' },
  { from: 'VM', field: 'parent', to: 'VM', set: 'children' },
  { from: 'PIF', field: 'host', to: 'host', set: 'PIFs' },
  { from: 'PIF', field: 'network', to: 'network', set: 'PIFs' },
  { from: 'PBD', field: 'host', to: 'host', set: 'PBDs' },
  { from: 'PBD', field: 'SR', to: 'SR', set: 'PBDs' },
  { from: 'host_cpu', field: 'host', to: 'host', set: 'host_CPUs' },
  { from: 'VDI', field: 'SR', to: 'SR', set: 'VDIs' },
  { from: 'VDI', field: 'snapshot_of', to: 'VDI', set: 'snapshots' },
  { from: 'VDI', field: 'metadata_of_pool', to: 'pool', set: 'metadata_VDIs' },
  { from: 'task', field: 'subtask_of', to: 'task', set: 'subtasks' },
];

/** The relations of the references that a class holds. */
export const relationsFrom = by('from');

/** The relations whose sets a class has. */
export const relationsTo = by('to');

function by(end: 'from' | 'to'): (cls: ClassName) => readonly Relation[] {
  const found = new Map<ClassName, Relation[]>();
  for (const relation of relations) found.set(relation[end], [...(found.get(relation[end]) ?? []), relation]);
  return (cls) => found.get(cls) ?? [];
}
