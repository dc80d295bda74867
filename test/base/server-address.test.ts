import { expect } from 'chai';
import { serverOrigin, spokenUrl } from '../../src/base/server-address.js';

describe('The name of a server', () => {
  const taken: [server: string, origin: string][] = [
    ['host', 'http://host:8480'],
    ['host:81', 'http://host:81'],
    ['host:80', 'http://host'],
    ['host:81/jsonrpc', 'http://host:81'],
    ['host/jsonrpc', 'http://host:8480'],
    ['host:81?x=y', 'http://host:81'],
    ['host:81#here', 'http://host:81'],
    ['192.0.2.1', 'http://192.0.2.1:8480'],
    ['::1', 'http://[::1]:8480'],
    ['2001:db8::7', 'http://[2001:db8::7]:8480'],
    ['[::1]', 'http://[::1]:8480'],
    ['[::1]:81', 'http://[::1]:81'],
    ['[::1]:81/jsonrpc', 'http://[::1]:81'],
    ['http://host', 'http://host'],
    ['HTTP://Host/', 'http://host'],
    ['http://host:81', 'http://host:81'],
    ['http://host:81/', 'http://host:81'],
    ['http://host:81/jsonrpc', 'http://host:81'],
    ['http://host:81?x=y', 'http://host:81'],
    ['http://host:81#here', 'http://host:81'],
    ['http://[::1]:81/jsonrpc', 'http://[::1]:81'],
    ['http://[::1]', 'http://[::1]'],
  ];
  for (const [server, origin] of taken) {
    it(`may be '${server}', for ${origin}`, () => expect(serverOrigin(server, '8480')).to.equal(origin));
  }

  const refused: [server: string, why: RegExp][] = [
    ['', /names no server: allowed: a host/],
    ['host:', /'' is no port; allowed: 1 to 65535/],
    ['host:0', /'0' is no port/],
    ['host:65536', /'65536' is no port/],
    ['host:1e3', /'1e3' is no port/],
    ['host:-1', /'-1' is no port/],
    ['host: 81', /names no server/],
    ['host:port', /'port' is no port/],
    ['http://host:port/jsonrpc', /'port' is no port/],
    ['http://host:', /'' is no port/],
    ['http://', /names no server/],
    ['http:///jsonrpc', /names no server/],
    ['http://::1', /names no server|is no port/],
    ['[::1', /names no server/],
    ['[host]', /names no server/],
    ['https://host', /https is not spoken; allowed: http/],
    ['HTTPS://host:81/jsonrpc', /HTTPS is not spoken; allowed: http/],
    [' https://host', /names no server/],
    ['https:/host', /is no port/],
    ['https:\\\\host', /names no server|is no port/],
    ['http://https://host', /is no port/],
    ['//host', /names no server/],
    ['ftp://host', /ftp is not spoken/],
    ['me:secret@host', /names no server|is no port/],
    ['http://me:secret@host:81', /names no server|is no port/],
    ['a b', /names no server/],
    ['host\\other:81', /names no server/],
  ];
  for (const [server, why] of refused) {
    it(`is not '${server}'`, () => expect(() => serverOrigin(server, '8480')).to.throw(why));
  }
});

describe('A URL that is to be called', () => {
  it('is one of http', () => {
    expect(spokenUrl('HTTP://[::1]:81/jsonrpc?x=y').href).to.equal('http://[::1]:81/jsonrpc?x=y');
  });

  const refused: [url: string, why: string][] = [
    ['https://host:81/x?session_id=OpaqueRef:1', "'https://host:81' leads nowhere: https is not spoken; allowed: http"],
    ['HTTPS://host', "'https://host' leads nowhere: https is not spoken; allowed: http"],
    ['ws://host', "'ws://host' leads nowhere: ws is not spoken; allowed: http"],
    ['http:host', "'http:host' is no URL; allowed: http://host:port"],
    ['http:8480', "'http:8480' is no URL; allowed: http://host:port"],
    ['host:81', "'host:81' is no URL; allowed: http://host:port"],
    ['//host', "'//host' is no URL; allowed: http://host:port"],
    ['', "'' is no URL; allowed: http://host:port"],
  ];
  for (const [url, why] of refused) it(`is not '${url}'`, () => expect(() => spokenUrl(url)).to.throw(why));
});
