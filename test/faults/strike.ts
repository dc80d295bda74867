/**
 * Faults as the harness puts them in: a rule of the plugin holds the migration at its step, something is broken from outside, and the
 * rule is taken away. What happens to a channel or its bytes the plugin does itself.
 */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { vmRecord } from '../../src/cli/client/vm-record.js';
import type { Act, Case, Compressor } from './cases.js';
import type { Pair, PairHost, PairVm } from './pair.js';
import { signal, until } from './processes.js';
import { fillerBytes } from './qemu.js';

/** A migration that is to be broken. */
export interface Target {
  readonly pair: Pair;
  readonly vm: PairVm;
  readonly source: PairHost;
  readonly destination: PairHost;
  readonly compressor: Compressor;
}

/** The keys of a host's configuration that choose a compressor; without compression nothing is chosen. */
export function compressorKeys(compressor: Compressor): Readonly<Record<string, string>> {
  return { 'migration-compressor': compressor === 'none' ? 'stream' : compressor };
}

/** Puts back what a fault took: restarts, continues, frees. Idempotent. */
export type Mend = () => Promise<void>;

/** The arguments of the rule that does it all by itself, or of the one that holds the step for the harness. */
export function ruleOf({ fault: { act } }: Case): Readonly<Record<string, string>> {
  switch (act.kind) {
    case 'fail':
      return { action: 'fail', message: 'broken on purpose' };
    case 'cut':
      return { action: 'cut', channel: act.channel, how: act.how };
    case 'corrupt':
      return { action: 'corrupt', channel: act.channel, how: act.how };
    default:
      return { action: 'stall' };
  }
}

/** Whether the rule holds the step until the harness has broken something. */
export function holds({ fault: { act } }: Case): boolean {
  return act.kind !== 'fail' && act.kind !== 'cut' && act.kind !== 'corrupt';
}

/** Whether the VM may be lost with the process that had it. */
export function losesPower({ fault: { act }, side, step }: Case): boolean {
  if (act.kind !== 'signal' || act.signal !== 'SIGKILL') return false;
  if (act.process !== 'qemu') return act.process === 'hypervisor';
  // Of two copies the one that is lost has to be the VM by then.
  const place = `${side} ${step}`;
  return act.of === 'source' ? !taken.has(place) : mayBeTaken.has(place);
}

/** Where the destination has the VM; and where it has, or may have it when the fault has come. */
const taken: ReadonlySet<string> = new Set(['source 4', 'source clean-up']);
const mayBeTaken: ReadonlySet<string> = new Set([
  ...['source 3', 'source run', ...taken],
  ...['destination 3', 'destination taken', 'destination unpausing', 'destination 4', 'destination done'],
]);

/** For how long a daemon is stopped, in milliseconds: longer than any step of a migration may take. */
const stoppedMs = 6_000;

/** Break what the harness breaks. @returns what puts it back */
export async function strike(target: Target, act: Act): Promise<Mend> {
  switch (act.kind) {
    case 'signal':
      return strikeProcess(target[act.of], act);
    case 'memory':
      return takeMemory(target);
    case 'disk':
      target[act.of].fillDisk(true);
      return once(async () => target[act.of].fillDisk(false));
    case 'zstd missing':
      return reconfigure(target, target[act.of], { zstd: '/nonexistent/zstd' });
    case 'old emu-manager':
      return reconfigure(target, target[act.of], { 'emu-manager': oldEmuManager(target[act.of]) });
    default:
      return async () => undefined;
  }
}

async function strikeProcess(host: PairHost, act: Extract<Act, { kind: 'signal' }>): Promise<Mend> {
  if (act.process === 'daemon' && act.signal === 'SIGSTOP') {
    // Nobody can ask it anything meanwhile.
    signal(host.daemon(), 'SIGSTOP');
    await delay(stoppedMs);
    signal(host.daemon(), 'SIGCONT');
    return async () => undefined;
  }
  if (act.process === 'daemon') {
    await host.kill();
    return () => host.restart();
  }
  const pids = await until(`a ${act.process} of ${host.name}`, 1500, () => {
    const found = host.processes(act.process);
    return found.length > 0 ? found : undefined;
  });
  for (const pid of pids) signal(pid, act.signal);
  // A guest that its host's administrator has stopped is nobody else's to let go on.
  if (act.process === 'qemu') {
    return async () => {
      for (const pid of pids) signal(pid, 'SIGCONT');
    };
  }
  // A helper that hangs is for its daemon to find out and to end.
  return async () => undefined;
}

const mebibyte = 2 ** 20;

/** Start another VM at the destination that leaves less than the migrating one needs. */
async function takeMemory({ pair, destination }: Target): Promise<Mend> {
  const free = Number(await pair.call('host.compute_free_memory', destination.ref));
  const memory = destination.backend === 'qemu' ? fillerBytes(free) : Math.floor(free / mebibyte - 4) * mebibyte;
  if (memory < 4 * mebibyte) return async () => undefined;
  const otherConfig = { 'simulator:profile': 'zero=100', 'simulator:dirty-pages-per-second': '0' };
  const ref = await pair.call<string>('VM.create', vmRecord({ name: 'filler', memory, otherConfig }));
  // Where it is refused the memory is promised to the other one: that is fine.
  await pair.call('VM.start_on', ref, destination.ref, false, false).catch(() => undefined);
  return async () => {
    if ((await pair.call('VM.get_power_state', ref)) === 'Running') await pair.call('VM.hard_shutdown', ref);
    await pair.call('VM.destroy', ref);
  };
}

async function reconfigure(target: Target, host: PairHost, keys: Readonly<Record<string, string>>): Promise<Mend> {
  const usual = compressorKeys(target.compressor);
  await host.configure({ ...usual, ...keys });
  return () => host.configure(usual);
}

const emuManager = fileURLToPath(new URL('../../src/emu-manager/main.js', import.meta.url));

/** A program as today's public ones are: it ends where it is given the option. */
function oldEmuManager(host: PairHost): string {
  const program = path.join(host.memory, 'emu-manager');
  const script = `#!/bin/sh
case " $* " in
*' -supports '*) echo false; exit 0 ;;
*' -compress '*) echo 'unknown option -compress' >&2; exit 1 ;;
esac
exec '${process.execPath}' '${emuManager}' "$@"
`;
  fs.writeFileSync(program, script, { mode: 0o755 });
  return program;
}

function once(mend: Mend): Mend {
  let done: Promise<void> | undefined;
  return () => {
    done ??= mend();
    return done;
  };
}
