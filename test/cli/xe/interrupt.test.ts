import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';
import { secret, startFakeXapi } from './fake-xapi.js';
import { database } from './harness.js';

const program = fileURLToPath(new URL('../../../src/cli/xe/main.js', import.meta.url));

describe('Ctrl-C in xe', () => {
  it('cancels the task that it waits for, and waits for the end', async () => {
    let looked: () => void = () => undefined;
    const waiting = new Promise<void>((resolve) => {
      looked = resolve;
    });
    let status = 'pending';
    const server = await startFakeXapi(database(), {
      'Async.VM.pool_migrate': () => 'OpaqueRef:t9',
      'task.get_record': () => {
        looked();
        return { status, progress: 0.25, error_info: [] };
      },
      'task.cancel': () => {
        status = 'cancelled';
        return '';
      },
    });
    try {
      const env = { XE_SERVER: server.url, XE_PASSWORD: secret };
      const xe = execa(process.execPath, [program, 'vm-migrate', 'vm=web', 'host=two'], { env, reject: false });
      await waiting;
      xe.kill('SIGINT');
      const { exitCode, stdout, stderr } = await xe;
      expect({ exitCode, stdout }).to.deep.equal({ exitCode: 1, stdout: '' });
      expect(stderr).to.match(/^cancelling VM\.pool_migrate; .*\nThe task was cancelled\./);
      const ends = server.calls.map(({ method }) => method).filter((method) => /cancel|destroy/.test(method));
      expect(ends).to.deep.equal(['task.cancel', 'task.destroy']);
    } finally {
      await server.close();
    }
  });
});
