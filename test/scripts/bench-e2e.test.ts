import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';

const program = fileURLToPath(new URL('../../scripts/bench.js', import.meta.url));

describe('the benchmark', function () {
  this.timeout(120_000);

  it('migrates between two daemons and prints one object a case', async () => {
    const args = ['--cases', 'none,cat', '--memory', '16', '--rounds', '1', '--json'];
    const { stdout, stderr, exitCode } = await execa(process.execPath, [program, ...args]);
    expect(exitCode).to.equal(0);
    const [none, cat, ...more] = stdout.split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(more).to.deep.equal([]);
    expect(none).to.include({ case: 'none', rounds: 1, memory_bytes: 16 * 2 ** 20, vs_pipe: null, vs_pipe_cpu: null });
    for (const key of [
      'gib_per_s',
      'cpu_s_per_gib',
      'ratio',
      'downtime_ms',
      'wire_bytes',
      'vs_cat',
      'helper_peak_mib',
    ]) {
      expect(none?.[key], key).to.be.a('number');
    }
    expect(cat).to.include({ case: 'cat', ratio: 1, downtime_ms: null, wire_bytes: 16 * 2 ** 20, vs_cat: 1 });
    const [, directory] = /what is not a VM reads (\S+)\/image/.exec(stderr) ?? [];
    expect(directory).to.match(/xenferry-bench-/);
    expect(existsSync(directory as string)).to.equal(false);
  });

  const wrong: readonly [args: string, message: string][] = [
    ['--cases none,speed', "bench: there is no case 'speed'; there are pipe, cat, none, stream,"],
    ['--memory 1048576 --cases none', 'bench: guests: 1 of 1048576 MiB and what goes beside need 2097152 MiB, and '],
    ['--rounds many', "bench: --rounds is a whole number from 1 to 1000, not 'many'"],
  ];
  for (const [args, message] of wrong) {
    it(`says what is wrong: ${args}`, async () => {
      const { stdout, stderr, exitCode } = await execa(process.execPath, [program, ...args.split(' ')], {
        reject: false,
      });
      expect({ stdout, exitCode }).to.deep.equal({ stdout: '', exitCode: 1 });
      expect(stderr).to.include(message);
    });
  }
});
