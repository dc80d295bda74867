/**
 * The command line of emu-manager, in the words of the real one, and arguments that the daemon passes only to a program that
 * supports them: `-compress_format`, `-compress_level`, `-compress_vgpu`, and those of convergence.
 */
import {
  type CompressionLevel,
  type ConvergenceRule,
  compressionLevelAllowed,
  convergenceStrategies,
  parseCompressionLevel,
} from '../../base/protocol/emu-protocol.js';

/** What holds where the daemon says nothing: libxc's rule. */
export const defaultRule: ConvergenceRule = { maxDowntimeMs: 0, maxRounds: 4, strategy: 'proceed' };

export interface RunArguments {
  readonly kind: 'run';
  readonly mode: 'save' | 'restore';
  /** Descriptors: commands come in on one, messages go out on the other. */
  readonly controlIn: number;
  readonly controlOut: number;
  /** The descriptor of the memory stream. */
  readonly fd: number;
  readonly domid: number;
  /** Whether the domain runs while most of it is copied. */
  readonly live: boolean;
  /** Descriptors of the virtual GPUs' streams, one for each `-dm vgpu:N`. */
  readonly vgpuFds: readonly number[];
  readonly storePort: number;
  readonly consolePort: number;
  readonly debugLog: boolean;
  /** Compress in the stream; a restore sees that from the stream. */
  readonly compress: boolean;
  /** Put a checksum of the whole stream at its end: with `compress`, unless `-compress_format 2` says otherwise. */
  readonly checksum: boolean;
  /** How hard: `auto`, or a level of zstd. */
  readonly compressionLevel: CompressionLevel;
  /** Compress the states of virtual GPUs as well: with `compress`, unless `-compress_vgpu false` says otherwise. */
  readonly compressVgpu: boolean;
  /** When a live save stops copying while the guest runs, and whether figures are told; absent where nothing is said of it. */
  readonly convergence?: ConvergenceRule;
  /** The inode of the socket that carries the memory stream to the other host, whichever process has it. */
  readonly link?: string;
}

export type Arguments = RunArguments | { readonly kind: 'supports'; readonly feature: string };

/** A command line that cannot be run. */
export class UsageError extends Error {
  /** Where to report it besides stderr, when the command line got as far as that. */
  readonly controlOut: number | undefined;

  constructor(message: string, controlOut: number | undefined) {
    super(message);
    this.name = 'UsageError';
    this.controlOut = controlOut;
  }
}

const modes: Readonly<Record<string, 'save' | 'restore'>> = {
  hvm_save: 'save',
  save: 'save',
  hvm_restore: 'restore',
  restore: 'restore',
};
const switches = ['-live', '-debuglog', '-compress', '-compress_vgpu'];
const compressFormats = ['2', '3'];
const convergence = ['-max_downtime', '-max_rounds'];
const numbers = ['-controlinfd', '-controloutfd', '-fd', '-domid', '-store_port', '-console_port', ...convergence];
const needed = ['-controlinfd', '-controloutfd', '-fd', '-mode', '-domid'];
const flags = [
  '-mode',
  '-dm',
  '-convergence',
  '-link',
  '-compress_format',
  '-compress_level',
  '-supports',
  ...numbers,
  ...switches,
];

/**
 * @param argv what follows the program's name; of a repeated flag the last one counts, but each `-dm` does
 * @throws UsageError naming the flag and what it may be
 */
export function parseArguments(argv: readonly string[]): Arguments {
  const values = new Map<string, string>();
  const vgpuFds: number[] = [];
  const fail = (message: string): never => {
    throw new UsageError(message, optionalNumber(values.get('-controloutfd') ?? valueAfter(argv, '-controloutfd')));
  };
  for (let index = 0; index < argv.length; index += 2) {
    const flag = argv[index] as string;
    const value = argv[index + 1];
    if (!flags.includes(flag)) fail(`unknown argument ${JSON.stringify(flag)}; allowed: ${flags.join(', ')}`);
    if (value === undefined) return fail(`${flag} needs a value: ${allowedValues(flag)}`);
    if (!isAllowed(flag, value)) fail(`${flag} ${JSON.stringify(value)}; allowed: ${allowedValues(flag)}`);
    values.set(flag, value);
    if (flag === '-dm' && value !== 'qemu') vgpuFds.push(Number(value.slice('vgpu:'.length)));
  }
  const feature = values.get('-supports');
  if (feature !== undefined) return { kind: 'supports', feature };
  const missing = needed.filter((flag) => !values.has(flag));
  if (missing.length > 0) fail(`missing: ${missing.map((flag) => `${flag} ${allowedValues(flag)}`).join(', ')}`);
  const link = values.get('-link');
  const numberOf = (flag: string) => Number(values.get(flag) ?? 0);
  const isOn = (flag: string) => values.get(flag) === 'true';
  return {
    kind: 'run',
    mode: modes[values.get('-mode') as string] as 'save' | 'restore',
    controlIn: numberOf('-controlinfd'),
    controlOut: numberOf('-controloutfd'),
    fd: numberOf('-fd'),
    domid: numberOf('-domid'),
    live: isOn('-live'),
    vgpuFds,
    storePort: numberOf('-store_port'),
    consolePort: numberOf('-console_port'),
    debugLog: isOn('-debuglog'),
    compress: isOn('-compress'),
    checksum: isOn('-compress') && values.get('-compress_format') !== '2',
    compressionLevel: parseCompressionLevel(values.get('-compress_level') ?? 'auto') ?? 'auto',
    compressVgpu: isOn('-compress') && values.get('-compress_vgpu') !== 'false',
    ...ruleOf(values),
    ...(link === undefined ? {} : { link }),
  };
}

function ruleOf(values: ReadonlyMap<string, string>): Pick<RunArguments, 'convergence'> {
  if (!['-convergence', ...convergence].some((flag) => values.has(flag))) return {};
  const maxDowntimeMs = Number(values.get('-max_downtime') ?? defaultRule.maxDowntimeMs);
  const maxRounds = Number(values.get('-max_rounds') ?? defaultRule.maxRounds);
  const strategy = convergenceStrategies.find((word) => word === values.get('-convergence')) ?? defaultRule.strategy;
  return { convergence: { maxDowntimeMs, maxRounds, strategy } };
}

function isAllowed(flag: string, value: string): boolean {
  if (numbers.includes(flag)) return optionalNumber(value) !== undefined;
  if (switches.includes(flag)) return value === 'true' || value === 'false';
  if (flag === '-mode') return Object.hasOwn(modes, value);
  if (flag === '-link') return /^\d{1,20}$/.test(value);
  if (flag === '-convergence') return convergenceStrategies.some((word) => word === value);
  if (flag === '-compress_format') return compressFormats.includes(value);
  if (flag === '-compress_level') return parseCompressionLevel(value) !== undefined;
  if (flag === '-dm') return value === 'qemu' || /^vgpu:\d{1,9}$/.test(value);
  return true;
}

function allowedValues(flag: string): string {
  if (numbers.includes(flag)) return 'a whole number';
  if (switches.includes(flag)) return 'true, false';
  if (flag === '-mode') return Object.keys(modes).join(', ');
  if (flag === '-link') return 'the inode of a socket';
  if (flag === '-convergence') return convergenceStrategies.join(', ');
  if (flag === '-compress_format') return compressFormats.join(', ');
  if (flag === '-compress_level') return compressionLevelAllowed;
  return flag === '-dm' ? 'qemu, vgpu:<descriptor>' : 'a feature';
}

function valueAfter(argv: readonly string[], flag: string): string | undefined {
  const at = argv.lastIndexOf(flag);
  return at === -1 ? undefined : argv[at + 1];
}

function optionalNumber(value: string | undefined): number | undefined {
  return value !== undefined && /^\d{1,10}$/.test(value) ? Number(value) : undefined;
}
