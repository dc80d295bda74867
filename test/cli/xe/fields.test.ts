import { expect } from 'chai';
import { type ClassModel, classes } from '../../../idl/index.js';
import { fieldOf, fieldsOf, type NamedField, type XeClass, xeClasses } from '../../../src/cli/xe/fields.js';
import { surface } from '../../../src/model/surface.js';

const models: Readonly<Record<string, ClassModel>> = classes;

/** Fields for which no server has a value: they show what stands for none. */
const withoutSource = ['io_read_kbs', 'io_write_kbs', 'attachable', 'utilisation', 'supported-sr-types', 'secret'];

/** Fields of the model that xe does not show, of classes that it shows. A new field is in a file of `fields/`, or here. */
const withheld: Readonly<Record<string, readonly string[]>> = {
  role: ['subroles', 'is_internal'],
  task: ['backtrace'],
  pool: [
    'redo_log_enabled',
    'redo_log_vdi',
    'metadata_VDIs',
    'is_psr_pending',
    'repository_proxy_password',
    'local_auth_max_threads',
    'ext_auth_max_threads',
    'telemetry_uuid',
  ],
  pool_patch: ['version', 'pool_applied', 'other_config'],
  pool_update: ['key', 'vdi', 'other_config'],
  VM: [
    'scheduled_to_be_resident_on',
    'VIFs',
    'VUSBs',
    'crash_dumps',
    'PCI_bus',
    'domarch',
    'snapshot_metadata',
    'protection_policy',
    'is_snapshot_from_vmpp',
    'VGPUs',
    'attached_PCIs',
  ],
  host: [
    'cpu_configuration',
    'sched_policy',
    'PIFs',
    'crashdumps',
    'PBDs',
    'host_CPUs',
    'license_params',
    'bios_strings',
    'PCIs',
    'PGPUs',
    'PUSBs',
    'certificates',
    'editions',
  ],
  host_crashdump: ['other_config'],
  host_cpu: ['features', 'other_config'],
  network: ['allowed_operations', 'current_operations', 'assigned_ips'],
  VIF: ['status_code', 'status_detail', 'runtime_properties', 'metrics'],
  PIF: ['PCI'],
  Bond: ['other_config'],
  VLAN: ['other_config'],
  SM: ['version', 'other_config'],
  VBD: ['runtime_properties', 'metrics'],
  crashdump: ['other_config'],
  VTPM: ['current_operations', 'backend', 'persistence_backend'],
  secret: ['other_config'],
  network_sriov: ['configuration_mode'],
  PCI: [
    'class_id',
    'class_name',
    'vendor_id',
    'device_id',
    'subsystem_vendor_id',
    'subsystem_vendor_name',
    'subsystem_device_id',
    'subsystem_device_name',
  ],
  PGPU: ['supported_VGPU_max_capacities', 'compatibility_metadata'],
  GPU_group: ['GPU_types'],
  VGPU: ['scheduled_to_be_resident_on'],
  VGPU_type: ['max_resolution_y', 'implementation', 'identifier'],
  PUSB: ['other_config'],
  Repository: ['up_to_date'],
  Host_driver: ['friendly_name'],
  Caller: ['auto_registered'],
};

function endOfPath(className: string, path: readonly string[]): string | undefined {
  const type = models[className]?.fields[path[0] as string]?.type;
  if (type === undefined || path.length === 1) return type;
  return endOfPath(/^(?:set\()?ref:(\w+)/.exec(type)?.[1] ?? '', path.slice(1));
}

function messagesThatChange({ class: className }: XeClass, field: NamedField): string[] {
  const name = field.member ?? field.setter;
  const of = (...verbs: string[]) => verbs.map((verb) => `${className}.${verb}_${name}`);
  if (field.setKey !== undefined) return [`${className}.${field.setKey}`];
  if (field.whole) return [`${className}.set_${field.setter}`, `${className}.get_${field.setter}`];
  if (field.kind === 'RW') return of('set');
  if (field.kind === 'SRW') return of('add', 'remove');
  return field.kind === 'MRW' ? of('add_to', 'remove_from') : [];
}

describe('the classes that xe shows', () => {
  for (const shown of Object.values(xeClasses) as XeClass[]) {
    it(`${shown.command}: its fields are in the model, and can be changed where they say so`, () => {
      for (const field of fieldsOf(shown)) {
        const source = field.call ?? field.setter;
        if (field.call !== undefined) expect(surface.has(field.call), source).to.equal(true);
        else if (field.everyHost !== undefined) expect(endOfPath('host', [field.everyHost]), source).to.be.a('string');
        else if (!withoutSource.includes(field.name)) {
          expect(endOfPath(shown.class, field.setter.split('.')), `${field.name}: ${source}`).to.be.a('string');
        }
        for (const message of messagesThatChange(shown, field)) {
          expect(surface.has(message), `${field.name}: ${message}`).to.equal(true);
        }
      }
    });

    it(`${shown.command}: every field of the model is among them, or withheld`, () => {
      const shownNames = new Set(
        (Object.values(xeClasses) as XeClass[])
          .filter((each) => each.class === shown.class)
          .flatMap(fieldsOf)
          .flatMap(({ name, setter, call = '' }) => [
            name.replaceAll('-', '_'),
            setter.split('.')[0],
            call.replace(/^\w+\.(get_)?/, ''),
          ]),
      );
      const hidden = withheld[shown.class] ?? [];
      const names = Object.keys(models[shown.class]?.fields ?? {});
      const missing = names.filter((name) => !shownNames.has(name) && !hidden.includes(name));
      expect(missing.map((name) => `${shown.class}.${name}: src/cli/xe/fields does not show it`)).to.deep.equal([]);
      const stale = hidden.filter((name) => shownNames.has(name) || !names.includes(name));
      expect(stale.map((name) => `${shown.class}.${name} is not withheld`)).to.deep.equal([]);
    });

    it(`${shown.command}: its columns and filters are fields`, () => {
      const columns = shown.columns === 'all' ? [] : shown.columns;
      for (const name of [...columns, ...Object.keys(shown.where ?? {})])
        expect(fieldOf(shown, name).name).to.equal(name);
    });
  }
});
