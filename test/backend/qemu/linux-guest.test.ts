import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import type { Backend } from '../../../src/backend/backend.js';
import { checkSpec } from '../../../src/backend/qemu/description.js';
import { makeMachine } from '../../../src/backend/qemu/machine.js';
import { createQemu } from '../../../src/backend/qemu/qemu.js';
import type { DomainHandle, DomainSpec } from '../../../src/base/domain.js';
import { streamInit } from '../../contract/saving.js';
import { eventually } from '../../hypervisor/hypervisor-process.js';
import { captureLog } from '../../support/log.js';
import { openConnections } from '../../wire/connection/connections.js';
import { buildLinuxGuest, isBuildable, readConsole, type Said, wrongBlocks } from './linux-guest.js';
import { qemuProgram } from './memtest.js';

const mebibyte = 2 ** 20;
const uuid = '11111111-0000-4000-8000-000000000001';
const volume = 'dddddddd-0000-4000-8000-000000000001/dddddddd-0000-4000-8000-000000000002';

interface Host {
  readonly backend: Backend;
  consoleOf(handle: DomainHandle): string;
}

(qemuProgram === undefined || !isBuildable ? describe.skip : describe)(
  "a Linux guest of QEMU (needs QEMU 9, memtest86+, apt with Debian's packages, and a C compiler)",
  function () {
    this.timeout(300_000);
    const root = fs.mkdtempSync(path.join(os.tmpdir(), 'xf-linux-'));
    const image = path.join(root, 'disk.raw');
    const connections = openConnections();
    const hosts: Host[] = [];
    let settings: ReturnType<typeof buildLinuxGuest>;
    before(async () => {
      settings = buildLinuxGuest(path.join(root, 'guest'));
      for (const name of ['one', 'two']) hosts.push(await openHost(path.join(root, name)));
    });
    beforeEach(() => {
      fs.rmSync(image, { force: true });
      fs.writeFileSync(image, '');
      fs.truncateSync(image, 16 * mebibyte);
    });
    afterEach(async () => {
      for (const { backend } of hosts) for (const { handle } of await backend.list()) await backend.destroy(handle);
      connections.close();
    });
    after(async () => {
      for (const { backend } of hosts) await backend.close();
      fs.rmSync(root, { recursive: true });
    });

    async function openHost(stateDir: string): Promise<Host> {
      const backend = await createQemu({
        ...{ stateDir, memoryBytes: 2 ** 30, program: String(qemuProgram), accelerator: 'tcg' },
        ...{ overheadBytes: 75 * mebibyte, log: captureLog().log },
        checkSpec: (spec) => checkSpec(spec, ['pc-i440fx-7.2'], 'pc-i440fx-7.2'),
        machineOf: (spec) =>
          makeMachine(
            {
              ...{ accelerator: 'tcg', volumePath: () => image, firmware: { code: '', variables: '' } },
              ...{ variablesDirectory: stateDir, kernelDirectory: path.join(root, 'guest') },
            },
            spec,
          ),
      });
      return {
        backend,
        consoleOf: ({ domid }) => fs.readFileSync(path.join(stateDir, 'qemu', String(domid), 'serial.log'), 'latin1'),
      };
    }

    const specOf = ({ backend }: Host, settingsOfGuest: Readonly<Record<string, string>>): DomainSpec =>
      backend.checkSpec({
        ...{ uuid, name: 'linux', memoryBytes: 128 * mebibyte, vcpus: 1, vgpus: [] },
        settings: {
          ...settingsOfGuest,
          ...{ 'VBD:0:type': 'Disk', 'VBD:0:mode': 'RW', 'VBD:0:bootable': 'false', 'VBD:0:volume': volume },
          ...{ 'VIF:0:MAC': '02:00:00:00:00:01', 'VIF:0:bridge': 'xenbr0' },
        },
      });

    async function boot(host: Host, ...words: string[]): Promise<{ spec: DomainSpec; handle: DomainHandle }> {
      const spec = specOf(host, settings(...words));
      const handle = await host.backend.create(spec);
      await host.backend.build(handle);
      await host.backend.unpause(handle, 'boot');
      return { spec, handle };
    }

    /** Migrate it. @returns the domain at the other host, which stands still, and the digests of both memories */
    async function move(from: Host, handle: DomainHandle, to: Host, spec: DomainSpec, isCompressed: boolean) {
      const there = await to.backend.create(spec);
      const [out, into] = await connections.socketPair();
      for (const socket of [out, into]) socket.setBlocking(true);
      const saving = {
        ...{ ...streamInit(), memory: out, live: true, onSuspend: () => from.backend.pause(handle) },
        ...(isCompressed ? { compression: {} } : {}),
      };
      await Promise.all([
        from.backend.saveHelper().save(handle, saving),
        to.backend.saveHelper().restore(there, { ...streamInit(), memory: into }),
      ]);
      for (const socket of [out, into]) socket.destroy();
      const digests = [];
      for (const [{ backend }, each] of [
        [from, handle],
        [to, there],
      ] as const) {
        await backend.armDigest(each);
        digests.push(await backend.digest(each));
      }
      return { there, digests };
    }

    it('goes on where it was through ten moves, with every page and every block that it has written', async () => {
      let [here, other] = hosts as [Host, Host];
      let { spec, handle } = await boot(here, 'tick=0.05', 'memory=32:1000', 'disk=/dev/vda');
      let before = '';
      const said = (): Said => readConsole(before + here.consoleOf(handle));
      const untilItGoesOn = async (): Promise<void> => {
        const { counted, written, pages } = said();
        const goesOn = (now: Said) =>
          now.counted.length > counted.length && now.written.length > written.length && now.pages > pages;
        await eventually(() => goesOn(said()) || undefined);
      };
      for (let turn = 0; turn < 10; turn += 1) {
        await untilItGoesOn();
        const { there, digests } = await move(here, handle, other, spec, turn % 2 === 1);
        expect(digests[0], `digests of turn ${turn}`).to.equal(digests[1]);
        before += here.consoleOf(handle);
        await here.backend.destroy(handle);
        await other.backend.unpause(there, `turn ${turn}`);
        [here, other, handle] = [other, here, there];
      }
      await untilItGoesOn();
      await here.backend.pause(handle);
      const { counted, written, wrong } = said();
      expect(counted).to.deep.equal(counted.map((_, index) => index + 1));
      expect(written).to.deep.equal(written.map((_, index) => index + 1));
      expect(wrong).to.equal(0);
      expect(wrongBlocks(image, written)).to.deep.equal([]);
    });

    it('shuts down by its power button, with what it has written on its disk', async () => {
      const [here] = hosts as [Host];
      const { handle } = await boot(here, 'disk=/dev/vda');
      await eventually(() => readConsole(here.consoleOf(handle)).written.length > 20 || undefined);
      await here.backend.shutDownGuest(handle, 60_000);
      const console = here.consoleOf(handle);
      expect(console).to.include('guest: power button');
      expect(wrongBlocks(image, readConsole(console).written)).to.deep.equal([]);
    });
  },
);
