import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { openSite, type Site } from '../daemon.js';

/** A program that says of itself what a QEMU of this version does. */
function pretend(site: Site, version: string): string {
  const file = path.join(site.directory, 'pretended-qemu');
  const help = 'pc   Standard PC (alias of pc-i440fx-7.2)\\npc-i440fx-7.2   Standard PC (default)\\n';
  const says = `case $1 in --version) echo "QEMU emulator version ${version}";; -machine) printf '${help}';; esac`;
  fs.writeFileSync(file, `#!/bin/sh\n${says}\n`, { mode: 0o755 });
  return file;
}

const asRoot = process.getuid?.() === 0;

describe('a daemon with backend = qemu', () => {
  let site: Site;
  beforeEach(() => {
    site = openSite();
  });
  afterEach(() => site.close());

  const refusals: readonly (readonly [what: string, lines: (site: Site) => string[], key: string, said: RegExp])[] = [
    ['a program that is not there', () => ['qemu = /nowhere/qemu'], 'qemu', /ENOENT/],
    ['a program that is no QEMU', () => ['qemu = /bin/echo'], 'qemu', /it says /],
    [
      'a QEMU that loses writes to memory that is migrated',
      (at) => [`qemu = ${pretend(at, '7.2.22')}`, 'qemu-accelerator = tcg'],
      'qemu',
      /version 7\.2: before 9\.0 and without kvm it loses writes/,
    ],
    ['a user that is not there', () => ['qemu-user = nobody-of-this-name'], 'qemu-user', asRoot ? /no user/ : /root/],
  ];
  for (const [what, lines, key, said] of refusals) {
    it(`does not start with ${what}, and says where it is set, as --check-config does`, async () => {
      site.configure('backend = qemu', ...lines(site));
      const at = fs
        .readFileSync(site.configFile, 'utf8')
        .split('\n')
        .findIndex((line) => line.startsWith(`${key} =`));
      const place = `${site.configFile}:${at + 1}: ${key} = `;
      const started = await site.run('--config', site.configFile);
      expect(started.status).to.equal(1);
      expect(started.stderr).to.contain(place).and.to.match(said);
      const checked = await site.run('--config', site.configFile, '--check-config');
      expect(checked.status).to.equal(1);
      expect(checked.stdout).to.contain(`error: ${place}`).and.to.match(said);
    });
  }

  it('says what the QEMU of this machine is, and by what guests run', async () => {
    site.configure('backend = qemu', `qemu = ${pretend(site, '10.0.2')}`, 'qemu-accelerator = tcg');
    const { status, stdout } = await site.run('--config', site.configFile, '--check-config');
    expect(status).to.equal(0);
    expect(stdout).to.contain('is QEMU 10.0.2: guests run by tcg, new VMs are pc-i440fx-7.2');
    expect(stdout).to.contain('backend = qemu');
  });
});
