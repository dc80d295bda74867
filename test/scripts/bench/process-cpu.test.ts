import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import {
  childrenOf,
  cpuSeconds,
  type ProcessStat,
  parseStat,
  peakBytes,
  readProcesses,
  reapedSeconds,
  threadSeconds,
  treesOf,
} from '../../../scripts/bench/process-cpu.js';

describe('CPU time of processes', () => {
  it('is read behind a name that holds spaces and parentheses', () => {
    const tail = 'S 7 42 42 0 -1 4194560 100 200 0 0 11 12 13 14 20 0 1 0 99 1000 10';
    expect(parseStat(`42 (a (b) c) ${tail}`)).to.deep.equal({ pid: 42, parent: 7, ownTicks: 23, reapedTicks: 27 });
  });

  it('is that of whole trees, without those left out and what they started', () => {
    const processes: ProcessStat[] = [
      [1, 0],
      [10, 1],
      [11, 10],
      [12, 11],
      [13, 10],
      [14, 13],
      [20, 1],
    ].map(([pid = 0, parent = 0]) => ({ pid, parent, ownTicks: pid, reapedTicks: 100 }));
    const pids = (roots: number[], leftOut: number[]) =>
      treesOf(processes, roots, leftOut)
        .map(({ pid }) => pid)
        .sort((a, b) => a - b);
    expect(pids([10], [])).to.deep.equal([10, 11, 12, 13, 14]);
    expect(pids([10, 20], [13])).to.deep.equal([10, 11, 12, 20]);
    expect(pids([99], [])).to.deep.equal([]);
    expect(cpuSeconds(treesOf(processes, [11], []))).to.equal((11 + 12 + 200) / 100);
  });

  it('of a child is counted while it runs and when it was waited for', async () => {
    const before = reapedSeconds();
    const busy =
      'const began = process.cpuUsage(); while (process.cpuUsage(began).user < 100000); console.log("done"); setInterval(() => {}, 1000)';
    const child = spawn(process.execPath, ['--eval', busy], { stdio: ['ignore', 'pipe', 'inherit'] });
    const pid = child.pid as number;
    await once(child.stdout, 'data');
    expect(childrenOf(process.pid)).to.include(pid);
    expect(cpuSeconds(treesOf(readProcesses(), [pid], []))).to.be.at.least(0.1);
    expect(threadSeconds(pid)).to.be.at.least(0.1);
    expect(peakBytes(pid)).to.be.greaterThan(2 ** 20);
    child.kill();
    await once(child, 'close');
    expect(reapedSeconds() - before).to.be.at.least(0.1);
    expect(peakBytes(pid)).to.equal(undefined);
    expect(childrenOf(pid)).to.deep.equal([]);
  });

  it('is there for every process that runs', () => {
    const own = readProcesses().find(({ pid }) => pid === process.pid);
    expect(own?.parent).to.equal(process.ppid);
    expect(parseStat(readFileSync('/proc/1/stat', 'utf8')).pid).to.equal(1);
  });
});
