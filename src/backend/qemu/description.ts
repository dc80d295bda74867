/**
 * What a VM's record says to this back end, in the settings of its domain's description, and what is wrong with it. Pure, and the same
 * on every host: files and interfaces of a host are looked at when its process starts (machine.ts).
 *
 * | setting | says |
 * |---|---|
 * | `VM:uuid` | the VM, which this back end adds |
 * | `platform:machine-type`, `platform:cpu-model` | the virtual hardware; kept with the VM from its first start |
 * | `platform:cores-per-socket`, `platform:acpi`, `platform:vga`, `platform:videoram` (MiB) | as at xapi |
 * | `platform:vtpm`, `platform:secureboot` | refused where they ask for it |
 * | `HVM_boot_params:firmware`, `HVM_boot_params:order` | bios or uefi; letters of c (disks), d (CD drives), n (network) |
 * | `PV_kernel`, `PV_ramdisk`, `PV_args` | a kernel that is started instead |
 * | `VBD:N:type`, `mode`, `bootable`, `format`, `volume` | the block device N; the volume is SR/VDI, and absent from an empty drive |
 * | `VIF:N:MAC`, `bridge`, `tap` | the interface N; without a tap it is on QEMU's own network |
 */
import { z } from 'zod';
import type { DomainSpec } from '../../base/domain.js';
import { invalidValue, XapiError } from '../../base/errors.js';
import type { Machine } from './command-line.js';

export interface BlockDevice {
  readonly device: number;
  readonly kind: 'disk' | 'cd';
  readonly readOnly: boolean;
  readonly format: 'raw' | 'qcow2';
  readonly bootable: boolean;
  /** The uuids of its SR and its VDI; absent for a drive without a medium. */
  readonly volume?: { readonly sr: string; readonly vdi: string };
}

export interface Interface {
  readonly device: number;
  readonly mac: string;
  /** That its tap is on, where it has one. */
  readonly bridge: string;
  readonly tap?: string;
}

/** A description that was checked, in parts. */
export interface Description extends Pick<Machine, 'type' | 'cpu' | 'coresPerSocket' | 'acpi' | 'display'> {
  /** The uuid of its VM, whatever the domain is named on its way. */
  readonly vm: string;
  readonly firmware: 'bios' | 'uefi';
  readonly kernel?: { readonly kernel: string; readonly initrd?: string; readonly arguments: string };
  /** From what it boots, first of all. */
  readonly order: readonly ('disk' | 'cd' | 'network')[];
  readonly devices: readonly BlockDevice[];
  readonly interfaces: readonly Interface[];
}

type Settings = Readonly<Record<string, string>>;

/** What a guest may use on every host: what processors have had for ten years, and no more. */
const portableCpu = 'qemu64,+aes,+popcnt,+pni,+sse4.1,+sse4.2,+ssse3';
/** PCI slots for so many of each are kept free (command-line.ts). */
const mostDisks = 8;
const mostInterfaces = 8;
const mostDrives = 4;
const mostVcpus = 255;

/** Where a description says which VM's it is: a copy under way has another uuid. */
const vmKey = 'VM:uuid';

const read =
  /^(VM:uuid|platform:(machine-type|cpu-model|cores-per-socket|acpi|vga|videoram|vtpm|secureboot)|HVM_boot_params:(firmware|order)|PV_(kernel|ramdisk|args)|VBD:.*|VIF:.*)$/s;
const bootLetters = { c: 'disk', d: 'cd', n: 'network' } as const;
const uuid = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}';
const yes = ['true', '1', 'yes', 'on'];
const no = ['false', '0', 'no', 'off'];

/**
 * Check a description and complete it with the virtual hardware that its VM keeps.
 * @param machineTypes those that this host has
 * @param newestType what a VM gets that has none yet
 * @throws INVALID_VALUE [field, value]
 */
export function checkSpec(spec: DomainSpec, machineTypes: readonly string[], newestType: string): DomainSpec {
  const given = Object.entries(spec.settings ?? {}).filter(([key]) => read.test(key));
  const pinned = { [vmKey]: spec.uuid, 'platform:machine-type': newestType, 'platform:cpu-model': portableCpu };
  const { uuid: id, name, memoryBytes, vcpus, vgpus } = spec;
  const completed = {
    ...{ uuid: id, name, memoryBytes, vcpus, vgpus },
    settings: { ...pinned, ...Object.fromEntries(given) },
  };
  const { type } = describe(completed);
  if (!machineTypes.includes(type)) throw invalidValue('platform:machine-type', type, machineTypes.join(', '));
  return completed;
}

/** Read a description that is complete. @throws INVALID_VALUE [field, value] */
export function describe(spec: DomainSpec): Description {
  const settings = spec.settings ?? {};
  if (spec.vgpus.length > 0) throw invalidValue('VGPUs', spec.vgpus.join(' '), 'none: QEMU has no virtual GPUs here');
  if (spec.vcpus > mostVcpus) throw invalidValue('VCPUs_max', spec.vcpus, `at most ${mostVcpus}`);
  for (const key of ['platform:vtpm', 'platform:secureboot']) {
    const value = settings[key];
    if (value !== undefined && truth(key, value)) throw invalidValue(key, value, 'false: there is none here');
  }
  const kernel = kernelOf(settings);
  return {
    vm: settings[vmKey] ?? spec.uuid,
    type: matched(settings, 'platform:machine-type', /^(pc|q35)-[\w.-]+$/, 'a versioned type of machine'),
    cpu: matched(
      settings,
      'platform:cpu-model',
      /^[\w.-]+(,[+-]?[\w.=-]+)*$/,
      'a CPU model of QEMU, perhaps with flags',
    ),
    coresPerSocket: coresOf(settings, spec.vcpus),
    acpi: truth('platform:acpi', settings['platform:acpi'] ?? 'true'),
    display: displayOf(settings),
    firmware: oneOf(settings, 'HVM_boot_params:firmware', ['bios', 'uefi']),
    ...(kernel === undefined ? {} : { kernel }),
    order: orderOf(settings),
    devices: devicesOf(settings),
    interfaces: interfacesOf(settings),
  };
}

function matched(settings: Settings, key: string, pattern: RegExp, allowed: string): string {
  const value = settings[key] ?? '';
  if (!pattern.test(value)) throw invalidValue(key, value, allowed);
  return value;
}

/** The first of them where nothing is said. */
function oneOf<const W extends string>(settings: Settings, key: string, words: readonly [W, ...W[]]): W {
  const value = settings[key] ?? '';
  if (value === '') return words[0];
  const word = words.find((each) => each === value);
  if (word === undefined) throw invalidValue(key, value, words.join(', '));
  return word;
}

function truth(key: string, value: string): boolean {
  if (yes.includes(value)) return true;
  if (no.includes(value)) return false;
  throw invalidValue(key, value, 'true or false');
}

function coresOf(settings: Settings, vcpus: number): number {
  const key = 'platform:cores-per-socket';
  const text = settings[key] ?? '1';
  const cores = /^[1-9]\d{0,3}$/.test(text) ? Number(text) : 0;
  if (cores === 0 || vcpus % cores !== 0) throw invalidValue(key, text, `a number that ${vcpus} is a multiple of`);
  return cores;
}

function displayOf(settings: Settings): Machine['display'] {
  const kind = oneOf(settings, 'platform:vga', ['std', 'cirrus']);
  const key = 'platform:videoram';
  const text = settings[key] ?? (kind === 'std' ? '16' : '4');
  const sizes = kind === 'std' ? ['1', '2', '4', '8', '16', '32', '64', '128', '256'] : ['2', '4', '8', '16'];
  if (!sizes.includes(text)) throw invalidValue(key, text, sizes.join(', '));
  return { kind, mebibytes: Number(text) };
}

function kernelOf(settings: Settings): Description['kernel'] {
  const { PV_kernel: kernel = '', PV_ramdisk: initrd = '', PV_args = '' } = settings;
  for (const [field, value] of Object.entries({ PV_kernel: kernel, PV_ramdisk: initrd })) {
    if (value !== '' && !/^\/[^\0]*$/.test(value)) throw invalidValue(field, value, 'an absolute path');
  }
  if (/[\0\n]/.test(PV_args)) throw invalidValue('PV_args', PV_args, 'one line');
  if (kernel === '') {
    if (initrd !== '') throw invalidValue('PV_ramdisk', initrd, 'nothing where there is no PV_kernel');
    return undefined;
  }
  return { kernel, ...(initrd === '' ? {} : { initrd }), arguments: PV_args };
}

function orderOf(settings: Settings): Description['order'] {
  const key = 'HVM_boot_params:order';
  const text = settings[key] || 'cd';
  if (!/^[cdn]{1,3}$/.test(text)) throw invalidValue(key, text, 'letters of c, d and n');
  return [...new Set(text)].map((letter) => bootLetters[letter as keyof typeof bootLetters]);
}

const blockFields = z.strictObject({
  type: z.enum(['Disk', 'CD']),
  mode: z.enum(['RO', 'RW']),
  bootable: z.enum(['true', 'false']),
  format: z.enum(['raw', 'qcow2']).default('raw'),
  volume: z
    .string()
    .regex(new RegExp(`^${uuid}/${uuid}$`))
    .optional(),
});

const interfaceFields = z.strictObject({
  MAC: z.string().regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i),
  bridge: z.string().max(15),
  tap: z
    .string()
    .regex(/^[^\s/,]{1,15}$/)
    .optional(),
});

function devicesOf(settings: Settings): readonly BlockDevice[] {
  const devices = grouped(settings, 'VBD', blockFields).map(([device, fields]): BlockDevice => {
    const { type, mode, bootable, format, volume } = fields;
    const kind = type === 'CD' ? 'cd' : 'disk';
    if (kind === 'disk' && volume === undefined)
      throw invalidValue(`VBD:${device}`, type, 'a CD drive where it is empty');
    if (kind === 'disk' && device >= mostDisks)
      throw invalidValue('VBD.userdevice', device, `0 to ${mostDisks - 1} for a disk`);
    const [sr = '', vdi = ''] = (volume ?? '').split('/');
    return {
      ...{ device, kind, format, readOnly: kind === 'cd' || mode === 'RO', bootable: bootable === 'true' },
      ...(volume === undefined ? {} : { volume: { sr, vdi } }),
    };
  });
  const drives = devices.filter(({ kind }) => kind === 'cd');
  if (drives.length > mostDrives) throw invalidValue('VBDs', drives.length, `at most ${mostDrives} CD drives`);
  return devices;
}

function interfacesOf(settings: Settings): readonly Interface[] {
  return grouped(settings, 'VIF', interfaceFields).map(([device, { MAC, bridge, tap }]) => {
    if (device >= mostInterfaces) throw invalidValue('VIF.device', device, `0 to ${mostInterfaces - 1}`);
    // A group address is of nobody.
    if ((Number.parseInt(MAC.slice(0, 2), 16) & 1) === 1)
      throw invalidValue('VIF.MAC', MAC, 'the address of one interface');
    return { device, mac: MAC.toLowerCase(), bridge, ...(tap === undefined ? {} : { tap }) };
  });
}

/** The settings `CLASS:N:field` of each device, by their numbers. */
function grouped<T>(settings: Settings, cls: 'VBD' | 'VIF', schema: z.ZodType<T>): (readonly [number, T])[] {
  const found = new Map<string, Record<string, string>>();
  for (const [key, value] of Object.entries(settings)) {
    const [, device = '', field = ''] = key.startsWith(`${cls}:`) ? key.split(':') : [];
    if (field !== '') found.set(device, { ...found.get(device), [field]: value });
  }
  return [...found]
    .map(([device, fields]) => {
      if (!/^\d{1,3}$/.test(device))
        throw invalidValue(`${cls}.${cls === 'VBD' ? 'userdevice' : 'device'}`, device, 'a number');
      const parsed = schema.safeParse(fields);
      if (parsed.success) return [Number(device), parsed.data] as const;
      const field = String(parsed.error.issues[0]?.path[0] ?? '');
      throw new XapiError(
        'INVALID_VALUE',
        [`${cls}:${device}:${field}`, fields[field] ?? ''],
        z.prettifyError(parsed.error),
      );
    })
    .sort(([one], [other]) => one - other);
}
