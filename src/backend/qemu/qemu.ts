/**
 * The back end `qemu`: each domain is a QEMU process of its own (domain.ts), in a directory of its own below that of the back end.
 * Processes outlive the daemon, which finds them again by their directories. Memory is accounted here: QEMU starts with more than
 * a host has without a word.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import type { DomainHandle, DomainInfo, DomainSpec } from '../../base/domain.js';
import { XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { socketPathLimit } from '../../base/protocol/hypervisor-protocol.js';
import type { Backend } from '../backend.js';
import { type EmuProgram, emuProgram } from '../emu-manager.js';
import { domainPaths, type Machine } from './command-line.js';
import { createQemuDomain, type DomainInit, openQemuDomain, type QemuDomain } from './domain.js';
import { type Accelerator, assertSound, versionOf } from './probe.js';
import type { DomainUser } from './process.js';
import { createQemuSaveHelper } from './save-helper.js';

export interface QemuInit {
  /** Of this host alone; the directory `qemu` in it is the back end's. */
  readonly stateDir: string;
  /** Bytes that all domains together may have, overhead included. */
  readonly memoryBytes: number;
  /** The program, a name or a path. */
  readonly program: string;
  /** Whom the processes run as; the daemon's own user where absent. */
  readonly user?: DomainUser;
  /** How the processes run their guests. */
  readonly accelerator: Accelerator;
  /** What a process needs beyond its guest's memory, in bytes. */
  readonly overheadBytes: number;
  /** As `Backend.checkSpec`. */
  checkSpec(spec: DomainSpec): DomainSpec;
  /** @throws INVALID_VALUE [field, value] for what is not there to make the machine of */
  machineOf(spec: DomainSpec): Machine;
  /** The emu-manager of now; the one that comes with xenferry where absent. */
  readonly emuProgram?: () => EmuProgram;
  readonly log: Log;
}

/**
 * @throws INVALID_VALUE where the state directory's path is too long for sockets, where the program is no QEMU, and where memory does
 *   not survive a migration by it
 */
export async function createQemu(init: QemuInit): Promise<Backend> {
  const root = path.join(path.resolve(init.stateDir), 'qemu');
  assertShort(root);
  assertSound(init.program, await versionOf(init.program), init.accelerator);
  fs.mkdirSync(root, { recursive: true });
  // Whatever the umask: the user of a machine gets to its directory through this one.
  fs.chmodSync(root, 0o711);
  const registry = await openRegistry(init, root);
  const { domainOf } = registry;
  const account = createAccount(init, registry.all);
  const digests = new Map<number, string>();
  const destroy = async (handle: DomainHandle): Promise<void> => {
    await registry.find(handle)?.destroy();
    digests.delete(handle.domid);
    registry.forget(handle);
  };
  return {
    name: 'qemu',
    checkSpec: init.checkSpec,
    memory: async () => ({ total: init.memoryBytes, free: account.free() }),
    reserve: async (key, bytes) => account.reserve(key, bytes),
    release: async (key) => account.release(key),
    async create(spec, reservation) {
      registry.assertFreeName(spec.uuid);
      account.assertFree(spec.memoryBytes, reservation);
      const handle = registry.add(spec);
      if (reservation !== undefined) account.release(reservation);
      return handle;
    },
    build: async (handle) => domainOf(handle).start(false),
    list: async () => registry.all().map((domain) => domain.info()),
    async look(handle) {
      await registry.find(handle)?.refresh();
      return registry.find(handle)?.info();
    },
    specOf: async (handle) => ({ ...domainOf(handle).spec, uuid: domainOf(handle).info().uuid }),
    pause: async (handle, timeoutMs) => domainOf(handle).pause(timeoutMs),
    shutDownGuest: async (handle, timeoutMs) => domainOf(handle).shutDownGuest(timeoutMs),
    unpause: async (handle, token) => domainOf(handle).unpause(token),
    destroy,
    async destroyUnlessRan(handle) {
      if (registry.find(handle)?.info().everRan === true) return false;
      await destroy(handle);
      return true;
    },
    async rename(handle, uuid) {
      if (domainOf(handle).info().uuid === uuid) return;
      registry.assertFreeName(uuid);
      await domainOf(handle).rename(uuid);
    },
    markInDoubt: async (handle, reason) => domainOf(handle).markInDoubt(reason),
    async armDigest(handle) {
      digests.set(handle.domid, await digestOf(domainOf(handle)));
    },
    async digest(handle) {
      domainOf(handle);
      const armed = digests.get(handle.domid);
      if (armed === undefined) throw new XapiError('INTERNAL_ERROR', [`no digest of domain ${handle.domid} was armed`]);
      return armed;
    },
    processId: async () => undefined,
    saveHelper: () => createQemuSaveHelper(init.emuProgram?.() ?? emuProgram(''), root, domainOf),
    onDomainChange: registry.onChange,
    async close() {
      for (const domain of registry.all()) domain.close();
    },
  };
}

type Change = DomainInfo | { readonly gone: string };

/** The domains of the back end, by their handles. */
interface Registry {
  all(): readonly QemuDomain[];
  find(handle: DomainHandle): QemuDomain | undefined;
  /** @throws HANDLE_INVALID */
  domainOf(handle: DomainHandle): QemuDomain;
  /** @throws DOMAIN_EXISTS */
  assertFreeName(uuid: string): void;
  add(spec: DomainSpec): DomainHandle;
  forget(handle: DomainHandle): void;
  onChange(listener: (change: Change) => void): void;
}

/** Find the domains that an earlier run of the daemon has left, and remove what is left of those that are gone. */
async function openRegistry(init: QemuInit, root: string): Promise<Registry> {
  const ids = openIds(root);
  const domains = new Map<number, QemuDomain>();
  const { tell, onChange } = createAnnouncer();
  const forget = (domid: number): void => {
    const domain = domains.get(domid);
    domains.delete(domid);
    if (domain !== undefined) tell({ gone: domain.info().uuid });
  };
  const initOf = (domid: number, spec: DomainSpec): DomainInit => {
    const paths = domainPaths(path.join(root, String(domid)));
    return {
      handle: { instance: ids.instance, domid },
      spec,
      paths,
      program: init.program,
      machineOf: init.machineOf,
      ...(init.user === undefined ? {} : { user: init.user }),
      onChange: () => {
        const domain = domains.get(domid);
        if (domain !== undefined) tell(domain.info());
      },
      onLost: () => {
        init.log.error(`domain ${domid}: QEMU has ended`, { log: paths.log });
        const lost = domains.get(domid);
        forget(domid);
        void lost?.destroy();
      },
    };
  };
  for (const domid of ids.known()) {
    const spec = JSON.parse(fs.readFileSync(specFile(root, domid), 'utf8')) as DomainSpec;
    const domain = await openQemuDomain(initOf(domid, spec));
    if (domain !== undefined) domains.set(domid, domain);
    else fs.rmSync(path.join(root, String(domid)), { recursive: true, force: true });
  }
  const find = ({ instance, domid }: DomainHandle) => (instance === ids.instance ? domains.get(domid) : undefined);
  return {
    all: () => [...domains.values()],
    find,
    domainOf(handle) {
      const domain = find(handle);
      if (domain === undefined) throw new XapiError('HANDLE_INVALID', ['domain', `${handle.instance}/${handle.domid}`]);
      return domain;
    },
    assertFreeName(uuid) {
      const holder = [...domains.values()].find((domain) => domain.info().uuid === uuid);
      if (holder !== undefined) throw new XapiError('DOMAIN_EXISTS', [uuid, String(holder.info().handle.domid)]);
    },
    add(spec) {
      const domid = ids.next();
      writeSpec(root, domid, spec);
      const domain = createQemuDomain(initOf(domid, spec));
      domains.set(domid, domain);
      tell(domain.info());
      return domain.info().handle;
    },
    forget(handle) {
      if (find(handle) !== undefined) forget(handle.domid);
    },
    onChange,
  };
}

/** Tell listeners of changes, of each once: of a change both the command and QEMU's event tell. */
function createAnnouncer() {
  const listeners: ((change: Change) => void)[] = [];
  const told = new Map<string, string>();
  return {
    onChange: (listener: (change: Change) => void) => void listeners.push(listener),
    tell(change: Change): void {
      if (!('gone' in change)) {
        const key = `${change.handle.instance}/${change.handle.domid}`;
        const text = JSON.stringify({ ...change, everRan: true });
        if (told.get(key) === text) return;
        told.set(key, text);
      }
      for (const listener of listeners) listener(change);
    },
  };
}

/** The memory of the host: what domains have with their overhead, and what was promised under keys. */
function createAccount({ memoryBytes: total, overheadBytes }: QemuInit, domains: () => readonly QemuDomain[]) {
  const promises = new Map<string, number>();
  const free = (but?: string): number => {
    const used = domains().reduce((sum, { spec }) => sum + spec.memoryBytes + overheadBytes, 0);
    const promised = [...promises].reduce((sum, [key, bytes]) => sum + (key === but ? 0 : bytes), 0);
    return Math.max(0, total - used - promised);
  };
  const assertFree = (bytes: number, but?: string): void => {
    const needed = bytes + overheadBytes;
    if (needed > free(but)) throw new XapiError('HOST_NOT_ENOUGH_FREE_MEMORY', [String(needed), String(free(but))]);
  };
  return {
    free: () => free(),
    assertFree,
    reserve(key: string, bytes: number): void {
      assertFree(bytes, key);
      promises.set(key, bytes + overheadBytes);
    },
    release: (key: string) => void promises.delete(key),
  };
}

/** The digest of a domain's memory, hexadecimal; its memory must stand still. */
async function digestOf(domain: QemuDomain): Promise<string> {
  const pid = domain.pid();
  if (pid === undefined) throw new XapiError('INTERNAL_ERROR', ['a domain without a process has no memory']);
  const { stdout } = await promisify(execFile)('sha256sum', ['--', memoryFile(pid)]);
  return stdout.slice(0, 64);
}

/** The file with a process's guest memory, which its own user can read. */
function memoryFile(pid: number): string {
  const directory = `/proc/${pid}/fd`;
  const found = fs.readdirSync(directory).find((fd) => {
    try {
      return fs.readlinkSync(path.join(directory, fd)).startsWith('/memfd:memory-backend-memfd');
    } catch {
      return false;
    }
  });
  if (found === undefined) throw new XapiError('INTERNAL_ERROR', [`process ${pid} has no guest memory`]);
  return path.join(directory, found);
}

/** Who domains are: an instance for each boot of the machine, as no process outlives that, and a number that is never used again. */
function openIds(root: string) {
  const file = path.join(root, 'instance.json');
  const boot = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  const kept = readIds(file);
  const current = kept?.boot === boot ? kept : { boot, instance: randomBytes(8).toString('hex'), last: 0 };
  const keep = () => {
    fs.writeFileSync(`${file}.new`, JSON.stringify(current), { mode: 0o600 });
    fs.renameSync(`${file}.new`, file);
  };
  if (current !== kept) {
    for (const domid of domidsIn(root)) fs.rmSync(path.join(root, domid), { recursive: true, force: true });
    keep();
  }
  return {
    instance: current.instance,
    known: () => domidsIn(root).map(Number),
    next(): number {
      current.last += 1;
      keep();
      return current.last;
    },
  };
}

function readIds(file: string): { boot: string; instance: string; last: number } | undefined {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function domidsIn(root: string): string[] {
  return fs.readdirSync(root).filter((name) => /^\d+$/.test(name));
}

function specFile(root: string, domid: number): string {
  return path.join(root, String(domid), 'spec.json');
}

/** A domain's directory appears with what it was made from in it, or not at all. */
function writeSpec(root: string, domid: number, spec: DomainSpec): void {
  const made = path.join(root, `new-${domid}`);
  fs.rmSync(made, { recursive: true, force: true });
  fs.mkdirSync(made, { mode: 0o700 });
  fs.writeFileSync(path.join(made, 'spec.json'), JSON.stringify(spec), { mode: 0o600 });
  fs.renameSync(made, path.join(root, String(domid)));
}

/** The longest name of a socket in a domain's directory, with room for its number. */
const longestSocket = '/1000000000/daemon.qmp';

function assertShort(root: string): void {
  if (Buffer.byteLength(root + longestSocket) <= socketPathLimit) return;
  const why = `${root}: the path of a Unix socket has at most ${socketPathLimit} bytes, and ${longestSocket.length} are for domains`;
  throw new XapiError('INVALID_VALUE', ['state directory', why]);
}
