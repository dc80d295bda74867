import { pipeline } from 'node:stream/promises';
import { expect } from 'chai';
import { type Emu, followSave, type Lab, openLab } from '../harness.js';

const mib = 1 << 20;
/** More than docs/operations.md says that a helper needs, and less than the guest has: one that gathers it is found. */
const atMost = 200 * mib;
const guest = { memoryBytes: 240 * mib, profile: { zero: 0, program: 0.2, text: 0.2, random: 0.6 } } as const;

/** Has a program say at its end how many KiB of memory it had at most; ru_maxrss would be no less than what had started it. */
const sayPeak =
  'import fs from "node:fs"; process.on("exit", () => process.stderr.write("peak=" + /VmHWM:\\s*(\\d+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))[1]))';
const peakOf = ({ stderr }: { readonly stderr: string }) => Number(/peak=(\d+)/.exec(stderr)?.[1]) * 1024;

describe('The memory of emu-manager', function () {
  this.timeout(60_000);
  let lab: Lab;
  const options = process.env.NODE_OPTIONS;
  before(async () => {
    lab = await openLab(512 * mib);
    process.env.NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(sayPeak)}`;
  });
  after(async () => {
    if (options === undefined) delete process.env.NODE_OPTIONS;
    else process.env.NODE_OPTIONS = options;
    await lab.close();
  });

  /** Bytes go from one program to the other as fast as both allow. */
  async function connect(from: Emu, to: Emu): Promise<void> {
    await pipeline(from.stream(0), to.stream(0)).catch(() => undefined);
  }

  for (const [form, flags] of [
    ['plain', []],
    ['compressed', ['-compress', 'true']],
  ] as const) {
    it(`does not grow with the guest's, when it saves and when it restores (${form})`, async () => {
      const [from, to] = [await lab.createDomain(guest), await lab.createDomain(guest)];
      await lab.simulator.build(from);
      const save = lab.emu(['-mode', 'hvm_save', '-domid', String(from.domid), ...flags], ['pipe']);
      const restore = lab.emu(['-mode', 'hvm_restore', '-domid', String(to.domid)], ['pipe']);
      restore.tell('restore:xenguest');
      const ends = await Promise.all([followSave(lab, save, from), restore.exit(), connect(save, restore)]);
      for (const end of ends.slice(0, 2) as Awaited<ReturnType<Emu['exit']>>[]) {
        expect(end.status).to.equal(0);
        expect(peakOf(end)).to.be.within(20 * mib, atMost);
      }
      for (const handle of [from, to]) await lab.simulator.destroy(handle);
    });
  }
});
