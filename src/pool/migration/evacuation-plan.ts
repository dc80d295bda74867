/** Which VM of a host that is to be empty goes where: by memory alone, over what else is known of each. Pure. */

export interface VmToMove<V, H> {
  readonly vm: V;
  /** Bytes. */
  readonly memory: number;
  /** The hosts that could take it if they had the memory. */
  readonly hosts: readonly H[];
}

export interface Room<H> {
  readonly host: H;
  /** Bytes. */
  readonly free: number;
}

/**
 * A host for each VM that fits somewhere; a VM without one is absent. VMs with the fewest hosts to go to are placed first, of
 * those the largest. Each goes to the host with the most room, which spreads them; where that leaves some over, each goes to
 * the host that it fills best, if that places more.
 */
export function planEvacuation<V, H>(vms: readonly VmToMove<V, H>[], rooms: readonly Room<H>[]): Map<V, H> {
  const inOrder = [...vms].sort((a, b) => a.hosts.length - b.hosts.length || b.memory - a.memory);
  const spread = place(inOrder, rooms, (a, b) => b - a);
  if (spread.size === vms.length) return spread;
  const packed = place(inOrder, rooms, (a, b) => a - b);
  return packed.size > spread.size ? packed : spread;
}

function place<V, H>(
  vms: readonly VmToMove<V, H>[],
  rooms: readonly Room<H>[],
  preference: (freeA: number, freeB: number) => number,
): Map<V, H> {
  const free = new Map(rooms.map((room) => [room.host, room.free]));
  const plan = new Map<V, H>();
  const room = (host: H): number => free.get(host) ?? 0;
  for (const { vm, memory, hosts } of vms) {
    const [best] = hosts.filter((host) => room(host) >= memory).sort((a, b) => preference(room(a), room(b)));
    if (best === undefined) continue;
    free.set(best, room(best) - memory);
    plan.set(vm, best);
  }
  return plan;
}
