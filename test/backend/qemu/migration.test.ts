import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { emuProgram, runEmuRestore, runEmuSave } from '../../../src/backend/emu-manager.js';
import { createQemu, type Qemu } from '../../../src/backend/qemu/qemu.js';
import type { DomainHandle } from '../../../src/base/domain.js';
import { eventually } from '../../hypervisor/hypervisor-process.js';
import { captureLog } from '../../support/log.js';
import { openConnections } from '../../wire/connection/connections.js';
import { memtest, memtestInit, qemuProgram } from './memtest.js';

const spec = memtest('11111111-0000-4000-8000-000000000001', 32 * 2 ** 20);

(qemuProgram === undefined ? describe.skip : describe)('a guest of QEMU that tests its memory', function () {
  this.timeout(120_000);
  const connections = openConnections();
  const directories: string[] = [];
  const backends: Qemu[] = [];
  const open = async () => {
    const stateDir = fs.mkdtempSync(path.join(os.tmpdir(), 'xq-'));
    directories.push(stateDir);
    const log = captureLog().log;
    const backend = await createQemu({
      ...memtestInit,
      ...{ stateDir, memoryBytes: 2 ** 30, program: String(qemuProgram), log },
    });
    backends.push(backend);
    return backend;
  };
  afterEach(async () => {
    for (const backend of backends.splice(0)) {
      for (const { handle } of await backend.list()) await backend.destroy(handle);
      await backend.close();
    }
    for (const directory of directories.splice(0)) fs.rmSync(directory, { recursive: true });
    connections.close();
  });
  const serialOf = (index: number) =>
    fs.readFileSync(path.join(directories[index] as string, 'qemu/1/serial.log'), 'latin1');

  async function move(from: Qemu, handle: DomainHandle, to: Qemu, flags: readonly string[]): Promise<DomainHandle> {
    const there = await to.create(spec);
    await to.receive(there);
    const [a, b] = await connections.socketPair();
    for (const { setBlocking } of [a, b]) setBlocking(true);
    const common = (backend: Qemu, { domid }: DomainHandle, fd: number) => ({
      ...{ program: emuProgram(''), environment: backend.emuEnvironment(), domid, fd, vgpus: [] },
      ...{ signal: new AbortController().signal, log: captureLog().log, stopTimeoutMs: 2000, exitTimeoutMs: 5000 },
      onProgress: () => undefined,
    });
    const saved = runEmuSave({
      ...common(from, handle, a.fd),
      ...{ live: true, flags, onPrepare: async () => undefined },
      onSuspend: () => from.pause(handle),
    });
    const restored = runEmuRestore({ ...common(to, there, b.fd), beforeVgpu: async () => undefined });
    const [{ statistics }] = await Promise.all([saved, restored]);
    expect(statistics.streamBytes).to.be.greaterThan(1 << 16);
    await to.received(there);
    return there;
  }

  for (const flags of [[], ['-compress', 'true']]) {
    it(`goes on elsewhere, its memory the same (${flags.join(' ') || 'plain'})`, async () => {
      const [here, there] = [await open(), await open()];
      const handle = await here.create(spec);
      await here.build(handle);
      await here.unpause(handle, 'one');
      await eventually(() => /Memtest86\+/.test(serialOf(0)) || undefined);
      const copy = await move(here, handle, there, flags);
      expect((await here.list())[0]).to.include({ state: 'paused' });
      expect((await there.list())[0]).to.include({ state: 'paused', everRan: false });
      await Promise.all([there.armDigest(copy), here.armDigest(handle)]);
      expect(await there.digest(copy)).to.equal(await here.digest(handle));
      await there.unpause(copy, 'two');
      await eventually(() => serialOf(1).length > 500 || undefined);
      expect((await there.list())[0]).to.include({ state: 'running', everRan: true });
    });
  }
});
