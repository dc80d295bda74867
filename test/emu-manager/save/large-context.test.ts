import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { pageSize } from '../../../src/base/domain.js';
import { encodeContext } from '../../../src/hypervisor/guest/context.js';
import { followSave, type Lab, openLab } from '../harness.js';

/** With counts as long as they can be the record is as large as that of 2 GiB. */
const memoryBytes = 768 * 2 ** 20;
const pages = memoryBytes / pageSize;

describe('a guest that has written to most of a large memory', () => {
  let lab: Lab;
  before(async () => {
    lab = await openLab(memoryBytes);
  });
  after(() => lab.close());

  const createEmptyGuest = () =>
    lab.createDomain({
      memoryBytes,
      profile: { zero: 1, program: 0, text: 0, random: 0 },
      workload: { dirtyPagesPerSecond: 0, workingSet: 1 },
    });

  it('is saved and restored with the record of what it wrote', async () => {
    const source = await createEmptyGuest();
    const generations = new Uint32Array(pages).fill(2 ** 32 - 1);
    const context = encodeContext({ ticks: 7, pagesWritten: pages, random: new Uint32Array(4), generations });
    expect(context.length).to.be.greaterThan(2 ** 20);
    await lab.helper.call('set_context', { handle: source }, { binary: context });
    await lab.helper.call('built', { handle: source });
    const file = path.join(lab.directory, 'image');
    const out = fs.openSync(file, 'w');
    const argv = ['-mode', 'hvm_save', '-domid', String(source.domid), '-live', 'false', '-dm', 'qemu'];
    await followSave(lab, lab.emu([...argv, '-compress', 'true'], [out]), source);
    fs.closeSync(out);
    await lab.simulator.destroy(source);

    const destination = await createEmptyGuest();
    const input = fs.openSync(file, 'r');
    const emu = lab.emu(['-mode', 'hvm_restore', '-domid', String(destination.domid)], [input]);
    emu.tell('restore:xenguest');
    const { messages } = await emu.exit();
    fs.closeSync(input);
    expect(messages.at(-1)).to.have.property('kind', 'result');
    expect(await lab.info(destination)).to.include({ ticks: 7, pagesWritten: pages });
  });
});
