/**
 * Whether guests run by kvm here. That /dev/kvm opens says little: within some virtual machines it opens, and a guest then fails,
 * or stands still, as soon as it is in 64-bit mode. So a guest of a few instructions is run, which gets there and says so.
 */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const probeTimeoutMs = 5_000;
const romBytes = 0x10000;

/** Instructions at 0xFE00 of a ROM in real mode: page tables at 0x1000, PAE, long mode, paging; then 0x10 to port 0xF4 in 64 bits. */
const start = Buffer.from(
  [
    'fa31c08ec08ed0bf0010b90018fcf3ab', // clear 12 KiB
    '26c70600100320', // PML4[0] = 0x2003
    '26c70600200330', // PDPT[0] = 0x3003
    '26c70600308300', // PD[0] = 2 MiB page at 0
    '66b8a00000000f22e0', // CR4 = PAE | PGE
    '66b8001000000f22d8', // CR3 = 0x1000
    '66b9800000c00f320d00010f30', // EFER.LME
    '66b8010000800f22c0', // CR0 = PG | PE
    '2e660f011670fe', // lgdt
    '66ea76fe0f000800', // far jump to 64 bits
    '8db40000', // (no operation)
    '0000000000000000', // GDT: null
    '00000000009a2000', // GDT: code, 64 bits
    '0f0060fe0f00', // its limit and address
    '48b89a7856341200000048c1e8202c02e6f4f4ebfd', // (0x123456789A >> 32) - 2 to port 0xF4, halt
  ].join(''),
  'hex',
);
/** A jump to it, where a processor begins. */
const reset = Buffer.from('ea00fe00f0', 'hex');
/** How QEMU exits when 0x10 is written to its debug port. */
const said = (0x10 << 1) | 1;

/**
 * Run the probe guest.
 * @param accelerator kvm, or tcg, by which it runs on every machine
 * @returns whether it has said that it runs
 */
export async function probeGuestRuns(program: string, accelerator: 'kvm' | 'tcg'): Promise<boolean> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'xenferry-probe-'));
  const rom = Buffer.alloc(romBytes);
  start.copy(rom, 0xfe00);
  reset.copy(rom, 0xfff0);
  const file = path.join(directory, 'rom');
  fs.writeFileSync(file, rom);
  const argv = [
    ...['-no-user-config', '-nodefaults', '-display', 'none', '-machine', 'pc', '-accel', accelerator],
    ...['-cpu', 'qemu64', '-m', '16', '-bios', file, '-no-reboot'],
    ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=1'],
  ];
  try {
    return await new Promise((resolve) => {
      execFile(program, argv, { timeout: probeTimeoutMs, killSignal: 'SIGKILL' }, (error) =>
        resolve(error?.code === said),
      );
    });
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/** Why guests do not run by kvm on this machine; undefined where they do. */
export async function kvmRefusal(program: string): Promise<string | undefined> {
  const cpu = fs.readFileSync('/proc/cpuinfo', 'latin1');
  if (!/^flags\s*:.*\b(vmx|svm)\b/m.test(cpu)) return 'the processor has neither vmx nor svm';
  try {
    fs.closeSync(fs.openSync('/dev/kvm', 'r+'));
  } catch (error) {
    return `/dev/kvm: ${(error as NodeJS.ErrnoException).code}`;
  }
  return (await probeGuestRuns(program, 'kvm')) ? undefined : 'a guest that was tried by it does not run';
}
