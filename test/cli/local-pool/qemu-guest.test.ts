import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';
import { qemuProgram } from '../../backend/qemu/memtest.js';
import { isAlive } from '../../support/processes.js';

const program = fileURLToPath(new URL('../../../src/cli/local-pool/main.js', import.meta.url));

describe('xenferry-pool up --backend qemu', function () {
  this.timeout(60_000);
  const home = mkdtempSync(join(tmpdir(), 'pool-qemu-'));
  after(() => rmSync(home, { recursive: true }));
  const up = (env: NodeJS.ProcessEnv, ...args: string[]) =>
    execa(process.execPath, [program, 'up', '--hosts', '1', '--json', '--until-eof', '--backend', 'qemu', ...args], {
      ...{ stdin: 'pipe', reject: false, env: { XDG_STATE_HOME: home, XDG_CACHE_HOME: home, ...env } },
    });

  it('starts QEMU with a guest, and ends it with the pool', async function () {
    if (qemuProgram === undefined) this.skip();
    const child = up({}, '--guest', 'memtest86+');
    const line = await new Promise<string>((resolve) => child.stdout?.once('data', (data) => resolve(String(data))));
    const directory = join(dirname(JSON.parse(line).pools[0].hosts[0].config), 'qemu');
    const domids = readdirSync(directory).filter((name) => /^\d+$/.test(name));
    const pids = domids.map((domid) => Number(readFileSync(join(directory, domid, 'pid'), 'latin1')));
    expect(pids).to.have.length(1);
    child.stdin?.end();
    const { exitCode, stderr } = await child;
    expect({ exitCode, stderr, alive: pids.some(isAlive) }).to.deep.equal({ exitCode: 0, stderr: '', alive: false });
  });

  it('says that QEMU is missing before anything is built or started', async () => {
    const { exitCode, stderr } = await up({ PATH: home });
    const message = "--backend qemu needs the program qemu-system-x86_64, in Debian's package qemu-system-x86";
    expect({ exitCode, stderr }).to.deep.equal({ exitCode: 1, stderr: `xenferry-pool: ${message}` });
  });

  const wrong: readonly (readonly [string[], string])[] = [
    [['--guest', 'hurd'], "--guest is linux or memtest86+, not 'hurd'"],
    [['--memory', '64MiB'], "--memory is at least 128MiB for linux, not '64MiB'"],
    [['--backend', 'simulator', '--guest', 'linux'], '--guest needs --backend qemu'],
    [['--backend', 'xen'], "--backend is simulator or qemu, not 'xen'"],
  ];
  for (const [args, message] of wrong) {
    it(`refuses ${args.join(' ')}`, async () => {
      const { exitCode, stderr } = await up({}, ...args);
      expect({ exitCode, stderr }).to.deep.equal({ exitCode: 1, stderr: `xenferry-pool: ${message}` });
    });
  }
});
