import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { nullLog } from '../../../src/base/log.js';
import { openSocketPair } from '../../../src/wire/connection/socket-pair.js';
import { findZstd } from '../../../src/wire/connection/zstd-pipe.js';
import { type ImageInit, restoreImage, saveImage } from '../../../src/xenops/image.js';
import { testLimits } from '../../support/limits.js';
import { helperBy } from '../../support/save-helper.js';

/** The processes that this one has started and that still live. */
function children(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const [, state, parent] = /\) (\S) (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1')) ?? [];
        return Number(parent) === process.pid && state !== 'Z' ? [pid] : [];
      } catch {
        return [];
      }
    });
}

describe('A suspend image one of whose channels is closed already', () => {
  for (const direction of ['saved', 'restored'] as const) {
    it(`leaves no process behind when it is to be ${direction}`, async () => {
      const before = children();
      const [memory, memoryPeer] = await openSocketPair();
      const [vgpu, vgpuPeer] = await openSocketPair();
      vgpu.destroy();
      await vgpu.closed;
      const init: ImageInit = {
        helper: helperBy(['false']),
        limits: testLimits,
        handle: { instance: 'x', domid: 1 },
        channels: { memory, vgpu: new Map([['0', vgpu]]) },
        zstd: await findZstd('zstd'),
        endTimeoutMs: 1000,
        signal: new AbortController().signal,
        log: nullLog,
        onProgress: () => undefined,
      };
      const save = { live: false, vmStr: '', onSuspend: async () => undefined };
      const work = direction === 'saved' ? saveImage({ ...init, ...save }) : restoreImage(init);
      const failure = await work.catch((error: unknown) => error);
      expect(failure).to.have.property('message').that.includes('the connection is closed');
      while (children().some((pid) => !before.includes(pid))) await delay(5);
      memoryPeer.destroy();
      vgpuPeer.destroy();
    });
  }
});
