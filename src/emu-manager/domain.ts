/** The domain that this process saves or restores, at the hypervisor that has it. */
import { connectHypervisor } from '../backend/hypervisor-client.js';
import type { DomainMemory } from '../base/hypervisor-protocol.js';

export interface Domain {
  readonly memory: DomainMemory;
  /** Opens log-dirty; returns a function that gives the pages written since it was called last, as a bitmap. */
  logDirty(): Promise<{ readClear(): Promise<Buffer>; close(): Promise<void> }>;
  getContext(): Promise<Buffer>;
  /** Put the virtual CPU in place, which ends the building. */
  setContext(context: Buffer): Promise<void>;
  getVgpu(device: string): Promise<Buffer>;
  setVgpu(device: string, state: Buffer): Promise<void>;
}

/** @param socketPath of the hypervisor. @throws when nobody listens there, or it has no such domain */
export async function openDomain(socketPath: string, domid: number): Promise<Domain> {
  const client = await connectHypervisor(socketPath, 'helper');
  const handle = { instance: client.instance, domid };
  const memory = (await client.call('memory_of', { handle })).result;
  return {
    memory,
    async logDirty() {
      const { session } = (await client.call('log_dirty_open', { handle })).result;
      return {
        readClear: async () => (await client.call('log_dirty_read_clear', { handle, session })).binary,
        close: async () => void (await client.call('log_dirty_close', { handle, session })),
      };
    },
    getContext: async () => (await client.call('get_context', { handle })).binary,
    async setContext(context) {
      await client.call('set_context', { handle }, { binary: context });
      await client.call('built', { handle });
    },
    getVgpu: async (device) => (await client.call('get_vgpu', { handle, device })).binary,
    setVgpu: async (device, state) => void (await client.call('set_vgpu', { handle, device }, { binary: state })),
  };
}
