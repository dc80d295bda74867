import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { createQemu } from '../../../src/backend/qemu/qemu.js';
import type { XapiError } from '../../../src/base/errors.js';
import { describeBackend } from '../../contract/backend.js';
import { streamInit } from '../../contract/saving.js';
import type { BackendUnderTest } from '../../contract/subject.js';
import { eventually } from '../../hypervisor/hypervisor-process.js';
import { captureLog } from '../../support/log.js';
import { openConnections } from '../../wire/connection/connections.js';
import { leastBytes, memoryHash, memtest, memtestInit, qemuProgram } from './memtest.js';

const open = (stateDir: string, memoryBytes: number, program: string) =>
  createQemu({ ...memtestInit, stateDir, memoryBytes, program, log: captureLog().log });

async function makeQemu(memoryBytes: number): Promise<BackendUnderTest> {
  const stateDir = fs.mkdtempSync(path.join(os.tmpdir(), 'xf-qemu-'));
  const backend = await open(stateDir, memoryBytes, String(qemuProgram));
  return {
    backend,
    specOf: memtest,
    async untilWritten({ domid }) {
      const directory = path.join(stateDir, 'qemu', String(domid));
      const before = memoryHash(directory);
      await eventually(() => memoryHash(directory) !== before || undefined);
    },
    async dispose() {
      for (const { handle } of await backend.list()) await backend.destroy(handle);
      await backend.close();
      fs.rmSync(stateDir, { recursive: true });
    },
  };
}

if (qemuProgram !== undefined) {
  const program = qemuProgram;
  describeBackend('qemu', { domainBytes: leastBytes, overheadBytes: memtestInit.overheadBytes, make: makeQemu });

  describe('a domain of QEMU', function () {
    this.timeout(60_000);

    it('is found again by a daemon that starts anew, as it is', async () => {
      const stateDir = fs.mkdtempSync(path.join(os.tmpdir(), 'xf-qemu-'));
      let backend = await open(stateDir, 2 ** 30, program);
      const again = async () => {
        await backend.close();
        backend = await open(stateDir, 2 ** 30, program);
        return (await backend.list())[0];
      };
      const handle = await backend.create(memtest('11111111-0000-4000-8000-000000000001'));
      expect(await again()).to.deep.include({ handle, state: 'building', everRan: false });
      await backend.build(handle);
      expect(await again()).to.deep.include({ handle, state: 'paused', everRan: false });
      await backend.unpause(handle, 'one');
      expect(await again()).to.deep.include({ handle, state: 'running', everRan: true });
      await backend.markInDoubt(handle, 'elsewhere, perhaps');
      expect(await again()).to.include({ state: 'paused', inDoubt: 'elsewhere, perhaps' });
      await backend.destroy(handle);
      expect(await again()).to.equal(undefined);
      await backend.close();
      fs.rmSync(stateDir, { recursive: true });
    });

    it('is seen to be gone at once when its process is killed, where it is asked for anew', async () => {
      const stateDir = fs.mkdtempSync(path.join(os.tmpdir(), 'xf-qemu-'));
      const backend = await open(stateDir, 2 ** 30, program);
      for (let turn = 0; turn < 5; turn += 1) {
        const handle = await backend.create(memtest('11111111-0000-4000-8000-000000000001'));
        await backend.build(handle);
        const pid = fs.readFileSync(path.join(stateDir, 'qemu', String(handle.domid), 'pid'), 'latin1');
        process.kill(Number(pid), 'SIGKILL');
        const seen = await backend.look(handle).then(
          (domain) => domain?.state,
          (error: XapiError) => error.code,
        );
        expect([undefined, 'INTERNAL_ERROR']).to.include(seen);
        await backend.destroy(handle);
      }
      await backend.close();
      fs.rmSync(stateDir, { recursive: true });
    });

    it('is waited for no longer when its process ends while its memory is awaited', async () => {
      const stateDir = fs.mkdtempSync(path.join(os.tmpdir(), 'xf-qemu-'));
      const backend = await open(stateDir, 2 ** 30, program);
      const connections = openConnections();
      const handle = await backend.create(memtest('11111111-0000-4000-8000-000000000001'));
      const [far, memory] = await connections.socketPair();
      const onStarted = () => {
        const pid = fs.readFileSync(path.join(stateDir, 'qemu', String(handle.domid), 'pid'), 'latin1');
        process.kill(Number(pid), 'SIGKILL');
      };
      memory.setBlocking(true);
      const restored = backend.saveHelper().restore(handle, { ...streamInit(), memory, onStarted });
      const said = await restored.then(String, (error: XapiError) => error.params);
      expect(said).to.deep.equal([`domain ${handle.domid}: QEMU has ended`]);
      expect(await backend.list()).to.deep.equal([]);
      for (const socket of [far, memory]) socket.destroy();
      connections.close();
      await backend.close();
      fs.rmSync(stateDir, { recursive: true });
    });
  });
}
