/** The machine of a host: its CPUs, BIOS strings, start, and the interface that has the host's address. */
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { type biosKeys, fixedBiosStrings, longestBiosString } from '../../model/bios-strings.js';

/** The CPUs as the processor describes itself; a field that the system does not tell is empty or 0. */
export interface CpuDescription {
  readonly vendor: string;
  readonly modelname: string;
  /** The clock rate in MHz. */
  readonly speed: number;
  readonly family: number;
  readonly model: number;
  readonly stepping: string;
  readonly flags: string;
}

export interface InterfaceDescription {
  readonly device: string;
  readonly mac: string;
  readonly netmask: string;
}

export interface MachineDescription {
  readonly cpu: CpuDescription;
  /** The interface that has the host's address; null where only the loopback has it. */
  readonly interface: InterfaceDescription | null;
  /** The machine's BIOS strings that the system tells. Absent from a host of an earlier version. */
  readonly bios?: Readonly<Record<string, string>> | undefined;
  /** When the machine has started, in seconds since 1970. Absent where the system does not tell. */
  readonly bootTime?: number | undefined;
}

/**
 * Describe the first CPU, from /proc/cpuinfo. Reading that file takes milliseconds on a machine with many CPUs: call this once.
 */
export function describeCpu(text = readOptional('/proc/cpuinfo')): CpuDescription {
  const [first = ''] = text.split('\n\n');
  const said = new Map(
    first.split('\n').map((line): [string, string] => {
      const [name = '', ...value] = line.split(':');
      return [name.trim(), value.join(':').trim()];
    }),
  );
  const number = (name: string): number => Math.trunc(Number(said.get(name) ?? 0)) || 0;
  return {
    vendor: said.get('vendor_id') ?? '',
    modelname: said.get('model name') ?? '',
    speed: number('cpu MHz'),
    family: number('cpu family'),
    model: number('model'),
    stepping: said.get('stepping') ?? '',
    flags: said.get('flags') ?? said.get('Features') ?? '',
  };
}

const dmiFiles: Readonly<Partial<Record<(typeof biosKeys)[number], string>>> = {
  'bios-vendor': 'bios_vendor',
  'bios-version': 'bios_version',
  'system-manufacturer': 'sys_vendor',
  'system-product-name': 'product_name',
  'system-version': 'product_version',
  'system-serial-number': 'product_serial',
  'baseboard-manufacturer': 'board_vendor',
  'baseboard-product-name': 'board_name',
  'baseboard-version': 'board_version',
  'baseboard-serial-number': 'board_serial',
};

/** The machine's BIOS strings; those that the system does not tell, or not to this user, are empty. */
export function describeBios(directory = '/sys/class/dmi/id'): Record<string, string> {
  const read = (file: string): string =>
    readOptional(`${directory}/${file}`)
      .replaceAll(/[^\x20-\x7e]/g, '')
      .trim()
      .slice(0, longestBiosString);
  const told = Object.entries(dmiFiles).map(([key, file]) => [key, read(file)]);
  return { ...Object.fromEntries(told), ...fixedBiosStrings };
}

/** When the machine has started, in seconds since 1970, from /proc/stat; undefined where that does not say it. */
export function describeBootTime(text = readOptional('/proc/stat')): number | undefined {
  const [, seconds] = /^btime (\d{1,12})$/m.exec(text) ?? [];
  return seconds === undefined ? undefined : Number(seconds);
}

/** The interface that has an address; null for the loopback, which is nobody's network, and for an unknown address. */
export function describeInterface(address: string, all = networkInterfaces()): InterfaceDescription | null {
  for (const [device, addresses] of Object.entries(all)) {
    const found = addresses?.find((each) => each.address === address && !each.internal);
    if (found !== undefined) return { device, mac: found.mac, netmask: found.netmask };
  }
  return null;
}

function readOptional(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
