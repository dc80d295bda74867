/** The domain that a VM's record describes, for the host that is to run it. */
import type { RecordOf } from '../../../idl/index.js';
import type { Backend } from '../../backend/backend.js';
import type { DomainSpec } from '../../base/domain.js';
import type { Database, RecordView } from '../database/database.js';
import { domainMemory } from './memory-limits.js';

/** What describes domains. */
export interface DomainDeps {
  readonly db: Database;
  /** The check of the back end that the hosts of the pool have. */
  readonly checkSpec: Backend['checkSpec'];
}

/** Characters. A domain's name is for whoever looks at a host; what counts is the uuid. */
const longestName = 1024;

/** The fields of VM that are for the back end to read. */
const settingFields = ['other_config', 'platform'] as const;

type VmFields = Pick<
  RecordOf<'VM'>,
  'uuid' | 'name_label' | 'memory_static_max' | 'VCPUs_max' | (typeof settingFields)[number]
>;

/**
 * Describe a VM's domain, with every setting of the record; the back end's check leaves those that count.
 * @param vgpus the device numbers of its virtual GPUs
 * @throws INVALID_VALUE [field, value]
 */
export function domainSpec(vm: Readonly<VmFields>, vgpus: readonly string[]): DomainSpec {
  const settings = settingFields.flatMap((field) =>
    Object.entries(vm[field]).map(([key, value]) => [`${field}:${key}`, value] as const),
  );
  return {
    uuid: vm.uuid,
    name: vm.name_label.slice(0, longestName),
    memoryBytes: domainMemory(vm),
    vcpus: vm.VCPUs_max,
    vgpus: [...vgpus].sort(),
    settings: Object.fromEntries(settings),
  };
}

/**
 * Describe the domain of a VM with its virtual GPUs, as a host takes it.
 * @throws INVALID_VALUE [field, value] for what the record asks for and no domain can be
 */
export function vmDomain({ db, checkSpec }: DomainDeps, vm: RecordView<'VM'>): DomainSpec {
  const devices = vm.VGPUs.map((vgpu) => db.get('VGPU', vgpu).device);
  return checkSpec(domainSpec(vm, devices));
}

/** The fields of a VM whose domain is made as this one is. */
export function settingsAsFields({ settings = {} }: DomainSpec): Pick<VmFields, (typeof settingFields)[number]> {
  const ofField = (field: string) =>
    Object.entries(settings)
      .filter(([name]) => name.startsWith(`${field}:`))
      .map(([name, value]) => [name.slice(field.length + 1), value]);
  return {
    other_config: Object.fromEntries(ofField('other_config')),
    platform: Object.fromEntries(ofField('platform')),
  };
}
