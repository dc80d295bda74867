/** The keys that choose the back end, and those of each back end. */
import { key } from './key-spec.js';
import { choice, path, program, size, sizeOrNone, userName } from './values.js';

const sharedMemory = '/dev/shm';
/** A container's default of 64 MiB is too small for guests. */
const usefulSharedMemory = 2 ** 29;

const mebibyte = 2 ** 20;

function threeQuarters({ memoryBytes }: { readonly memoryBytes: number }): number {
  return Math.max(1, Math.floor((memoryBytes * 0.75) / mebibyte)) * mebibyte;
}

export const backEndKeys = {
  backend: key({
    type: choice(['simulator', 'qemu']),
    default: 'simulator',
    atStart: true,
    doc: 'What runs the VMs of this host: simulator, guests that do nothing but write to their memory; or qemu, a QEMU process for each. The same on every host of a pool.',
  }),
  'memory-dir': key({
    type: path,
    default: '',
    derived: '/dev/shm where it is writable and of a useful size, else the state directory',
    derive: (environment, lookUp) =>
      environment.sharedMemoryBytes >= usefulSharedMemory ? sharedMemory : lookUp('state-dir'),
    atStart: true,
    doc: 'The directory for the memory of simulated domains; best on a tmpfs. What does not fit there goes to the state directory.',
  }),
  'simulator-memory': key({
    type: size,
    default: '',
    derived: "three quarters of the machine's memory",
    derive: threeQuarters,
    atStart: true,
    doc: 'How much memory simulated domains may have in all.',
  }),
  qemu: key({
    type: program,
    default: 'qemu-system-x86_64',
    atStart: true,
    doc: 'The QEMU program, for the back end qemu. Version 9.0 or newer, unless its domains run by kvm.',
  }),
  'qemu-accelerator': key({
    type: choice(['auto', 'kvm', 'tcg']),
    default: 'auto',
    atStart: true,
    doc: 'How QEMU runs its guests: kvm, by the processor; tcg, by translation; or auto, kvm where a small guest that is tried at the start runs by it, else tcg.',
  }),
  'qemu-memory': key({
    type: size,
    default: '',
    derived: "three quarters of the machine's memory",
    derive: threeQuarters,
    atStart: true,
    doc: 'How much memory the domains of QEMU may have in all, with qemu-overhead for each.',
  }),
  'qemu-overhead': key({
    type: sizeOrNone,
    default: '75MiB',
    atStart: true,
    doc: 'What a QEMU process is taken to need beyond the memory of its guest.',
  }),
  'qemu-user': key({
    type: userName,
    default: '',
    derived: "the daemon's own user",
    atStart: true,
    doc: 'The user that QEMU processes run as, a name or a number, with the group of its name or one behind a colon; the daemon must be root then.',
  }),
  'qemu-firmware': key({
    type: path,
    default: '/usr/share/OVMF/OVMF_CODE_4M.fd',
    atStart: true,
    doc: 'The UEFI firmware of VMs whose HVM_boot_params have firmware=uefi.',
  }),
  'qemu-firmware-variables': key({
    type: path,
    default: '/usr/share/OVMF/OVMF_VARS_4M.fd',
    atStart: true,
    doc: 'What the UEFI variables of a VM are at its first start; its own are in the state directory from then on.',
  }),
  'qemu-kernel-dir': key({
    type: path,
    default: '/boot',
    atStart: true,
    doc: "The directory that the files are in which a VM's PV_kernel and PV_ramdisk may name.",
  }),
} as const;
