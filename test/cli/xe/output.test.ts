/** xe where its output cannot be written: what it does is done all the same. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { type FakeXapi, secret, startFakeXapi } from './fake-xapi.js';
import { database, endedTask } from './harness.js';

const program = fileURLToPath(new URL('../../../src/cli/xe/main.js', import.meta.url));
const cannot = 'xe: cannot write the output: ENOSPC: no space left on device, write\n';

describe('xe where its output cannot be written', function () {
  this.timeout(20_000);
  let server: FakeXapi;
  beforeEach(async () => {
    server = await startFakeXapi(database(), {
      ...endedTask({}),
      'Async.VM.pool_migrate': () => 'OpaqueRef:t9',
      'Async.VM.hard_shutdown': () => 'OpaqueRef:t9',
      'network.create': () => 'OpaqueRef:n1',
      'host.get_cpu_info': () => ({ vendor: 'x' }),
      'session.get_this_host': () => 'OpaqueRef:h1',
    });
  });
  afterEach(() => server.close());

  async function run(args: readonly string[], out: 'full' | 'closed', err: 'read' | 'full' = 'read') {
    const full = openSync('/dev/full', 'w');
    try {
      const child = spawn(process.execPath, [program, ...args], {
        env: { XE_SERVER: server.url, XE_PASSWORD: secret },
        stdio: ['ignore', out === 'full' ? full : 'pipe', err === 'full' ? full : 'pipe'],
      });
      child.stdout?.destroy();
      let said = '';
      child.stderr?.on('data', (data) => {
        said += data;
      });
      const [status] = await once(child, 'close');
      return { status, err: said };
    } finally {
      closeSync(full);
    }
  }

  const commands = [
    'help',
    'help --all',
    'help vm-start',
    'vm-start --help',
    'version',
    'vm-list',
    'vm-list --minimal',
    'vm-param-get uuid=vm-1 param-name=name-label',
    'host-cpu-info',
    'vm-disk-list uuid=vm-2',
    'network-create name-label=new',
    'vm-migrate vm=web host=two',
    'vm-migrate vm=web host=two --minimal',
    'vm-uninstall vm=web --force',
  ];
  for (const command of commands) {
    it(`says so in one line, where the disk is full: ${command}`, async () => {
      expect(await run(command.split(' '), 'full')).to.deep.equal({ status: 1, err: cannot });
    });
  }

  for (const command of ['vm-list', 'help --all', 'vm-migrate vm=web host=two']) {
    it(`says nothing where nobody reads on: ${command}`, async () => {
      expect(await run(command.split(' '), 'closed')).to.deep.equal({ status: 0, err: '' });
    });
  }

  for (const [out, expected] of [
    ['full', { status: 1, err: cannot }],
    ['closed', { status: 0, err: '' }],
  ] as const) {
    it(`does the whole of what it says it does: ${out}`, async () => {
      expect(await run(['vm-uninstall', 'uuid=vm-2', '--force'], out)).to.deep.equal(expected);
      const { method, params } = server.calls.at(-1) ?? {};
      expect({ method, params }).to.deep.equal({ method: 'VDI.destroy', params: ['OpaqueRef:d1'] });
    });
  }

  it('keeps the status of what failed', async () => {
    expect(await run(['vm-start', 'vm=nobody'], 'closed')).to.deep.equal({
      status: 1,
      err: 'Error: No matching VMs found\n',
    });
    expect((await run(['vm-start', 'vm=nobody'], 'full', 'full')).status).to.equal(1);
    expect((await run(['vm-param-set', 'uuid=vm-1', 'name-label=new'], 'full', 'full')).status).to.equal(0);
  });
});
