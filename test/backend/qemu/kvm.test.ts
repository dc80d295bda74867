import { expect } from 'chai';
import { kvmRefusal, probeGuestRuns } from '../../../src/backend/qemu/kvm.js';
import { probeQemu } from '../../../src/backend/qemu/probe.js';
import { qemuProgram } from './memtest.js';

(qemuProgram === undefined ? describe.skip : describe)('what runs the guests of QEMU', () => {
  const program = String(qemuProgram);

  it('is tried with a guest that says when it is in 64-bit mode', async () => {
    expect(await probeGuestRuns(program, 'tcg')).to.equal(true);
  });

  it('is kvm where that guest runs by it, else tcg, which says why', async () => {
    const refused = await kvmRefusal(program);
    const host = await probeQemu(program, 'auto');
    expect(host).to.deep.include({ accelerator: refused === undefined ? 'kvm' : 'tcg' });
    expect(host.withoutKvm).to.equal(refused);
    expect(host.machineTypes).to.include(host.newestType);
  });

  it('is not kvm, though a configuration asks for it, where that guest does not run', async () => {
    const refused = await kvmRefusal(program);
    const outcome: unknown = await probeQemu(program, 'kvm').catch((thrown) => thrown);
    if (refused === undefined) expect(outcome).to.include({ accelerator: 'kvm' });
    else expect(outcome).to.deep.include({ params: ['qemu-accelerator', 'kvm'], cause: refused });
  });
});
