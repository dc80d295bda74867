/** Saving and restoring domains of QEMU: an emu-manager does it, by QEMU's own migration (emu-manager/qemu). */
import type { DomainHandle } from '../../base/domain.js';
import { qemuFormats } from '../../base/protocol/stream-formats.js';
import { createEmuManager, type EmuProgram } from '../emu-manager.js';
import type { DomainStreamInit, SaveHelper } from '../save-helper.js';
import type { QemuDomain } from './domain.js';

/**
 * @param root the directory of the back end's domains
 * @param domainOf throws HANDLE_INVALID
 */
export function createQemuSaveHelper(
  program: EmuProgram,
  root: string,
  domainOf: (handle: DomainHandle) => QemuDomain,
): SaveHelper {
  const helper = createEmuManager({ program, environment: { XENFERRY_QEMU: root }, formats: qemuFormats });
  return {
    ...helper,
    save: (handle, init) => helper.save(handle, withDomain(domainOf(handle), init)),
    /** The process is started for it, and waits for its memory; until it has come up it cannot be given up. */
    async restore(handle, init) {
      const domain = domainOf(handle);
      init.signal.throwIfAborted();
      await domain.start(true);
      await helper.restore(handle, withDomain(domain, init));
      await domain.refresh();
    },
  };
}

/** Nobody waits for the memory of a process that is gone, or for somebody to take it. */
function withDomain<I extends DomainStreamInit>(domain: QemuDomain, init: I): I {
  return { ...init, signal: AbortSignal.any([init.signal, domain.lost]) };
}
