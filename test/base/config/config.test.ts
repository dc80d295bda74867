import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import {
  ConfigError,
  type ConfigInit,
  type Environment,
  readConfig,
  thisMachine,
} from '../../../src/base/config/config.js';
import { parseConfigText } from '../../../src/base/config/file.js';
import { configKeyNames, configKeys } from '../../../src/base/config/keys.js';
import { checkConfig, describeChange, diffConfig, reloadConfig } from '../../../src/base/config/report.js';

const environment: Environment = {
  variables: {},
  isRoot: false,
  home: '/home/me',
  hostName: 'machine-1',
  directory: '/here',
  memoryBytes: 8 * 2 ** 30,
  sharedMemoryBytes: 4 * 2 ** 30,
};

describe('the configuration', () => {
  let directory: string;
  let file: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'config-'));
    file = join(directory, 'xenopsd.conf');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  function write(text: string, name = 'xenopsd.conf'): void {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), text);
  }

  const read = (args: string[] = [], over: Partial<Environment> = {}) => readConfig(init(args, over));
  const init = (args: string[] = [], over: Partial<Environment> = {}): ConfigInit => ({
    file,
    args,
    environment: { ...environment, ...over },
  });

  function problemsOf(args: string[] = []): readonly string[] {
    try {
      read(args);
    } catch (error) {
      expect(error).to.be.instanceOf(ConfigError);
      return (error as ConfigError).problems;
    }
    return [];
  }

  it('has defaults, without any file as well', () => {
    const { config, origins, warnings } = readConfig({ args: [], environment });
    expect(config).to.deep.equal({
      migrationCompressor: 'stream',
      migrationCompressionLevel: 'auto',
      migrationMaxDowntime: 300,
      migrationMaxRounds: 4,
      migrationConvergence: 'proceed',
      emuManager: '',
      zstd: 'zstd',
      migrationDigest: false,
      migrationOutgoingLimit: 3,
      migrationIncomingLimit: 3,
      migrationAcceptTimeout: 60,
      migrationStepTimeout: 120,
      migrationProgressTimeout: 60,
      backendTimeout: 30,
      peerTimeout: 60,
      helperStopTimeout: 1,
      keepaliveTime: 10,
      shutdownTimeout: 30,
      faultInjection: false,
      vmSuspendTimeout: 1200,
      vmSuspendAckTimeout: 30,
      workerPoolSize: 4,
      evacuationBatchSize: 10,
      log: 'stderr',
      loglevel: 'info',
      pidfile: '',
      stateDir: '/home/me/.local/state/xenferry',
      databasePath: '/home/me/.local/state/xenferry/db',
      databaseReserve: 2 ** 21,
      configDir: '',
      listenAddress: '127.0.0.1',
      port: 8480,
      address: '127.0.0.1',
      corsOrigins: [],
      hostName: 'machine-1',
      coordinator: '',
      poolSecretFile: '/home/me/.local/state/xenferry/pool-secret',
      memoryDir: '/dev/shm',
      simulatorMemory: 6 * 2 ** 30,
      vmShutdownTimeout: 1200,
      backend: 'simulator',
      qemu: 'qemu-system-x86_64',
      qemuAccelerator: 'auto',
      qemuMemory: 6 * 2 ** 30,
      qemuOverhead: 75 * 2 ** 20,
      qemuUser: '',
      qemuFirmware: '/usr/share/OVMF/OVMF_CODE_4M.fd',
      qemuFirmwareVariables: '/usr/share/OVMF/OVMF_VARS_4M.fd',
      qemuKernelDir: '/boot',
    });
    expect(new Set(Object.values(origins).map(({ kind }) => kind))).to.deep.equal(new Set(['default']));
    expect(warnings).to.deep.equal([]);
  });

  for (const [what, text, over, expected] of [
    ['root', '', { isRoot: true }, { stateDir: '/var/lib/xenferry', databasePath: '/var/lib/xenferry/db' }],
    ['an XDG state directory', '', { variables: { XDG_STATE_HOME: '/s' } }, { stateDir: '/s/xenferry' }],
    ['a state directory', 'state-dir = /s', {}, { databasePath: '/s/db', poolSecretFile: '/s/pool-secret' }],
    ['no shared memory', 'state-dir = /s', { sharedMemoryBytes: 0 }, { memoryDir: '/s', simulatorMemory: 6 * 2 ** 30 }],
    ['little shared memory', 'state-dir = /s', { sharedMemoryBytes: 2 ** 26 }, { memoryDir: '/s' }],
    ['enough shared memory', '', { sharedMemoryBytes: 2 ** 29 }, { memoryDir: '/dev/shm' }],
    ['a listen address', 'listen-address = 192.0.2.7', {}, { address: '192.0.2.7' }],
    ['every IPv4 address', 'listen-address = 0.0.0.0', {}, { address: 'machine-1' }],
    ['every address and a name', 'listen-address = ::\nhost-name = h', {}, { address: 'h' }],
    ['an empty value', 'state-dir = /s\ndatabase-path =', {}, { databasePath: '/s/db' }],
  ] as const) {
    it(`makes defaults for ${what}`, () => {
      write(text);
      expect(read([], over).config).to.deep.include(expected);
    });
  }

  it('warns when others are told a name because every address is listened on', () => {
    write('listen-address = 0.0.0.0');
    expect(read().warnings).to.have.length(1);
    expect(read(['--address', '192.0.2.1']).warnings).to.deep.equal([]);
  });

  it('takes the last value of a key, fragments by name over the file, the command line over all', () => {
    write('port = 1\nport = 2\nzstd = a\nloglevel = debug\nworker-pool-size = 9\nconfig-dir = more.d');
    write('zstd = b\nworker-pool-size = 10', 'more.d/10.conf');
    write('zstd = c', 'more.d/20.conf');
    write('zstd = d', 'more.d/30.txt');
    write('zstd = e', 'more.d/.40.conf');
    const { config, origins } = read(['--loglevel', 'error', '--port=3', '--port', '4']);
    expect(config).to.deep.include({ port: 4, zstd: 'c', loglevel: 'error', workerPoolSize: 10 });
    expect(origins.port).to.deep.equal({ kind: 'command-line' });
    expect(origins.zstd).to.deep.equal({ kind: 'file', file: join(directory, 'more.d/20.conf'), line: 1 });
    expect(origins['worker-pool-size']).to.deep.include({ line: 2 });
    expect(origins['config-dir']).to.deep.equal({ kind: 'file', file, line: 6 });
  });

  it('takes the config-dir of the command line, and no other from a fragment', () => {
    write('config-dir = one.d');
    write('port = 1', 'one.d/a.conf');
    write('port = 2\nconfig-dir = one.d', 'two.d/a.conf');
    const { config, warnings } = read([`--config-dir=${join(directory, 'two.d')}`]);
    expect(config.port).to.equal(2);
    expect(warnings).to.have.length(1);
    expect(warnings[0]).to.contain('a.conf:2: config-dir has no effect');
  });

  it('warns of a config-dir that is not there, and refuses one whose fragments would be lost', () => {
    write('config-dir = nowhere');
    expect(read().warnings[0]).to.contain(`${file}:1: config-dir = ${join(directory, 'nowhere')}: cannot be read`);
    write('config-dir = xenopsd.conf');
    expect(problemsOf()[0]).to.contain(`${file}:1: config-dir = ${file}: cannot be read: ENOTDIR`);
  });

  it('starts relative paths from the directory of their file, or of the command line', () => {
    write('pidfile = a.pid\nemu-manager = ./emu');
    const { config } = read(['--state-dir', 'state']);
    expect(config).to.deep.include({ pidfile: join(directory, 'a.pid'), emuManager: join(directory, 'emu') });
    expect(config.stateDir).to.equal('/here/state');
  });

  describe('migration-compressor', () => {
    for (const [text, value, quoted] of [
      ['stream', 'stream', undefined],
      ['XenGuest', 'xenguest', undefined],
      ['"XENGUEST" # quoted', 'xenguest', undefined],
      ['ZStd-Fast', 'stream', '"ZStd-Fast"'],
      ["' Xenguest'", 'stream', '" Xenguest"'],
      ['', 'stream', '""'],
    ] as const) {
      it(`"${text}" acts as ${value}${quoted ? ' with a warning that quotes it' : ''}`, () => {
        write(`\nmigration-compressor = ${text}`);
        const { config, warnings } = read();
        expect(config.migrationCompressor).to.equal(value);
        expect(warnings).to.have.length(quoted === undefined ? 0 : 1);
        if (quoted)
          expect(warnings[0]).to.contain(`${file}:2: migration-compressor: ${quoted} is not known and acts as stream`);
      });
    }

    it('warns of the value in effect alone', () => {
      write('migration-compressor = gzip');
      expect(read(['--migration-compressor', 'xenguest']).warnings).to.deep.equal([]);
    });
  });

  it('reports every problem at once, with file, line, key, value and what is allowed', () => {
    write('port = 70000\nworker-pool-size = many\nno setting\nconfig-dir = d\nport = 80');
    write('loglevel = loud', 'd/x.conf');
    const problems = problemsOf(['--vm-suspend-timeout=soon', '--nope', 'x', 'word', '--pidfile']);
    expect(problems).to.have.members([
      `${file}:1: port = 70000: allowed is a whole number from 0 to 65535`,
      `${file}:2: worker-pool-size = many: allowed is a whole number from 1 to 1024`,
      `${file}:3: "no setting" is not a setting; allowed is key = value`,
      `${join(directory, 'd/x.conf')}:1: loglevel = loud: allowed is error, warn, info or debug`,
      `command line: vm-suspend-timeout = soon: allowed is ${configKeys['vm-suspend-timeout'].type.allowed}`,
      '--nope: no such option, see --help',
      'word: no such option, see --help',
      '--pidfile: needs a value; allowed is a path',
    ]);
  });

  it('refuses a file that cannot be read', () => {
    expect(problemsOf()[0]).to.contain(`${file}: cannot be read: ENOENT`);
  });

  it('warns of an unknown key, with the nearest known one as a hint', () => {
    write('worker-pool-sizes = 3\nMigration-Compressor = xenguest\nentirely-else = 1');
    const { warnings } = read();
    expect(warnings).to.have.length(3);
    expect(warnings[0])
      .to.contain(`${file}:1: worker-pool-sizes is not a known key`)
      .and.to.contain('mean worker-pool-size?');
    expect(warnings[1]).to.contain('did you mean migration-compressor?');
    expect(warnings[2]).not.to.contain('did you mean');
    expect(problemsOf(['--prot', '1'])[0]).to.equal('--prot: no such option; did you mean --port?');
  });

  it('takes --migration-digest alone as true, whatever follows', () => {
    write('');
    expect(read(['--migration-digest', '--port', '1']).config).to.deep.include({ migrationDigest: true, port: 1 });
    expect(read(['--migration-digest', 'off', '--port', '1']).config).to.deep.include({
      migrationDigest: false,
      port: 1,
    });
    expect(read(['--port', '1', '--migration-digest']).config).to.deep.include({ migrationDigest: true, port: 1 });
  });

  it('is described by the machine that it runs on', () => {
    const machine = thisMachine();
    expect(machine.memoryBytes).to.be.greaterThan(0);
    expect(readConfig({ args: [] }).config.simulatorMemory).to.be.within(2 ** 20, machine.memoryBytes);
  });

  describe('--check-config', () => {
    const check = (args: string[] = []) =>
      checkConfig(init(args), async () => ({ notes: ['all is well'], problems: [] }));

    it('prints every key with its value and where that comes from, and warnings', async () => {
      write('port = 81\nunknown = 1');
      const { lines, exitCode } = await check(['--loglevel=debug']);
      expect(exitCode).to.equal(0);
      expect(lines).to.have.length(configKeyNames.length + 2);
      expect(lines).to.include.members([
        `port = 81  # ${file}:1`,
        'loglevel = debug  # command line',
        'simulator-memory = 6GiB  # default',
        '# all is well',
      ]);
      expect(lines.at(-1)).to.match(/^warning: .*:2: unknown is not a known key/);
    });

    it('prints what could be read and every error, and fails', async () => {
      write('port = x\nworker-pool-size = 0\nzstd = other');
      const { lines, exitCode } = await check();
      expect(exitCode).to.equal(1);
      expect(lines).to.include.members(['port = 8480  # default', `zstd = other  # ${file}:3`]);
      expect(lines.filter((line) => line.startsWith('error: '))).to.have.length(2);
    });

    it('prints lines that are a configuration with the same values', async () => {
      write('simulator-memory = 3GiB\nemu-manager = /a"b\'c\\#\nhost-name = "a # \\b"\nzstd = \'"z\'');
      const before = read().config;
      write((await check()).lines.join('\n'));
      expect(read().config).to.deep.equal(before);
    });
  });

  describe('a reload', () => {
    it('tells what changed and where, and keeps what counts at the start', () => {
      write('port = 81\nloglevel = info\nzstd = a');
      const current = read();
      write('loglevel = debug\nport = 82\nvm-suspend-timeout = 10m');
      const { loaded, changes } = reloadConfig(current, init());
      expect(loaded.config).to.deep.include({ port: 81, loglevel: 'debug', zstd: 'zstd', vmSuspendTimeout: 600 });
      expect(loaded.origins.port).to.deep.equal({ kind: 'file', file, line: 1 });
      expect(changes.map(describeChange)).to.deep.equal([
        'zstd: a is now zstd',
        `${file}:3: vm-suspend-timeout: 1200 is now 600`,
        `${file}:1: loglevel: info is now debug`,
        `${file}:2: port: 82 needs a restart; 81 stays in effect`,
      ]);
      expect(changes.at(-1)).to.deep.equal({
        key: 'port',
        oldValue: '81',
        newValue: '82',
        file,
        line: 2,
        needsRestart: true,
      });
    });

    it('keeps what follows from a value that counts at the start', () => {
      write('state-dir = /one');
      const current = read();
      write('state-dir = /two');
      const { loaded, changes } = reloadConfig(current, init());
      expect(loaded.config).to.deep.equal(current.config);
      expect(changes.every(({ needsRestart }) => needsRestart)).to.equal(true);
    });

    it('with a problem changes nothing', () => {
      write('');
      const current = read();
      write('loglevel = debug\nport = x');
      expect(() => reloadConfig(current, init())).to.throw(ConfigError, 'port = x');
    });

    it('of the same files changes nothing', () => {
      write('port = 81');
      expect(diffConfig(read(), read())).to.deep.equal([]);
    });
  });

  describe('the sample file', () => {
    const sample = readFileSync(fileURLToPath(new URL('../../../../etc/xenopsd.conf', import.meta.url)), 'utf8');

    it('has every key with its default, commented out', () => {
      expect(parseConfigText(sample)).to.deep.equal({ entries: [], problems: [] });
      const settings = sample.split('\n').filter((line) => /^# [a-z-]+ =/.test(line));
      const { entries } = parseConfigText(settings.map((line) => line.slice(2)).join('\n'));
      const defaults = Object.fromEntries(configKeyNames.map((key) => [key, configKeys[key].default]));
      expect(Object.fromEntries(entries.map(({ key, value }) => [key, value]))).to.deep.equal(defaults);
    });

    it('marks the keys that count at the start', () => {
      for (const key of configKeyNames) {
        const [, paragraph = ''] = new RegExp(`((?:^# .*\n)+)# ${key} =`, 'm').exec(sample) ?? [];
        const { atStart = false } = { atStart: undefined, ...configKeys[key] };
        expect(paragraph.includes('(restart)'), key).to.equal(atStart);
      }
    });
  });
});
