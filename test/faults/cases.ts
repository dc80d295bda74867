/** The matrix of the sweep as data: what is broken, at which step of which side, under which compressor. */
import { type Side, type Step, steps } from '../../src/migrate/protocol.js';

export const compressors = ['stream', 'xenguest', 'none'] as const;
export type Compressor = (typeof compressors)[number];

export const backends = ['simulator', 'qemu'] as const;
export type BackendName = (typeof backends)[number];

type Channel = 'control' | 'memory' | 'vgpu';
const cuts = ['reset', 'close', 'silent', 'slow'] as const;
const corruptions = ['flip', 'truncate', 'trailing'] as const;

/** What a fault does when its step is reached. */
export type Act =
  | { readonly kind: 'fail' }
  | {
      readonly kind: 'signal';
      readonly process: 'daemon' | 'hypervisor' | 'qemu' | 'emu-manager' | 'zstd';
      readonly of: Side;
      readonly signal: 'SIGKILL' | 'SIGSTOP';
    }
  | { readonly kind: 'cut'; readonly channel: Channel; readonly how: (typeof cuts)[number] }
  | { readonly kind: 'corrupt'; readonly channel: Channel; readonly how: (typeof corruptions)[number] }
  /** Another VM takes what memory the destination has left. */
  | { readonly kind: 'memory' }
  | { readonly kind: 'disk'; readonly of: Side }
  | { readonly kind: 'zstd missing'; readonly of: Side }
  /** emu-manager is one that does not know -compress. */
  | { readonly kind: 'old emu-manager'; readonly of: Side };

export interface Fault {
  readonly name: string;
  readonly act: Act;
}

export interface Place {
  readonly side: Side;
  readonly step: Step;
}

export interface Case extends Place {
  /** `stream, source 2: kill -9 destination daemon`. */
  readonly id: string;
  readonly fault: Fault;
  readonly compressor: Compressor;
  /** The VM that migrates has a virtual GPU. */
  readonly vgpu: boolean;
}

const sides = ['source', 'destination'] as const satisfies readonly Side[];
const helpers = ['emu-manager', 'zstd'] as const;
const channels = ['control', 'memory', 'vgpu'] as const;

function bothSides(fault: (of: Side) => Fault): Fault[] {
  return sides.map(fault);
}

/** Every fault of the matrix. */
export const faults: readonly Fault[] = [
  { name: 'failure', act: { kind: 'fail' } },
  ...(['daemon', 'hypervisor', 'qemu', ...helpers] as const).flatMap((process) =>
    bothSides((of) => ({ name: `kill -9 ${of} ${process}`, act: { kind: 'signal', process, of, signal: 'SIGKILL' } })),
  ),
  ...(['daemon', 'qemu', ...helpers] as const).flatMap((process) =>
    bothSides((of) => ({ name: `SIGSTOP ${of} ${process}`, act: { kind: 'signal', process, of, signal: 'SIGSTOP' } })),
  ),
  ...channels.flatMap((channel) =>
    cuts.map((how): Fault => ({ name: `${channel} channel ${how}`, act: { kind: 'cut', channel, how } })),
  ),
  ...(['memory', 'vgpu'] as const).flatMap((channel) =>
    corruptions.map((how): Fault => ({ name: `${channel} stream ${how}`, act: { kind: 'corrupt', channel, how } })),
  ),
  { name: 'destination out of memory', act: { kind: 'memory' } },
  ...bothSides((of) => ({ name: `${of} disk full`, act: { kind: 'disk', of } })),
  ...bothSides((of) => ({ name: `${of} zstd missing`, act: { kind: 'zstd missing', of } })),
  ...bothSides((of) => ({ name: `${of} emu-manager without -compress`, act: { kind: 'old emu-manager', of } })),
];

/** Every step of both sides, in the order of the protocol's document. */
export const places: readonly Place[] = sides.flatMap((side) => steps[side].map((step): Place => ({ side, step })));

/** The steps of a side from one to another, both included. */
function span(side: Side, first: Step, last: Step): Place[] {
  const names: readonly Step[] = steps[side];
  return names.slice(names.indexOf(first), names.indexOf(last) + 1).map((step) => ({ side, step }));
}

/**
 * Where a helper runs for sure. The source's are started for the copy and have ended at point 2. The destination's zstd is
 * started with the memory channel; its emu-manager only when the source's copy has begun, which it needs to go on: it is there
 * when the source suspends.
 */
const helperRuns: Readonly<Record<`${Side} ${(typeof helpers)[number]}`, readonly Place[]>> = {
  'source emu-manager': [...span('source', 'copy', 'last round'), ...span('destination', 'copy', 'copy')],
  'source zstd': [...span('source', 'copy', 'last round'), ...span('destination', 'copy', 'copy')],
  'destination emu-manager': [...span('source', 'suspend', 'last round'), ...span('destination', 'copy', 'copy')],
  'destination zstd': [...span('source', 'copy', 'last round'), ...span('destination', 'copy', 'copy')],
};

/** Where a channel is open at the source, at whose end it is broken. */
const channelOpen: Readonly<Record<Channel, readonly Place[]>> = {
  control: [...span('source', '1-vgpu ACK', 'run'), ...span('destination', '1-vgpu', '4')],
  vgpu: [...span('source', '1-vgpu ACK', 'last round'), ...span('destination', '1-vgpu', 'copy')],
  memory: [...span('source', '1-mem ACK', 'last round'), ...span('destination', '1-mem', 'copy')],
};

function isAmong(places: readonly Place[], { side, step }: Place): boolean {
  return places.some((place) => place.side === side && place.step === step);
}

/** Where a VM's own process runs for sure: the source's until it is destroyed, the destination's once its restore has begun. */
const qemuRuns: Readonly<Record<Side, readonly Place[]>> = {
  source: [...span('source', 'prepare', 'clean-up'), ...span('destination', 'prepare', '4')],
  destination: [...span('source', 'suspend', 'clean-up'), ...span('destination', 'copy', 'done')],
};

/** What there is with one back end alone: QEMU has no virtual GPU and no hypervisor process, but a process for each VM. */
function isOf(backend: BackendName, { act }: Fault, { step }: Place): boolean {
  if (act.kind === 'signal' && act.process === 'hypervisor') return backend === 'simulator';
  if (act.kind === 'signal' && act.process === 'qemu') return backend === 'qemu';
  if (act.kind === 'signal' && act.process === 'daemon' && act.signal === 'SIGSTOP') return backend === 'qemu';
  const isAboutVgpu = /vgpu/.test(step) || ((act.kind === 'cut' || act.kind === 'corrupt') && act.channel === 'vgpu');
  return backend === 'simulator' || !isAboutVgpu;
}

/** Whether a combination can exist: the helper runs there, and the channel is open. */
function exists({ act }: Fault, place: Place, compressor: Compressor): boolean {
  if (act.kind === 'cut' || act.kind === 'corrupt') return isAmong(channelOpen[act.channel], place);
  if (act.kind === 'zstd missing') return compressor !== 'none';
  if (act.kind !== 'signal' || act.process === 'daemon' || act.process === 'hypervisor') return true;
  if (act.process === 'qemu') return isAmong(qemuRuns[act.of], place);
  if (act.process === 'zstd' && compressor !== 'stream') return false;
  return isAmong(helperRuns[`${act.of} ${act.process}`], place);
}

/** The whole matrix, the cases with the same compressor beside each other. */
export function allCases(backend: BackendName = 'simulator'): Case[] {
  return compressors.flatMap((compressor) =>
    places.flatMap((place) =>
      faults
        .filter((fault) => isOf(backend, fault, place) && exists(fault, place, compressor))
        .map((fault) => caseOf(fault, place, compressor)),
    ),
  );
}

/** A VM has a virtual GPU where the step or the channel is about one. */
function caseOf(fault: Fault, { side, step }: Place, compressor: Compressor): Case {
  const { act } = fault;
  const vgpu = /vgpu/.test(step) || ((act.kind === 'cut' || act.kind === 'corrupt') && act.channel === 'vgpu');
  return { id: `${compressor}, ${side} ${step}: ${fault.name}`, side, step, fault, compressor, vgpu };
}

/** Where two copies or none are nearest. */
const critical = [
  'stream, source 3: kill -9 destination daemon',
  'xenguest, destination taken: kill -9 destination daemon',
  'none, source clean-up: failure',
];

/**
 * A selection that has each fault and each step at least once, and every compressor in turn.
 * @param among the cases to choose from
 */
export function quickSelection(among: readonly Case[]): Case[] {
  const chosen = among.filter(({ id }) => critical.includes(id));
  const seen = (place: Place) => chosen.some((one) => isAmong([place], one));
  const take = (from: readonly Case[]) => {
    const compressor = compressors[chosen.length % compressors.length];
    const fresh = from.filter((one) => !seen(one));
    const alike = (some: readonly Case[]) => some.filter((one) => one.compressor === compressor);
    const best = [alike(fresh), fresh, alike(from), from].find((some) => some.length > 0) ?? [];
    const one = best[(chosen.length * 7) % best.length];
    if (one !== undefined) chosen.push(one);
  };
  // Those that exist at few steps come first, to have their choice.
  const rarest = faults.map((fault) => among.filter((one) => one.fault === fault)).sort((a, b) => a.length - b.length);
  for (const own of rarest) if (!own.some((one) => chosen.includes(one))) take(own);
  for (const place of places) if (!seen(place)) take(among.filter((one) => isAmong([place], one)));
  return chosen;
}
