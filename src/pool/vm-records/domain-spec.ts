/** The domain that a VM's record describes, for the host that is to run it. */
import type { RecordOf, Ref } from '../../../idl/index.js';
import type { Backend } from '../../backend/backend.js';
import { defined } from '../../base/defined.js';
import type { DomainSpec } from '../../base/domain.js';
import type { Database, RecordView } from '../database/database.js';
import { blockDeviceNumber } from './block-devices.js';
import { domainMemory } from './memory-limits.js';

/** What describes domains. */
export interface DomainDeps {
  readonly db: Database;
  /** The check of the back end that the hosts of the pool have. */
  readonly checkSpec: Backend['checkSpec'];
}

/** Characters. A domain's name is for whoever looks at a host; what counts is the uuid. */
const longestName = 1024;

/** The fields of VM that are for the back end to read: maps, of which each key is a setting, and texts. */
const settingMaps = ['other_config', 'platform', 'HVM_boot_params'] as const;
const settingTexts = ['PV_kernel', 'PV_ramdisk', 'PV_args'] as const;

type SettingFields = Pick<RecordOf<'VM'>, (typeof settingMaps)[number] | (typeof settingTexts)[number]>;
type VmFields = SettingFields & Pick<RecordOf<'VM'>, 'uuid' | 'name_label' | 'memory_static_max' | 'VCPUs_max'>;

/** What a description says of a VM's devices. */
interface DeviceSettings {
  /** The device numbers of its virtual GPUs. */
  readonly vgpus: readonly string[];
  /** By class, device and field: `VBD:0:mode`. */
  readonly settings: Readonly<Record<string, string>>;
}

/** Those of a VM that has none. */
export const noDevices: DeviceSettings = { vgpus: [], settings: {} };

/**
 * Describe a VM's domain, with every setting of the record; the back end's check leaves those that count.
 * @throws INVALID_VALUE [field, value]
 */
export function domainSpec(vm: Readonly<VmFields>, devices: DeviceSettings): DomainSpec {
  const maps = settingMaps.flatMap((field) =>
    Object.entries(vm[field]).map(([key, value]) => [`${field}:${key}`, value] as const),
  );
  const texts = settingTexts.flatMap((field) => (vm[field] === '' ? [] : [[field, vm[field]] as const]));
  return {
    uuid: vm.uuid,
    name: vm.name_label.slice(0, longestName),
    memoryBytes: domainMemory(vm),
    vcpus: vm.VCPUs_max,
    vgpus: [...devices.vgpus].sort(),
    settings: { ...Object.fromEntries([...maps, ...texts]), ...devices.settings },
  };
}

/**
 * Describe the domain of a VM with its devices, as a host takes it.
 * @throws INVALID_VALUE [field, value] for what the record asks for and no domain can be
 */
export function vmDomain({ db, checkSpec }: DomainDeps, vm: RecordView<'VM'>): DomainSpec {
  return checkSpec(domainSpec(vm, devicesOf(db, vm)));
}

/** Keep with a VM what its back end has completed of its platform: the virtual hardware stays what it was at the first start. */
export function keepPlatform(db: Database, ref: Ref<'VM'>, spec: DomainSpec): void {
  const { platform } = db.get('VM', ref);
  const completed = settingsAsFields(spec).platform;
  db.update('VM', ref, { platform: { ...completed, ...platform } });
}

function devicesOf(db: Database, vm: RecordView<'VM'>): DeviceSettings {
  const disks = vm.VBDs.map((ref) => {
    const vbd = db.get('VBD', ref);
    return [`VBD:${blockDeviceNumber(vbd.userdevice) ?? vbd.userdevice}`, diskSettings(db, vbd)] as const;
  });
  const interfaces = vm.VIFs.map((ref) => {
    const vif = db.get('VIF', ref);
    return [`VIF:${vif.device}`, interfaceSettings(db, vif)] as const;
  });
  const settings = [...disks, ...interfaces].flatMap(([device, fields]) =>
    Object.entries(fields).map(([field, value]) => [`${device}:${field}`, value]),
  );
  return { vgpus: vm.VGPUs.map((ref) => db.get('VGPU', ref).device), settings: Object.fromEntries(settings) };
}

/** The key of VDI.sm_config that says what is in a volume: raw where it is absent, or qcow2. */
const formatKey = 'image-format';

function diskSettings(db: Database, { type, mode, bootable, VDI }: RecordView<'VBD'>): Record<string, string> {
  const vdi = db.find('VDI', VDI);
  return defined({
    ...{ type, mode, bootable: String(bootable) },
    format: vdi?.sm_config[formatKey],
    volume: vdi && `${db.get('SR', vdi.SR).uuid}/${vdi.location}`,
  });
}

/** The key of VIF.other_config that names an interface of the host, made beforehand, to which a VIF is connected. */
const tapKey = 'tap';

function interfaceSettings(db: Database, { MAC, network, other_config }: RecordView<'VIF'>): Record<string, string> {
  return defined({ MAC, bridge: db.find('network', network)?.bridge ?? '', tap: other_config[tapKey] });
}

/** The fields of a VM whose domain is made as this one is. */
export function settingsAsFields({ settings = {} }: DomainSpec): SettingFields {
  const ofField = (field: string) =>
    Object.entries(settings)
      .filter(([name]) => name.startsWith(`${field}:`))
      .map(([name, value]) => [name.slice(field.length + 1), value]);
  return Object.fromEntries([
    ...settingMaps.map((field) => [field, Object.fromEntries(ofField(field))]),
    ...settingTexts.map((field) => [field, settings[field] ?? '']),
  ]) as SettingFields;
}
