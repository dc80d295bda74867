import { expect } from 'chai';
import { recordWithDefaults } from '../../src/model/value.js';
import { bodyLimit } from '../../src/wire/connection/rpc-client.js';
import { type ApiServer, startApi } from './api-server.js';
import { fakeDeps, rootSession, vmRef } from './fake-deps.js';

function call(method: string, ...values: string[]): string {
  const params = values.map((value) => `<param><value>${value}</value></param>`).join('');
  return `<?xml version="1.0"?>\n<methodCall><methodName>${method}</methodName><params>${params}</params></methodCall>`;
}

function answer(value: string): string {
  return `<?xml version="1.0"?><methodResponse><params><param>${value}</param></params></methodResponse>`;
}

function success(value: string): string {
  return answer(
    `<value><struct><member><name>Status</name><value>Success</value></member><member><name>Value</name>${value}</member></struct></value>`,
  );
}

/** Every text here is what goes over a real connection, byte for byte. */
describe('XML-RPC', () => {
  const seen: unknown[][] = [];
  let api: ApiServer;
  before(async () => {
    const keep = (_context: unknown, ...params: unknown[]) => {
      seen.push(params);
    };
    api = await startApi(
      fakeDeps({
        handlers: {
          session: { login_with_password: () => rootSession, logout: () => {} },
          event: { get_current_id: () => 7, from: () => batch },
          host: { get_servertime: () => new Date('2026-11-23T09:17:05Z') },
          VM: { start: keep },
          VIF: { create: keep },
        },
      }),
    );
  });
  after(() => api.close());
  const post = (body: string | Buffer) => api.send('POST', '/', body);

  const named = (encoding: string, bytes: number[]): Buffer => {
    const [before, after] = call('VM.get_by_name_label', rootSession, 'NAME').split('NAME') as [string, string];
    const head = before.replace('<?xml version="1.0"?>', `<?xml version="1.0" encoding="${encoding}"?>`);
    return Buffer.concat([Buffer.from(head), Buffer.from(bytes), Buffer.from(after)]);
  };
  for (const [encoding, bytes, text] of [
    ['UTF-8', [0xc3, 0xa4, 0xe2, 0x82, 0xac], 'ä€'],
    ['utf-8', [0xc3, 0xa4], 'ä'],
    ['ISO-8859-1', [0xe4, 0xdf], 'äß'],
    ['iso-8859-1', [0xe4], 'ä'],
    ['ISO-8859-15', [0xe4, 0xa4], 'ä€'],
    ['windows-1252', [0xe4, 0x80], 'ä€'],
    ['us-ascii', [0x61], 'a'],
  ] as const) {
    it(`reads a call that declares ${encoding}`, async () => {
      const label = named(encoding, [...bytes]);
      const sent = label.toString('latin1').replace('VM.get_by_name_label', 'VM.start');
      seen.length = 0;
      await post(
        Buffer.from(
          sent.replace('</params>', `${'<param><value><boolean>0</boolean></value></param>'.repeat(2)}</params>`),
          'latin1',
        ),
      );
      expect(seen.at(-1)?.[0]).to.equal(text);
    });
  }
  for (const [what, body] of [
    ['UTF-16', Buffer.from(call('VM.start').replace('?>', ' encoding="UTF-16"?>'))],
    ['UTF-16', Buffer.from(`\ufeff${call('VM.start')}`, 'utf16le')],
    ['UTF-16', Buffer.from(call('VM.start'), 'utf16le')],
    ['koi8-r', named('koi8-r', [0xc1])],
    ['', named('', [0x61])],
  ] as const) {
    it(`refuses a call in '${what}' with what is allowed`, async () => {
      const { status, body: answered } = await post(body);
      expect(status).to.equal(500);
      expect(answered).to.include(
        `the encoding is '${what}'; allowed: UTF-8, US-ASCII, ISO-8859-1, ISO-8859-15, windows-1252`.replaceAll(
          "'",
          "'",
        ),
      );
    });
  }

  const metrics = { ...recordWithDefaults('VM_metrics'), VCPUs_utilisation: { 0: 0.5 } };
  const batch = {
    events: [
      { id: '7', timestamp: '0.0', class: 'vm_metrics', operation: 'mod', ref: 'OpaqueRef:m', snapshot: metrics },
      { id: '8', timestamp: '0.0', class: 'vm', operation: 'del', ref: 'OpaqueRef:v' },
    ],
    valid_ref_counts: { vm_metrics: 1, vm: 0 },
    token: '00000000000000000000,00000000000000000008',
  };

  const rows: [string, string, string][] = [
    ['a login', call('session.login_with_password', 'root', '<string>pw</string>'), '<value>OpaqueRef:root</value>'],
    ['nothing', call('session.logout', rootSession), '<value></value>'],
    ['an integer', call('event.get_current_id', rootSession), '<value>7</value>'],
    ['a float', call('VM.get_HVM_shadow_multiplier', rootSession, vmRef), '<value><double>1.0</double></value>'],
    ['a boolean', call('VM.get_is_a_template', rootSession, vmRef), '<value><boolean>0</boolean></value>'],
    [
      'a time',
      call('host.get_servertime', rootSession, 'OpaqueRef:h'),
      '<value><dateTime.iso8601>20261123T09:17:05Z</dateTime.iso8601></value>',
    ],
    ['a text', call('VM.get_name_label', rootSession, vmRef), '<value>one</value>'],
    ['the null reference', call('VM.get_resident_on', rootSession, vmRef), '<value>OpaqueRef:NULL</value>'],
    ['a set', call('VM.get_tags', rootSession, vmRef), '<value><array><data><value>a</value></data></array></value>'],
    ['a map', call('VM.get_xenstore_data', rootSession, vmRef), '<value><struct></struct></value>'],
  ];
  for (const [what, body, value] of rows) {
    it(`gives ${what}`, async () => {
      const reply = await post(body);
      expect([reply.status, reply.headers['content-type'], reply.body]).to.deep.equal([
        200,
        'text/xml',
        success(value),
      ]);
    });
  }

  it('gives a record by its declared types', async () => {
    const { body } = await post(call('VM.get_record', rootSession, vmRef));
    expect(body).to.contain(
      '<member><name>Value</name><value><struct><member><name>uuid</name><value>vm-uuid</value></member>',
    );
    expect(body).to.contain('<member><name>VCPUs_max</name><value>0</value></member>');
    expect(body).to.contain('<name>HVM_shadow_multiplier</name><value><double>1.0</double></value>');
  });

  it('gives the names of all methods as an array alone', async () => {
    const { body } = await post('<methodCall><methodName>system.listMethods</methodName></methodCall>');
    expect(body.startsWith(answer('').split('</param>')[0] as string)).to.equal(true);
    expect(body).to.match(/<param><value><array><data>(<value>[\w.]+<\/value>)+<\/data><\/array><\/value><\/param>/);
    expect(body).to.contain('<value>VM.receive</value>');
  });

  it('gives events with their snapshots, counting in <i4>', async () => {
    const classes = '<array><data><value>*</value></data></array>';
    const { body } = await post(call('event.from', rootSession, classes, '', '<double>30.0</double>'));
    const text = (name: string, value: string) => `<member><name>${name}</name><value>${value}</value></member>`;
    const head = (id: string, cls: string, operation: string, ref: string) =>
      text('id', id) + text('timestamp', '0.0') + text('class', cls) + text('operation', operation) + text('ref', ref);
    const snapshot =
      /<member><name>snapshot<\/name><value>(.*?VCPUs_utilisation.*?numa_node_memory.*?)<\/value><\/member><\/struct><\/value>/;
    expect(body).to.match(snapshot);
    expect(body).to.contain(
      '<name>VCPUs_utilisation</name><value><struct><member><name>0</name><value><double>0.5</double>',
    );
    expect(body).to.contain(`<value><struct>${head('7', 'vm_metrics', 'mod', 'OpaqueRef:m')}<member><name>snapshot`);
    expect(body).to.contain(
      `<value><struct>${head('8', 'vm', 'del', 'OpaqueRef:v')}</struct></value></data></array></value></member>` +
        '<member><name>valid_ref_counts</name><value><struct>' +
        text('vm_metrics', '<i4>1</i4>') +
        text('vm', '<i4>0</i4>') +
        `</struct></value></member>${text('token', batch.token)}</struct></value>`,
    );
  });

  const integers = ['1500', '<string>1500</string>', '<int>1500</int>', '<i4>1500</i4>', '<i8>1500</i8>'];
  for (const integer of integers) {
    it(`takes an integer as ${integer}`, async () => {
      const record = `<struct><member><name>MTU</name><value>${integer}</value></member></struct>`;
      await post(call('VIF.create', rootSession, record));
      expect(seen.at(-1)?.[0]).to.deep.include({ MTU: 1500, VM: 'OpaqueRef:NULL' });
    });
  }

  it('takes a boolean as such alone', async () => {
    await post(call('VM.start', rootSession, vmRef, '<boolean>1</boolean>', '<boolean>0</boolean>'));
    expect(seen.at(-1)).to.deep.equal([vmRef, true, false]);
    const { body } = await post(call('VM.start', rootSession, vmRef, 'true', 'false'));
    expect(body).to.contain("Expected bool, got 'S(true)'");
  });

  it('refuses bytes that are no UTF-8 as the failure of a call', async () => {
    const [before, after] = call('VM.get_by_name_label', rootSession, 'a|').split('|') as [string, string];
    const { status, body } = await post(
      Buffer.concat([Buffer.from(before), Buffer.from([0xc3, 0x28]), Buffer.from(after)]),
    );
    expect(status).to.equal(200);
    expect(body).to.contain('<value>INVALID_VALUE</value><value>Invalid UTF-8 string in parameter</value>');
  });

  const noCalls: [string, string, string][] = [
    ['JSON', '{"jsonrpc":"2.0","id":1,"method":"VM.get_all"}', '-32700'],
    ['half a call', call('VM.get_all').slice(0, -5), '-32700'],
    ['something else in XML', '<html/>', '-32600'],
    ['an entity bomb', `<!DOCTYPE a [<!ENTITY b "c">]>${call('VM.get_all', '&b;')}`, '-32600'],
  ];
  for (const [what, body, code] of noCalls) {
    it(`answers ${what} with 500 and a fault, ends the connection, and serves on`, async () => {
      const reply = await api.send('POST', '/', body, { connection: 'keep-alive' });
      expect([reply.status, reply.headers['content-type'], reply.headers.connection]).to.deep.equal([
        500,
        'text/xml',
        'close',
      ]);
      expect(reply.body).to.match(
        new RegExp(
          '^<\\?xml version="1.0"\\?><methodResponse><fault><value><struct><member><name>faultCode</name>' +
            `<value><int>${code}</int></value></member><member><name>faultString</name>` +
            '<value><string>[^<>]+</string></value></member></struct></value></fault></methodResponse>$',
        ),
      );
      expect((await post(call('event.get_current_id', rootSession))).status).to.equal(200);
    });
  }

  it('refuses a body over the limit', async () => {
    const { status, body } = await post(call('VM.get_all', 'x'.repeat(bodyLimit)));
    expect([status, body]).to.deep.equal([500, 'the body is longer than 307200 bytes\n']);
  });
});
