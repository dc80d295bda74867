/** A daemon that cannot start as its hypervisor does not do what it has to. */
import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { isAlive } from '../support/processes.js';
import { openSite, type Site } from './daemon.js';

/** What goes before the program in every Node process; `at(request, act)` is for the hypervisor alone. */
const preload = (directory: string, body: string) => `
  if (/hypervisor.main\\.js$/.test(process.argv[1] ?? '')) {
    require('node:fs').appendFileSync(${JSON.stringify(path.join(directory, 'begun'))}, process.pid + '\\n');
    const { Server } = require('node:net');
    const { emit } = Server.prototype;
    const at = (request, act) => {
      Server.prototype.emit = function (event, socket) {
        if (event === 'connection') socket.on('data', (data) => data.includes(\`"\${request}"\`) && act());
        return emit.apply(this, arguments);
      };
    };
    ${body}
  }`;

const stop = `() => process.kill(process.pid, 'SIGSTOP')`;
const rows: [what: string, body: string, said: RegExp][] = [
  [
    'ends at once',
    'process.exit(7)',
    /the hypervisor ended with status 7 when it was started; .*hypervisor\.log says why/,
  ],
  [
    'never comes up, and does not end by itself',
    `process.on('SIGTERM', () => {}); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)`,
    /no hypervisor at .*hypervisor\.sock/,
  ],
  ['does not take the daemon', `at('attach', ${stop})`, /no answer of the hypervisor to attach within 1 s/],
  ['does not answer the first request', `at('list', ${stop})`, /no answer of the hypervisor to list within 1 s/],
  ['does not answer a later request', `at('memory', ${stop})`, /no answer of the hypervisor to memory within 1 s/],
  ['is killed at the first request', `at('list', () => process.kill(process.pid, 'SIGKILL'))`, /hypervisor/],
];

describe('a daemon whose hypervisor fails it', function () {
  this.timeout(60_000);
  let site: Site;
  let hook: string;
  beforeEach(() => {
    hook = path.join(fs.mkdtempSync('/tmp/xenferry-hook-'), 'hook.cjs');
    site = openSite({ environment: { NODE_OPTIONS: `--require ${hook}` } });
  });
  afterEach(async () => {
    for (const pid of begun()) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    await site.close();
    fs.rmSync(path.dirname(hook), { recursive: true });
  });
  const begun = (): number[] => {
    const file = path.join(path.dirname(hook), 'begun');
    return fs.existsSync(file) ? fs.readFileSync(file, 'utf8').trim().split('\n').map(Number) : [];
  };
  const failing = (body: string) => fs.writeFileSync(hook, preload(path.dirname(hook), body));

  for (const [what, body, said] of rows) {
    it(`says so, ends with status 1 and leaves none behind where it ${what}`, async () => {
      failing(body);
      const { status, stdout, stderr } = await site.run('--config', site.configFile, '--backend-timeout=1');
      expect({ status, stdout }).to.deep.equal({ status: 1, stdout: '' });
      expect(stderr)
        .to.match(/^xenferryd: [^\n]*\n$/)
        .and.to.match(said);
      expect(begun()).to.have.length.above(0);
      expect(begun().filter(isAlive)).to.deep.equal([]);
    });
  }

  it('leaves none behind where it is told to end before the hypervisor is up', async () => {
    failing(`process.on('SIGTERM', () => {}); process.kill(process.ppid, 'SIGTERM');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)`);
    const { status, stderr } = await site.run('--config', site.configFile, '--shutdown-timeout=1');
    expect({ status, stderr }).to.deep.equal({ status: 0, stderr: '' });
    expect(begun()).to.have.length(1);
    expect(begun().filter(isAlive)).to.deep.equal([]);
  });
});
