/** A daemon whose VMs are QEMU processes, as a client of its XenAPI sees them. */
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { vmRecord } from '../../../src/cli/client/vm-record.js';
import { login, type XapiSession } from '../../../src/cli/client/xapi-client.js';
import { qemuProgram } from '../../backend/qemu/memtest.js';
import { eventually } from '../../hypervisor/hypervisor-process.js';
import { type Daemon, openSite, type Site } from '../daemon.js';

/**
 * A boot sector. It says `up` on the serial port; the power button turns it off, and so does a letter on that port: `o` turns it off,
 * `r` resets the machine, `c` tells of a panic, as Linux does.
 */
const bootSector = Buffer.alloc(512);
Buffer.from(
  [
    'fa31c08ed88ec08ed0bc007cb0ffe6a1', // real mode, no interrupt but the timer
    'ba0206b80001ef', // the power button shows in PM1_STS
    'baf803b075eeb070eeb00aee', // up
    'fbf4ba0006edf6c401751a', // wait for the timer; off, where the button was pressed
    'bafd03eca80174eebaf803ec', // a letter that has come
    '3c6f740a3c72740f3c637411ebdc',
    'ba0406b80020efebd3', // off: S5 to PM1_CNT
    'b0fee664ebcd', // reset by the keyboard controller
    'ba0505b001eeebc5', // panic by pvpanic
  ].join(''),
  'hex',
).copy(bootSector);
bootSector.writeUInt16BE(0x55aa, 510);

export interface QemuSite extends Site {
  /** Start the daemon, and log in. */
  enter(): Promise<Daemon>;
  /** Start the daemon as a member of another one's pool. */
  join(coordinator: Daemon, its: Site): Promise<Daemon>;
  call<T>(method: string, ...params: unknown[]): Promise<T>;
  /** A halted VM that boots from a disk of its own, with such fields of its record. */
  vm(fields?: Readonly<Record<string, unknown>>): Promise<string>;
  /** Make a disk of a VM, of 1 MiB. @returns its image */
  disk(vm: string, userdevice: string, fields?: Readonly<Record<string, unknown>>): Promise<string>;
  /** A field of a VM. */
  field<T = string>(vm: string, field: string): Promise<T>;
  /** Wait until a VM has the state, as a domain other than this. @returns its domid */
  until(vm: string, state: string, domid?: string): Promise<string>;
  /** Wait until the guest of a domain is up. */
  up(domid: string): Promise<void>;
  /** Send a letter to the guest's serial port. */
  send(domid: string, letter: string): Promise<void>;
  /** The process of a domain. */
  process(domid: string): number;
  directoryOf(domid: string): string;
}

const mebibyte = 2 ** 20;

/** A place for one daemon with QEMU; `close` ends its domains as well. */
export function openQemuSite(...lines: string[]): QemuSite {
  const site = openSite();
  // For the processes of another user to get to their sockets.
  fs.chmodSync(site.directory, 0o711);
  const configure = (...more: string[]) =>
    site.configure(
      'backend = qemu',
      `qemu = ${qemuProgram}`,
      'qemu-accelerator = tcg',
      'qemu-memory = 1GiB',
      ...lines,
      ...more,
    );
  configure();
  let session: XapiSession;
  const call = <T>(method: string, ...params: unknown[]) => session.call<T>(method, ...params);
  const field = <T = string>(vm: string, name: string) => call<T>(`VM.get_${name}`, vm);
  const directoryOf = (domid: string) => path.join(site.stateDir, 'qemu', domid);
  const processOf = (domid: string) => Number(fs.readFileSync(path.join(directoryOf(domid), 'pid'), 'latin1'));
  const disk = async (VM: string, userdevice: string, fields: Readonly<Record<string, unknown>> = {}) => {
    const [pool] = Object.values(await call<Record<string, { default_SR: string }>>('pool.get_all_records'));
    const SR = pool?.default_SR ?? '';
    const named = { name_label: 'disk', name_description: '', SR, virtual_size: mebibyte, type: 'user' };
    const rest = { sharable: false, read_only: false, other_config: {}, xenstore_data: {}, sm_config: {}, tags: [] };
    const VDI = await call<string>('VDI.create', { ...named, ...rest, ...fields });
    await call('VBD.create', { ...vbdOf(VM, userdevice), VDI, empty: false, mode: 'RW', type: 'Disk' });
    return path.join(site.stateDir, 'sr', await call('SR.get_uuid', SR), `${await call('VDI.get_uuid', VDI)}.raw`);
  };
  return {
    ...site,
    ...{ configure, call, field, directoryOf, process: processOf },
    async enter() {
      const daemon = await site.start();
      const password = fs.readFileSync(path.join(site.stateDir, 'root-password'), 'utf8').trim();
      session = await login({ url: daemon.url, username: 'root', password }, 'test');
      return daemon;
    },
    join(coordinator, its) {
      configure(`coordinator = ${coordinator.url}`, `pool-secret-file = ${path.join(its.stateDir, 'pool-secret')}`);
      return site.start();
    },
    disk,
    async vm(fields = {}) {
      const vm = await call<string>('VM.create', { ...vmRecord({ name: 'guest', memory: 16 * mebibyte }), ...fields });
      const file = fs.openSync(await disk(vm, '0'), 'r+');
      fs.writeSync(file, bootSector);
      fs.closeSync(file);
      return vm;
    },
    until: (vm, state, domid) =>
      eventually(async () => {
        if ((await field(vm, 'power_state')) !== state) return undefined;
        const now = String(await field(vm, 'domid'));
        return now === domid ? undefined : now;
      }),
    async up(domid) {
      await eventually(
        () => /^up$/m.test(fs.readFileSync(path.join(directoryOf(domid), 'serial.log'), 'latin1')) || undefined,
      );
    },
    async send(domid, letter) {
      const socket = net.connect(path.join(directoryOf(domid), 'serial.sock'));
      await new Promise<void>((resolve, reject) => {
        socket.on('error', reject);
        socket.write(letter, () => resolve());
      });
      socket.destroy();
    },
    async close() {
      const root = path.join(site.stateDir, 'qemu');
      const domains = fs.existsSync(root) ? fs.readdirSync(root).filter((name) => /^\d+$/.test(name)) : [];
      const pids = domains.filter((domid) => fs.existsSync(path.join(directoryOf(domid), 'pid'))).map(processOf);
      await site.close();
      for (const pid of pids) end(pid);
    },
  };
}

/** What block devices have in common. */
export function vbdOf(VM: string, userdevice: string): Record<string, unknown> {
  const quality = { qos_algorithm_type: '', qos_algorithm_params: {} };
  return { ...{ VM, userdevice, bootable: true, unpluggable: true, other_config: {} }, ...quality };
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}
