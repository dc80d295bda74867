/** The domain that this process saves or restores, at the hypervisor that has it. */
import { connectHypervisor } from '../../backend/simulator/client.js';
import type { DomainMemory } from '../../base/protocol/hypervisor-protocol.js';

/** A session of log-dirty; bitmaps have one bit a page, least significant first. */
export interface DomainLogDirty {
  /** The pages written since it was called last. */
  readClear(): Promise<Uint8Array>;
  /** The same, and how many they are; clears nothing. */
  peek(): Promise<{ readonly dirty: number; readonly bitmap: Uint8Array }>;
  /** Slow the guest down to a share of its speed, until the session ends, however that is. @param share 0 to 1 */
  throttle(share: number): Promise<void>;
  close(): Promise<void>;
}

export interface Domain {
  readonly memory: DomainMemory;
  logDirty(): Promise<DomainLogDirty>;
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
        peek: async () => {
          const { result, binary } = await client.call('log_dirty_peek', { handle, session });
          return { dirty: result.dirty, bitmap: binary };
        },
        throttle: async (share) => void (await client.call('throttle', { handle, session, share })),
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
