import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';

const program = fileURLToPath(new URL('../../../scripts/bench/main.js', import.meta.url));

/** @returns how it ended, whatever that was, with its process id */
async function run(args: readonly string[], env: Record<string, string> = {}) {
  const child = execa(process.execPath, [program, ...args], { reject: false, env });
  const { stdout, stderr, exitCode } = await child;
  return { stdout, stderr, exitCode, pid: child.pid };
}

describe('the benchmark', function () {
  this.timeout(120_000);

  it('migrates between two daemons and prints one object a case', async () => {
    const args = ['--cases', 'none,cat', '--memory', '16MiB', '--rounds', '1', '--json'];
    const { stdout, stderr, exitCode } = await run(args);
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

  it('puts the hosts into network namespaces where the machine allows it', async () => {
    const args = ['--cases', 'cat', '--memory', '4MiB', '--rounds', '1', '--json', '--link', '1gbit'];
    const { stdout, stderr, exitCode, pid } = await run(args);
    if (exitCode === 0) {
      expect(JSON.parse(stdout)).to.include({ case: 'cat', wire_bytes: 4 * 2 ** 20 });
      const { stdout: namespaces } = await execa('ip', ['netns', 'list']);
      expect(namespaces).not.to.include(`xenferry-bench-${pid}-`);
    } else {
      expect({ stdout, exitCode }).to.deep.equal({ stdout: '', exitCode: 1 });
      expect(stderr).to.match(/^bench: --link (1gbit needs root|is not possible here)/);
    }
  });

  it('says so where there is no QEMU', async () => {
    const { stdout, stderr, exitCode } = await run(['--cases', 'cat', '--qemu'], { PATH: '' });
    const said = 'bench: --qemu needs the program qemu-system-x86_64, which is not installed here';
    expect({ stdout, stderr, exitCode }).to.deep.equal({ stdout: '', stderr: said, exitCode: 1 });
  });

  const wrong: readonly [args: string, message: string][] = [
    ['--cases none,speed', "bench: there is no case 'speed'; there are pipe, cat, none, stream,"],
    ['--memory 1TiB --cases none', 'bench: guests: 1 of 1048576 MiB and what goes beside need 2097152 MiB, and '],
    ['--rounds many', "bench: --rounds is a whole number from 1 to 1000, not 'many'"],
  ];
  for (const [args, message] of wrong) {
    it(`says what is wrong: ${args}`, async () => {
      const { stdout, stderr, exitCode } = await run(args.split(' '));
      expect({ stdout, exitCode }).to.deep.equal({ stdout: '', exitCode: 1 });
      expect(stderr).to.include(message);
    });
  }
});
