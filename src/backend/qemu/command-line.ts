/** The command line of a QEMU process, from what its domain is. Pure. See `man qemu-system-x86_64`. */
import path from 'node:path';

export interface Disk {
  /** The number of the VBD. */
  readonly device: number;
  /** Of the image file, absolute; absent for a drive without a medium. */
  readonly path?: string;
  readonly format: 'raw' | 'qcow2';
  readonly readOnly: boolean;
  readonly kind: 'disk' | 'cd';
  /** The lower, the earlier it is booted from; not at all where absent. */
  readonly bootIndex?: number;
}

/** What an interface is attached to: QEMU's user-mode network, or a tap of the host that is there. */
type Attachment = { readonly kind: 'user' } | { readonly kind: 'tap'; readonly tap: string };

interface NetworkInterface {
  /** The number of the VIF. */
  readonly device: number;
  readonly mac: string;
  readonly attachment: Attachment;
  readonly bootIndex?: number;
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
  /** Of which the number of vCPUs is a multiple. */
  readonly coresPerSocket: number;
  readonly acpi: boolean;
  readonly display: { readonly kind: 'std' | 'cirrus'; readonly mebibytes: number };
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

/** A file that is opened for a process, which may not be allowed to open it itself. */
export interface OpenedFile {
  readonly path: string;
  readonly writable: boolean;
}

/**
 * The files of a machine that are opened for its process, in the order in which it gets them, from descriptor 3 on. One that it
 * writes to it gets to read from as well, as QEMU opens some so first.
 */
export function openedFiles({ disks, boot }: Machine): readonly OpenedFile[] {
  const variables = boot.kind === 'uefi' ? [{ path: boot.variables, writable: true }] : [];
  const images = disks.flatMap(({ path: image, readOnly }) =>
    image === undefined ? [] : [{ path: image, writable: !readOnly }],
  );
  return [...images, ...variables].flatMap((file) => (file.writable ? [file, { ...file, writable: false }] : [file]));
}

const firstFile = 3;

/**
 * The arguments of QEMU for one domain. It starts paused, whatever it is for: only `cont` lets it run.
 * @param mark the identity of the mark's object at the start
 * @param incoming whether its memory comes from a stream
 */
export function commandLine(machine: Machine, paths: DomainPaths, mark: string, incoming: boolean): readonly string[] {
  const { uuid, memoryBytes, vcpus, coresPerSocket, type, cpu, accelerator, display } = machine;
  const files = openedFiles(machine);
  const kibibytes = memoryBytes / 1024;
  return [
    ...['-name', `guest=${quoted(machine.name)},debug-threads=on`, '-uuid', uuid],
    ...['-no-user-config', '-nodefaults', '-display', 'none'],
    ...[
      '-machine',
      `${type},memory-backend=ram0${machine.acpi ? '' : ',acpi=off'}`,
      '-accel',
      acceleratorArgument(accelerator),
      '-cpu',
      cpu,
    ],
    ...['-smp', `${vcpus},sockets=${vcpus / coresPerSocket},cores=${coresPerSocket}`, '-m', `${kibibytes}k`],
    ...['-object', `memory-backend-memfd,id=ram0,size=${kibibytes}k,share=on`],
    ...['-object', `authz-simple,id=${markObject},identity=${quoted(mark)}`],
    ...monitor('daemon', paths.daemon),
    ...monitor('helper', paths.helper),
    ...[
      '-chardev',
      `socket,id=serial0,path=${paths.serial},server=on,wait=off,logfile=${paths.serialLog},logappend=on`,
    ],
    ...['-serial', 'chardev:serial0'],
    ...['-device', `${displayDevice(display)},addr=${slot(slots.display)}`, '-vnc', `unix:${paths.vnc}`],
    // Linux tells it of a panic.
    ...['-device', 'pvpanic'],
    ...files.flatMap((file, index) => ['-add-fd', `fd=${firstFile + index},set=${setOf(file.path, files)}`]),
    ...['-device', `virtio-balloon-pci,id=balloon0,addr=${slot(slots.balloon)}`],
    ...bootArguments(machine.boot, files),
    ...machine.disks.flatMap((disk) => diskArguments(disk, machine, files)),
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

function displayDevice({ kind, mebibytes }: Machine['display']): string {
  return `${kind === 'std' ? 'VGA' : 'cirrus-vga'},vgamem_mb=${mebibytes}`;
}

/** The set of the descriptors of one file. */
function setOf(file: string, files: readonly OpenedFile[]): number {
  return files.findIndex(({ path: each }) => each === file);
}

/** The name of a file that the process has got. */
function nameOf(file: string, files: readonly OpenedFile[]): string {
  return `/dev/fdset/${setOf(file, files)}`;
}

function bootArguments(boot: Boot, files: readonly OpenedFile[]): string[] {
  switch (boot.kind) {
    case 'bios':
      return [];
    case 'uefi':
      return [boot.code, nameOf(boot.variables, files)].flatMap((file, unit) => [
        '-drive',
        `if=pflash,unit=${unit},format=raw,readonly=${unit === 0 ? 'on' : 'off'},file=${quoted(file)}`,
      ]);
    case 'kernel':
      return [
        ...['-kernel', boot.kernel],
        ...(boot.initrd === undefined ? [] : ['-initrd', quoted(boot.initrd)]),
        ...(boot.arguments === '' ? [] : ['-append', boot.arguments]),
      ];
  }
}

function diskArguments(disk: Disk, { disks }: Machine, files: readonly OpenedFile[]): string[] {
  const node = `disk${disk.device}`;
  const options = [`id=vbd${disk.device}`, ...(disk.bootIndex === undefined ? [] : [`bootindex=${disk.bootIndex}`])];
  const drive = disk.path === undefined ? [] : [`drive=${node}`];
  const device = [disk.kind === 'cd' ? cdDrive(disk, disks) : diskDevice(disk), ...drive, ...options].join(',');
  if (disk.path === undefined) return ['-device', device];
  const file = { driver: 'file', filename: nameOf(disk.path, files), discard: 'unmap' };
  const block = { driver: disk.format, 'node-name': node, 'read-only': disk.readOnly, discard: 'unmap', file };
  return ['-blockdev', JSON.stringify(block), '-device', device];
}

function diskDevice({ device }: Disk): string {
  return `virtio-blk-pci,addr=${slot(slots.firstDisk + device)}`;
}

/** The second channel first, as that has the CD drive of a machine that has one. */
function cdDrive(disk: Disk, disks: readonly Disk[]): string {
  const position = disks.filter(({ kind }) => kind === 'cd').indexOf(disk);
  return `ide-cd,bus=ide.${position < 2 ? 1 : 0},unit=${position % 2}`;
}

function interfaceArguments({ device, mac, attachment, bootIndex }: NetworkInterface): string[] {
  const id = `net${device}`;
  const netdev =
    attachment.kind === 'user' ? `user,id=${id}` : `tap,id=${id},ifname=${attachment.tap},script=no,downscript=no`;
  const address = slot(slots.firstInterface + device);
  // Without its ROM, unless that is to boot: what it has takes part in a migration.
  const boot = bootIndex === undefined ? 'romfile=' : `bootindex=${bootIndex}`;
  const options = `netdev=${id},id=vif${device},mac=${mac},addr=${address},${boot}`;
  return ['-netdev', netdev, '-device', `virtio-net-pci,${options}`];
}

function slot(number: number): string {
  return `0x${number.toString(16)}`;
}

/** A value within a comma-separated option, in which a comma is doubled. */
function quoted(text: string): string {
  return text.replaceAll(',', ',,');
}
