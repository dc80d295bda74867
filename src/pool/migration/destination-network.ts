/** Networks of another pool, to which a VM goes. */
import type { Ref } from '../../../idl/index.js';
import { createRpcClient } from '../../wire/connection/rpc-client.js';
import type { Database } from '../database/database.js';
import type { ForeignDestination } from './destination.js';

type Strings = Readonly<Record<string, string>>;

const askTimeoutMs = 10_000;
/** The references of a few thousand networks. */
const answerLimit = 1 << 18;

/**
 * A map of VIFs to networks, completed where it is empty and the choice is plain: all VIFs of the VM are on one network, and
 * the other pool has one.
 * @param dest where the VM goes; a pool that does not answer completes nothing
 */
export async function completeVifMap(
  db: Database,
  vm: Ref<'VM'>,
  vifMap: Strings,
  dest: ForeignDestination,
): Promise<Strings> {
  const { VIFs } = db.get('VM', vm);
  const [first] = VIFs;
  const ours = new Set(VIFs.map((vif) => db.get('VIF', vif).network));
  if (first === undefined || ours.size !== 1 || Object.keys(vifMap).length > 0) return vifMap;
  const [theirs, ...more] = await networksOf(dest).catch(() => []);
  return theirs === undefined || more.length > 0 ? vifMap : { [first]: theirs };
}

async function networksOf({ master, session }: ForeignDestination): Promise<string[]> {
  const client = createRpcClient(`${master}/jsonrpc`, { answerLimit });
  try {
    const networks = await client.call<unknown>('network.get_all', [session], askTimeoutMs);
    return Array.isArray(networks) && networks.every((each) => typeof each === 'string') ? networks : [];
  } finally {
    client.close();
  }
}
