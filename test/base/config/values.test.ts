import { expect } from 'chai';
import {
  bool,
  choice,
  choiceOr,
  compressionLevel,
  duration,
  hostAddress,
  httpUrl,
  integer,
  logDestination,
  pageOrigins,
  path,
  program,
  size,
  userName,
  type ValueType,
} from '../../../src/base/config/values.js';

const level = choice(['error', 'warn'], { warning: 'warn' });
const compressor = choiceOr(['stream', 'xenguest'], 'stream');

/** Type, text, value; undefined where the text is refused. */
const rows: readonly (readonly [string, ValueType<unknown>, string, unknown])[] = [
  ['integer', integer(1, 1024), '4', 4],
  ['integer', integer(1, 1024), '1024', 1024],
  ['integer', integer(1, 1024), '0', undefined],
  ['integer', integer(1, 1024), '1025', undefined],
  ['integer', integer(1, 1024), '4.5', undefined],
  ['integer', integer(1, 1024), '-1', undefined],
  ['integer', integer(0, 10), '', undefined],
  ['integer', integer(0, 1024), '0x10', undefined],
  ['compression level', compressionLevel, 'Auto', 'auto'],
  ['compression level', compressionLevel, '-7', -7],
  ['compression level', compressionLevel, '0', 0],
  ['compression level', compressionLevel, '9', 9],
  ['compression level', compressionLevel, '10', undefined],
  ['compression level', compressionLevel, '-8', undefined],
  ['compression level', compressionLevel, 'fast', undefined],
  ['duration', duration, '30', 30],
  ['duration', duration, '1200.', 1200],
  ['duration', duration, '0.5', 0.5],
  ['duration', duration, '500ms', 0.5],
  ['duration', duration, '30 S', 30],
  ['duration', duration, '20m', 1200],
  ['duration', duration, '1h', 3600],
  ['duration', duration, '0', undefined],
  ['duration', duration, '1d', undefined],
  ['duration', duration, '-1', undefined],
  ['duration', duration, '999h', undefined],
  ['duration', duration, 'Infinity', undefined],
  ['size', size, '4GiB', 4 * 2 ** 30],
  ['size', size, '512 mib', 2 ** 29],
  ['size', size, '1.5TiB', 1.5 * 2 ** 40],
  ['size', size, '2048KiB', 2 ** 21],
  ['size', size, '1KiB', undefined],
  ['size', size, '4GB', 4 * 2 ** 30],
  ['size', size, '1048576', 2 ** 20],
  ['size', size, '2m', 2 ** 21],
  ['size', size, '1.5', undefined],
  ['size', size, '4 parsec', undefined],
  ['size', size, '4', undefined],
  ['size', size, '99999999TiB', undefined],
  ['bool', bool, 'TRUE', true],
  ['bool', bool, 'on', true],
  ['bool', bool, '1', true],
  ['bool', bool, 'No', false],
  ['bool', bool, '0', false],
  ['bool', bool, '', undefined],
  ['bool', bool, 'constructor', undefined],
  ['choice', level, 'WARN', 'warn'],
  ['choice', level, 'Warning', 'warn'],
  ['choice', level, 'info', undefined],
  ['choice', level, 'constructor', undefined],
  ['choiceOr', compressor, 'XenGuest', 'xenguest'],
  ['choiceOr', compressor, 'gzip', 'stream'],
  ['path', path, '', ''],
  ['path', path, '/a/../b/', '/b'],
  ['path', path, 'sub/file', '/here/sub/file'],
  ['path', path, 'a\0b', undefined],
  ['log', logDestination, 'StdErr', 'stderr'],
  ['log', logDestination, '/var/log/x', '/var/log/x'],
  ['log', logDestination, 'x.log', '/here/x.log'],
  ['log', logDestination, 'syslog:xenopsd', 'syslog:xenopsd'],
  ['log', logDestination, 'SysLog:a.b-c_1', 'syslog:a.b-c_1'],
  ['log', logDestination, 'syslog:', undefined],
  ['log', logDestination, 'syslog:two words', undefined],
  ['log', logDestination, 'file:/var/log/x', undefined],
  ['log', logDestination, '', undefined],
  ['program', program, 'zstd', 'zstd'],
  ['program', program, './zstd', '/here/zstd'],
  ['program', program, '', undefined],
  ['address', hostAddress, '192.0.2.1', '192.0.2.1'],
  ['address', hostAddress, 'host-1.example', 'host-1.example'],
  ['address', hostAddress, '::1', '::1'],
  ['address', hostAddress, 'http://x', undefined],
  ['address', hostAddress, 'a b', undefined],
  ['address', hostAddress, '', undefined],
  ['URL', httpUrl, '', ''],
  ['URL', httpUrl, 'http://192.0.2.1:8480/', 'http://192.0.2.1:8480'],
  ['URL', httpUrl, '192.0.2.1:8480', undefined],
  ['URL', httpUrl, 'ftp://192.0.2.1', undefined],
  ['origins', pageOrigins, '', []],
  ['origins', pageOrigins, 'https://xo.example', ['https://xo.example']],
  ['origins', pageOrigins, 'HTTPS://XO.Example:443/', ['https://xo.example']],
  ['origins', pageOrigins, 'https://a, http://b:80 ,http://b', ['https://a', 'http://b']],
  ['origins', pageOrigins, 'http://[2001:DB8:0::7]:8080', ['http://[2001:db8::7]:8080']],
  ['origins', pageOrigins, 'https://bücher.example', ['https://xn--bcher-kva.example']],
  ['origins', pageOrigins, '*', undefined],
  ['origins', pageOrigins, 'null', undefined],
  ['origins', pageOrigins, 'https://*.example', undefined],
  ['origins', pageOrigins, 'xo.example', undefined],
  ['origins', pageOrigins, 'ftp://xo.example', undefined],
  ['origins', pageOrigins, 'https://xo.example/path', undefined],
  ['origins', pageOrigins, 'https://me@xo.example', undefined],
  ['origins', pageOrigins, 'https://xo.example:99999', undefined],
  ['origins', pageOrigins, 'https://', undefined],
  ['user', userName, 'qemu', 'qemu'],
  ['user', userName, '1000:kvm', '1000:kvm'],
  ['user', userName, '', ''],
  ['user', userName, 'a b', undefined],
  ['user', userName, 'qemu:', undefined],
] as readonly (readonly [string, ValueType<unknown>, string, unknown])[];

describe('values of xenopsd.conf', () => {
  for (const [name, type, text, value] of rows) {
    it(`${name}: ${JSON.stringify(text)} is ${value === undefined ? 'refused' : JSON.stringify(value)}`, () => {
      expect(type.parse(text, '/here')?.value).to.deep.equal(value);
    });
  }

  it('are written so that they are read as the same', () => {
    for (const [name, type, text, value] of rows.filter((row) => row[3] !== undefined)) {
      expect(type.parse(type.format(value), '/here')?.value, `${name} ${text}`).to.deep.equal(value);
    }
  });

  it('say in words what is allowed', () => {
    expect(integer(0, 65535).allowed).to.equal('a whole number from 0 to 65535');
    expect(choice(['a', 'b', 'c']).allowed).to.equal('a, b or c');
  });

  it('quote an unknown word of a choice that stands for another, exactly as written', () => {
    expect(compressor.parse('ZStd ++', '')?.warning).to.equal(
      '"ZStd ++" is not known and acts as stream; allowed is stream or xenguest',
    );
  });
});
