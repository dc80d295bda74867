/** The state of a domain's virtual GPUs: a blob each, of which the first 8 bytes count while the guest runs. */
import { XapiError } from '../../base/errors.js';
import type { SimulatedSpec } from '../../base/protocol/hypervisor-protocol.js';
import type { Material } from './material.js';
import { foldSeed, mix } from './random.js';

export interface Vgpus {
  /** Give every device the state that it has after boot. */
  build(): void;
  get(device: string): Buffer;
  set(device: string, state: Buffer): void;
  ticked(ticks: number): void;
  /** All states, with the devices' names, in an order that is the same everywhere. */
  all(): Uint8Array[];
}

const stateBytes = 768 * 1024;
const pieceBytes = 64 * 1024;

/** The virtual GPUs of a domain, without state until they are built or set. */
export function createVgpus(
  { uuid, vgpus, seed }: Pick<SimulatedSpec, 'uuid' | 'vgpus' | 'seed'>,
  material: Material,
): Vgpus {
  const states = new Map(vgpus.toSorted().map((device) => [device, Buffer.alloc(8)]));
  const find = (device: string): Buffer => {
    const state = states.get(device);
    if (state !== undefined) return state;
    throw new XapiError('INVALID_VALUE', [
      'device',
      `${device}: domain ${uuid} has ${vgpus.join(', ') || 'no virtual GPU'}`,
    ]);
  };
  return {
    build: () => {
      [...states.keys()].forEach((device, index) => {
        const state = Buffer.alloc(stateBytes);
        for (let at = pieceBytes; at < stateBytes; at += pieceBytes) {
          const kind = at % (3 * pieceBytes) === 0 ? 'random' : 'program';
          material.fill(state.subarray(at, at + pieceBytes), kind, mix(foldSeed(seed), index, at));
        }
        states.set(device, state);
      });
    },
    get: (device) => Buffer.from(find(device)),
    set: (device, state) => {
      find(device);
      if (state.length < 8) throw new XapiError('INVALID_VALUE', ['state', `${state.length} bytes; it has at least 8`]);
      states.set(device, Buffer.from(state));
    },
    ticked: (ticks) => {
      for (const state of states.values())
        state.writeBigUInt64LE(BigInt.asUintN(64, state.readBigUInt64LE() + BigInt(ticks)));
    },
    all: () => [...states].flatMap(([device, state]) => [Buffer.from(device), Buffer.from(state)]),
  };
}
