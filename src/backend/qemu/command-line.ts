/** The command line of a QEMU process, from what its domain is. Pure. See `man qemu-system-x86_64`. */
import path from 'node:path';

interface Disk {
  /** The number of the VBD. */
  readonly device: number;
  /** Of the image file, absolute. */
  readonly path: string;
  readonly format: 'raw' | 'qcow2';
  readonly readOnly: boolean;
  readonly kind: 'disk' | 'cd';
  readonly bootable: boolean;
}

/** What an interface is attached to: QEMU's user-mode network, or a bridge of the host. */
type Attachment = { readonly kind: 'user' } | { readonly kind: 'bridge'; readonly bridge: string };

interface NetworkInterface {
  /** The number of the VIF. */
  readonly device: number;
  readonly mac: string;
  readonly attachment: Attachment;
}

/** How the guest comes up: from its disks by a firmware, or a kernel that is given. */
type Boot =
  | { readonly kind: 'bios' }
  | { readonly kind: 'uefi'; readonly code: string; readonly variables: string }
  | { readonly kind: 'kernel'; readonly kernel: string; readonly initrd?: string; readonly arguments: string };

/** A virtual machine as QEMU is told of it; the same at the source and the destination of a migration but for paths. */
export interface Machine {
  readonly uuid: string;
  readonly name: string;
  /** A multiple of the page size. */
  readonly memoryBytes: number;
  readonly vcpus: number;
  /** A versioned machine type, such as pc-i440fx-7.2: the VM keeps that of its first start. */
  readonly type: string;
  /** A CPU model with its flags. */
  readonly cpu: string;
  readonly accelerator: 'kvm' | 'tcg';
  readonly boot: Boot;
  readonly disks: readonly Disk[];
  readonly interfaces: readonly NetworkInterface[];
}

/** The files of a domain, in a directory of its own. */
export interface DomainPaths {
  readonly directory: string;
  /** Sockets of the machine protocol: the daemon's and the helper's. */
  readonly daemon: string;
  readonly helper: string;
  readonly serial: string;
  readonly serialLog: string;
  readonly vnc: string;
  readonly pid: string;
  readonly trace: string;
  readonly log: string;
}

/** Where the files of a domain are. @param directory absolute */
export function domainPaths(directory: string): DomainPaths {
  const at = (name: string) => path.join(directory, name);
  return {
    directory,
    daemon: at('daemon.qmp'),
    helper: at('helper.qmp'),
    serial: at('serial.sock'),
    serialLog: at('serial.log'),
    vnc: at('vnc.sock'),
    pid: at('pid'),
    trace: at('trace.log'),
    log: at('qemu.log'),
  };
}

/** The object inside QEMU whose identity is what xenferry keeps of the domain (mark.ts). */
export const markObject = 'xenferry.mark';

/** PCI slots: devices stay where they were, whatever else a VM has; a migration needs the same address on both sides. */
const slots = { display: 0x02, firstDisk: 0x08, firstInterface: 0x10, balloon: 0x18 } as const;

/**
 * The arguments of QEMU for one domain. It starts paused, whatever it is for: only `cont` lets it run.
 * @param mark the identity of the mark's object at the start
 * @param incoming whether its memory comes from a stream
 */
export function commandLine(machine: Machine, paths: DomainPaths, mark: string, incoming: boolean): readonly string[] {
  const { uuid, memoryBytes, vcpus, type, cpu, accelerator } = machine;
  const kibibytes = memoryBytes / 1024;
  return [
    ...['-name', `guest=${quoted(machine.name)},debug-threads=on`, '-uuid', uuid],
    ...['-no-user-config', '-nodefaults', '-display', 'none'],
    ...['-machine', `${type},memory-backend=ram0`, '-accel', acceleratorArgument(accelerator), '-cpu', cpu],
    ...['-smp', String(vcpus), '-m', `${kibibytes}k`],
    ...['-object', `memory-backend-memfd,id=ram0,size=${kibibytes}k,share=on`],
    ...['-object', `authz-simple,id=${markObject},identity=${quoted(mark)}`],
    ...monitor('daemon', paths.daemon),
    ...monitor('helper', paths.helper),
    ...[
      '-chardev',
      `socket,id=serial0,path=${paths.serial},server=on,wait=off,logfile=${paths.serialLog},logappend=on`,
    ],
    ...['-serial', 'chardev:serial0'],
    ...['-device', `VGA,addr=${slot(slots.display)}`, '-vnc', `unix:${paths.vnc}`],
    ...['-device', `virtio-balloon-pci,id=balloon0,addr=${slot(slots.balloon)}`],
    ...bootArguments(machine.boot),
    ...machine.disks.flatMap(diskArguments),
    ...machine.interfaces.flatMap(interfaceArguments),
    // The guest's own end leaves the process, for the toolstack to see; the trace tells a power-off from a reboot.
    ...['-action', 'reboot=shutdown,shutdown=pause,panic=pause'],
    ...['-trace', 'enable=qemu_system_shutdown_request', '-D', paths.trace],
    ...['-pidfile', paths.pid],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    '-S',
    ...(incoming ? ['-incoming', 'defer'] : []),
  ];
}

function monitor(name: string, socket: string): string[] {
  return ['-chardev', `socket,id=${name},path=${socket},server=on,wait=off`, '-mon', `chardev=${name},mode=control`];
}

/** The translation cache is kept small: by itself it takes up to a GiB of each domain. */
function acceleratorArgument(accelerator: Machine['accelerator']): string {
  return accelerator === 'tcg' ? 'tcg,tb-size=64' : accelerator;
}

function bootArguments(boot: Boot): string[] {
  switch (boot.kind) {
    case 'bios':
      return [];
    case 'uefi':
      return [boot.code, boot.variables].flatMap((file, unit) => [
        '-drive',
        `if=pflash,unit=${unit},format=raw,readonly=${unit === 0 ? 'on' : 'off'},file=${quoted(file)}`,
      ]);
    case 'kernel':
      return [
        ...['-kernel', boot.kernel],
        ...(boot.initrd === undefined ? [] : ['-initrd', boot.initrd]),
        ...(boot.arguments === '' ? [] : ['-append', boot.arguments]),
      ];
  }
}

function diskArguments(disk: Disk): string[] {
  const node = `disk${disk.device}`;
  const file = { driver: 'file', filename: disk.path, discard: 'unmap' };
  const block = { driver: disk.format, 'node-name': node, 'read-only': disk.readOnly, discard: 'unmap', file };
  const bootIndex = disk.bootable ? `,bootindex=${disk.kind === 'cd' ? 1 : 2}` : '';
  const device =
    disk.kind === 'cd'
      ? `ide-cd,drive=${node},bus=ide.1`
      : `virtio-blk-pci,drive=${node},addr=${slot(slots.firstDisk + disk.device)}`;
  return ['-blockdev', JSON.stringify(block), '-device', `${device},id=vbd${disk.device}${bootIndex}`];
}

function interfaceArguments({ device, mac, attachment }: NetworkInterface): string[] {
  const id = `net${device}`;
  const netdev = attachment.kind === 'user' ? `user,id=${id}` : `bridge,id=${id},br=${quoted(attachment.bridge)}`;
  const address = slot(slots.firstInterface + device);
  return [
    '-netdev',
    netdev,
    '-device',
    `virtio-net-pci,netdev=${id},id=vif${device},mac=${mac},addr=${address},romfile=`,
  ];
}

function slot(number: number): string {
  return `0x${number.toString(16)}`;
}

/** A value within a comma-separated option, in which a comma is doubled. */
function quoted(text: string): string {
  return text.replaceAll(',', ',,');
}
