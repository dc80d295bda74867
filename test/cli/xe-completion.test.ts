import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';
import { type FakeXapi, secret, startFakeXapi } from './fake-xapi.js';
import { database } from './xe-harness.js';

const program = fileURLToPath(new URL('../../src/cli/xe.js', import.meta.url));
const script = fileURLToPath(new URL('../../../scripts/xe-completion.bash', import.meta.url));

/** Completes each line as bash does when Tab is pressed at its end: the replies are a line each. */
const driver = `
xe() { "$NODE" "$PROGRAM" "$@"; }
source "$SCRIPT"
for line in "$@"; do
  COMP_LINE="$line" COMP_POINT=\${#line}
  COMP_WORDS=($line) COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
  _xe
  (IFS=' '; echo "\${COMPREPLY[*]}")
done
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
  let replies: string[];
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
    const lines = rows.map(([line]) => line);
    const half = Math.ceil(lines.length / 2);
    const shells = [lines.slice(0, half), lines.slice(half)].map((some) =>
      execa('bash', ['--norc', '-c', driver, 'bash', ...some], { env }),
    );
    replies = (await Promise.all(shells)).flatMap(({ stdout }) => stdout.split('\n'));
  });
  after(() => server.close());

  for (const [i, [line, offered]] of rows.entries()) {
    it(line, () => {
      if (typeof offered === 'string') expect(replies[i]).to.equal(offered);
      else expect(replies[i]).to.match(offered);
    });
  }

  it('is registered for xe', async () => {
    const { stdout } = await execa('bash', ['--norc', '-c', `source "${script}"; complete -p xe`]);
    expect(stdout).to.equal('complete -F _xe xe');
  });
});
