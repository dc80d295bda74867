/** The machine of a domain on this host: its description, with the files and interfaces that are here. */
import fs from 'node:fs';
import path from 'node:path';
import type { DomainSpec } from '../../base/domain.js';
import { invalidValue, messageOf, XapiError } from '../../base/errors.js';
import type { Disk, Machine } from './command-line.js';
import { type BlockDevice, type Description, describe, type Interface } from './description.js';

export interface MachineInit {
  readonly accelerator: Machine['accelerator'];
  /** Where the image of a volume is. */
  volumePath(sr: string, vdi: string): string;
  /** The UEFI firmware, and what the variables of a VM are at first. */
  readonly firmware: { readonly code: string; readonly variables: string };
  /** The directory of the variables of each VM. */
  readonly variablesDirectory: string;
  /** The directory that kernels and their first disks are in. */
  readonly kernelDirectory: string;
}

/**
 * Make the machine of a description that was checked.
 * @throws INVALID_VALUE [field, value] for what is not on this host
 */
export function makeMachine(init: MachineInit, spec: DomainSpec): Machine {
  const { uuid, name, memoryBytes, vcpus } = spec;
  const description = describe(spec);
  const { type, cpu, coresPerSocket, acpi, display } = description;
  return {
    ...{ uuid, name, memoryBytes, vcpus, type, cpu, coresPerSocket, acpi, display },
    accelerator: init.accelerator,
    boot: bootOf(init, description),
    disks: description.devices.map((device) => diskOf(init, description, device)),
    interfaces: description.interfaces.map((each) => {
      if (each.tap !== undefined) assertTap(each, each.tap);
      const index = description.order.indexOf('network');
      return {
        ...{ device: each.device, mac: each.mac },
        attachment: each.tap === undefined ? { kind: 'user' } : { kind: 'tap', tap: each.tap },
        ...(index === -1 ? {} : { bootIndex: bootIndex(index, each.device) }),
      };
    }),
  };
}

/** Those of a kind that comes earlier in the order before the others, and the lower numbers first. */
function bootIndex(kind: number, device: number): number {
  return kind * 1000 + device;
}

function diskOf(init: MachineInit, { order }: Description, { kind, volume, bootable, ...device }: BlockDevice): Disk {
  const index = order.indexOf(kind);
  const file = volume && init.volumePath(volume.sr, volume.vdi);
  if (file !== undefined) assertFile(`VBD:${device.device}:volume`, `${volume?.sr}/${volume?.vdi}`, file);
  return {
    ...{ ...device, kind },
    ...(file === undefined ? {} : { path: file }),
    ...(bootable && index !== -1 ? { bootIndex: bootIndex(index, device.device) } : {}),
  };
}

function bootOf(init: MachineInit, { vm, kernel, firmware }: Description): Machine['boot'] {
  if (kernel !== undefined) {
    const initrd = kernel.initrd === undefined ? undefined : inDirectory(init, 'PV_ramdisk', kernel.initrd);
    return {
      ...{ kind: 'kernel', kernel: inDirectory(init, 'PV_kernel', kernel.kernel), arguments: kernel.arguments },
      ...(initrd === undefined ? {} : { initrd }),
    };
  }
  if (firmware === 'bios') return { kind: 'bios' };
  const { code, variables } = init.firmware;
  assertFile('HVM_boot_params:firmware', firmware, code);
  const own = path.join(init.variablesDirectory, `${vm}.fd`);
  if (!fs.existsSync(own)) {
    assertFile('HVM_boot_params:firmware', firmware, variables);
    fs.mkdirSync(init.variablesDirectory, { recursive: true, mode: 0o700 });
    fs.copyFileSync(variables, `${own}.new`);
    fs.chmodSync(`${own}.new`, 0o600);
    fs.renameSync(`${own}.new`, own);
  }
  return { kind: 'uefi', code, variables: own };
}

/** A file that a client may name: whatever else is on the host is none of its business. @returns where it really is */
function inDirectory({ kernelDirectory }: MachineInit, field: string, file: string): string {
  try {
    const directory = fs.realpathSync(kernelDirectory);
    const real = fs.realpathSync(file);
    if (real.startsWith(`${directory}/`) && fs.statSync(real).isFile()) return real;
  } catch {
    // It is not there.
  }
  throw invalidValue(field, file, `a file in ${kernelDirectory}`);
}

function assertFile(field: string, value: string, file: string): void {
  try {
    if (fs.statSync(file).isFile()) return;
    throw new Error('it is no file');
  } catch (error) {
    throw new XapiError('INVALID_VALUE', [field, value], `${file}: ${messageOf(error)}`);
  }
}

/** A tap is made beforehand, for the user of the processes, and is on the bridge of the interface's network where there is that one. */
function assertTap({ device, bridge }: Interface, tap: string): void {
  const field = `VIF:${device}:tap`;
  const at = path.join('/sys/class/net', tap);
  if (!fs.existsSync(path.join(at, 'tun_flags'))) throw invalidValue(field, tap, 'a tap interface that is there');
  const on = path.join(at, 'master');
  const master = fs.existsSync(on) ? path.basename(fs.realpathSync(on)) : undefined;
  const hasBridge = fs.existsSync(path.join('/sys/class/net', bridge, 'bridge'));
  if (hasBridge && master !== bridge) throw invalidValue(field, tap, `a tap interface on the bridge ${bridge}`);
}
