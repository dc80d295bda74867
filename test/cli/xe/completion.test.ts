import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';
import { type FakeXapi, secret, startFakeXapi } from './fake-xapi.js';
import { database } from './harness.js';

const program = fileURLToPath(new URL('../../../src/cli/xe/main.js', import.meta.url));
const script = fileURLToPath(new URL('../../../../etc/xe-completion.bash', import.meta.url));

/** Completes a line as bash does when Tab is pressed at its end. */
const driver = `
xe() { "$NODE" "$PROGRAM" "$@"; }
source "$SCRIPT"
COMP_LINE="$1" COMP_POINT=\${#1}
COMP_WORDS=($1) COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
_xe
(IFS=' '; echo "\${COMPREPLY[*]}")
`;

describe('completion of xe in bash', () => {
  const rows: [line: string, offered: string | RegExp][] = [
    ['xe -s host -u me vm-migr', 'vm-migrate'],
    ['xe help host-ev', 'host-evacuate'],
    ['xe vm-migrate remote-', 'remote-master= remote-username= remote-password= remote-network='],
    ['xe vm-migrate vi', 'vif:'],
    ['xe vm-start v', /^vm= /],
    ['xe vm-start vm=', 'db web vm-1 vm-2 vm-3'],
    ['xe vm-start on=t', 'two'],
    ['xe vif-create network-uuid=', 'net-1'],
    ['xe host-param-get uuid=host-1 param-name=API-version-m', 'API-version-major API-version-minor'],
    ['xe vm-list params=uuid,name-', 'uuid,name-label uuid,name-description'],
    ['xe network-list name-label=', 'two\\ wires'],
    ['xe network-list name-label=two\\ w', 'two\\ wires'],
    ['xe event-wait class=pool uuid=pool-1 migration-', 'migration-compression='],
    ['xe vm-shutdown --force=', 'true false'],
    ['xe -s ', ''],
    ['xe -u root vm-start vm=', 'db web vm-1 vm-2 vm-3'],
    ['xe -pw wrong vm-start vm=', ''],
  ];
  let server: FakeXapi;
  let complete: (line: string) => Promise<string>;
  before(async () => {
    const db = database();
    (db.network?.['OpaqueRef:n1'] as Record<string, unknown>).name_label = 'two wires';
    server = await startFakeXapi(db);
    const env = {
      NODE: process.execPath,
      PROGRAM: program,
      SCRIPT: script,
      XE_SERVER: server.url,
      XE_PASSWORD: secret,
    };
    complete = async (line) => (await execa('bash', ['--norc', '-c', driver, 'bash', line], { env })).stdout;
  });
  after(() => server.close());

  for (const [line, offered] of rows) {
    it(line, async () => {
      if (typeof offered === 'string') expect(await complete(line)).to.equal(offered);
      else expect(await complete(line)).to.match(offered);
    });
  }

  it('is registered for xe', async () => {
    const { stdout } = await execa('bash', ['--norc', '-c', `source "${script}"; complete -p xe`]);
    expect(stdout).to.equal('complete -F _xe xe');
  });
});
