/** The back end that the configuration chooses: what is wrong with what it says of it, and the back end itself. */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Backend } from './backend/backend.js';
import { emuProgram } from './backend/emu-manager.js';
import { checkSpec } from './backend/qemu/description.js';
import { makeMachine } from './backend/qemu/machine.js';
import { probeQemu, type QemuHost } from './backend/qemu/probe.js';
import type { DomainUser } from './backend/qemu/process.js';
import { createQemu } from './backend/qemu/qemu.js';
import { createSimulator } from './backend/simulator/simulator.js';
import { type Config, ConfigError, formatOrigin, type LoadedConfig } from './base/config/config.js';
import { messageOf, XapiError } from './base/errors.js';
import type { Log } from './base/log.js';
import { volumePath } from './host/storage/volume-file.js';

/** A back end that was opened. */
export interface OpenedBackEnd {
  readonly backend: Backend;
  /** Let go of what the start has begun, where the daemon cannot start. */
  discard(): Promise<void>;
}

export interface BackEndInit {
  readonly loaded: () => LoadedConfig;
  readonly log: Log;
  /** Called with the process of a hypervisor that was not there before. */
  readonly onHypervisorStarted: (pid: number) => void;
}

/**
 * Look at what the configuration says of its back end, as the start does.
 * @returns lines on what was found, and one for each key that cannot be used, with where it is set
 */
export async function backEndReport(loaded: LoadedConfig): Promise<{ notes: string[]; problems: string[] }> {
  if (loaded.config.backend === 'simulator') return { notes: [], problems: [] };
  try {
    const { host } = await lookAtQemu(loaded);
    return { notes: [found(host)], problems: [] };
  } catch (error) {
    return { notes: [], problems: [problemOf(error, loaded)] };
  }
}

/** @throws ConfigError for what the configuration says and cannot be */
export async function openBackEnd(init: BackEndInit): Promise<OpenedBackEnd> {
  const { config } = init.loaded();
  if (config.backend === 'simulator') return openSimulator(init);
  try {
    return await openQemu(init);
  } catch (error) {
    throw new ConfigError([problemOf(error, init.loaded())]);
  }
}

async function openSimulator({ loaded, onHypervisorStarted }: BackEndInit): Promise<OpenedBackEnd> {
  const { stateDir, simulatorMemory, memoryDir } = loaded().config;
  const backend = await createSimulator({
    stateDir,
    memoryBytes: simulatorMemory,
    memoryDirs: [memoryDir, stateDir],
    timeoutMs: () => loaded().config.backendTimeout * 1000,
    emuProgram: () => emuProgram(loaded().config.emuManager),
    onStarted: onHypervisorStarted,
  });
  return { backend, discard: backend.discard };
}

async function openQemu({ loaded, log }: BackEndInit): Promise<OpenedBackEnd> {
  const { config } = loaded();
  const { host, user } = await lookAtQemu(loaded());
  log.info(found(host));
  const { stateDir, qemuMemory, qemuOverhead } = config;
  if (user !== undefined) {
    // For its processes to get to the directories of their domains, and no further.
    fs.chownSync(stateDir, -1, user.gid);
    fs.chmodSync(stateDir, 0o710);
  }
  const machine = machineInit(config, host);
  const backend = await createQemu({
    ...{ stateDir, memoryBytes: qemuMemory, overheadBytes: qemuOverhead, log },
    ...{ program: host.program, accelerator: host.accelerator },
    ...(user === undefined ? {} : { user }),
    checkSpec: (spec) => checkSpec(spec, host.machineTypes, host.newestType),
    machineOf: (spec) => makeMachine(machine, spec),
    emuProgram: () => emuProgram(loaded().config.emuManager),
  });
  return { backend, discard: backend.close };
}

function machineInit(config: Config, { accelerator }: QemuHost): Parameters<typeof makeMachine>[0] {
  const { stateDir, qemuFirmware, qemuFirmwareVariables, qemuKernelDir } = config;
  return {
    accelerator,
    volumePath: (sr, vdi) => volumePath(path.join(stateDir, 'sr'), sr, vdi),
    firmware: { code: qemuFirmware, variables: qemuFirmwareVariables },
    variablesDirectory: path.join(stateDir, 'firmware'),
    kernelDirectory: qemuKernelDir,
  };
}

/** @throws INVALID_VALUE [key, value] with why as its cause */
async function lookAtQemu({ config }: LoadedConfig): Promise<{ host: QemuHost; user: DomainUser | undefined }> {
  const user = config.qemuUser === '' ? undefined : await userOf(config.qemuUser);
  return { host: await probeQemu(config.qemu, config.qemuAccelerator), user };
}

function found({ program, version, accelerator, withoutKvm, newestType }: QemuHost): string {
  const why = withoutKvm === undefined ? '' : ` (not kvm: ${withoutKvm})`;
  const { major, minor, micro } = version;
  return `${program} is QEMU ${major}.${minor}.${micro}: guests run by ${accelerator}${why}, new VMs are ${newestType}`;
}

/** Where a key is set, and what is wrong with it. */
function problemOf(error: unknown, { origins }: LoadedConfig): string {
  if (!(error instanceof XapiError && error.code === 'INVALID_VALUE')) return messageOf(error);
  const [key = '', value = ''] = error.params;
  const origin = origins[key as keyof typeof origins];
  const place = origin === undefined ? '' : `${formatOrigin(origin)}: `;
  const why = error.cause === undefined ? '' : `: ${messageOf(error.cause)}`;
  return `${place}${key} = ${value}${why}`;
}

/** @throws INVALID_VALUE [qemu-user, name] for nobody, and where this process may not be anybody else */
async function userOf(name: string): Promise<DomainUser> {
  const refused = (why: string) => new XapiError('INVALID_VALUE', ['qemu-user', name], why);
  if (process.getuid?.() !== 0) throw refused('only a daemon that is root can have processes of other users');
  const [user = '', group] = name.split(':');
  const idOf = async (database: string, key: string, field: number): Promise<number> => {
    const { stdout } = await promisify(execFile)('getent', [database, key]).catch(() => ({ stdout: '' }));
    const id = Number(stdout.split(':')[field] || Number.NaN);
    if (!Number.isInteger(id)) throw refused(`there is no ${database === 'group' ? 'group' : 'user'} ${key}`);
    return id;
  };
  const uid = await idOf('passwd', user, 2);
  return { uid, gid: group === undefined ? await idOf('passwd', user, 3) : await idOf('group', group, 2) };
}
