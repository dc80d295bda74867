import { expect } from 'chai';
import { type ApiServer, startApi } from './api-server.js';
import { fakeDeps, rootSession, vmRef } from './fake-deps.js';

/** What clients that others wrote send, byte for byte, but for session and references. */
describe('A client that others wrote', () => {
  const seen: unknown[][] = [];
  const keep =
    (result: unknown) =>
    (_context: unknown, ...params: never[]) => {
      seen.push(params);
      return result;
    };
  let api: ApiServer;
  before(async () => {
    api = await startApi(
      fakeDeps({
        handlers: {
          network: { create: keep('OpaqueRef:n') },
          VBD: { create: keep('OpaqueRef:b') },
          message: { get_since: keep({}) },
          task: { set_progress: keep(undefined) },
        },
      }),
    );
  });
  after(() => api.close());
  beforeEach(() => seen.splice(0));

  const ofGo = (method: string, params: string): string =>
    `{"jsonrpc":"2.0","method":"${method}","params":["${rootSession}",${params}],"id":0}`;

  it('makes a network with a whole record, an enumeration in it empty: Go', async () => {
    const record =
      '{"MTU":0,"PIFs":[],"VIFs":[],"allowed_operations":[],"assigned_ips":{},"blobs":{},"bridge":"","current_operations":{},"default_locking_mode":"","managed":true,"name_description":"","name_label":"Test External Network","other_config":{},"purpose":[],"tags":[],"uuid":""}';
    expect(await api.post(ofGo('network.create', record))).to.equal('{"jsonrpc":"2.0","result":"OpaqueRef:n","id":0}');
    expect(seen[0]?.[0]).to.deep.include({ name_label: 'Test External Network', default_locking_mode: 'unlocked' });
  });

  it('makes a network with a whole record, and a field that is its own: C#', async () => {
    const params = `["${rootSession}",{"uuid":"","name_label":"net","name_description":"","allowed_operations":[],"current_operations":{},"VIFs":[],"PIFs":[],"MTU":1500,"other_config":{},"bridge":"","managed":true,"blobs":{},"tags":[],"default_locking_mode":"unlocked","assigned_ips":{},"purpose":[],"opaque_ref":null}]`;
    await api.post(`{"jsonrpc":"2.0","id":1,"method":"network.create","params":${params}}`);
    expect(seen[0]?.[0]).to.deep.include({ name_label: 'net', MTU: 1500 }).and.not.have.property('opaque_ref');
  });

  const numbers: [string, number][] = [
    ['"+Inf"', Number.POSITIVE_INFINITY],
    ['"-Inf"', Number.NEGATIVE_INFINITY],
    ['"NaN"', Number.NaN],
    ['30', 30],
    ['-0', -0],
    ['1e+300', 1e300],
  ];
  for (const [sent, value] of numbers) {
    it(`writes the float ${sent}: Go`, async () => {
      await api.post(ofGo('task.set_progress', `"OpaqueRef:t",${sent}`));
      expect(seen).to.deep.equal([['OpaqueRef:t', value]]);
    });
  }

  for (const sent of ['2026-11-23T20:00:00+02:00', '2026-11-23T18:00:00Z', '20261123T18:00:00Z']) {
    it(`writes the time ${sent}: Go, C#`, async () => {
      await api.post(ofGo('message.get_since', `"${sent}"`));
      expect(seen).to.deep.equal([[new Date('2026-11-23T18:00:00Z')]]);
    });
  }

  it('makes a VBD of type disk, in small letters: Python', async () => {
    const member = (name: string, value: string) =>
      `<member>\n<name>${name}</name>\n<value>${value}</value>\n</member>\n`;
    const record = [
      member('VM', `<string>${vmRef}</string>`),
      member('VDI', '<string>OpaqueRef:d</string>'),
      member('userdevice', '<string>0</string>'),
      member('bootable', '<boolean>0</boolean>'),
      member('mode', '<string>RW</string>'),
      member('type', '<string>disk</string>'),
      member('unpluggable', '<boolean>1</boolean>'),
      member('other_config', '<struct>\n</struct>'),
    ].join('');
    const params = [`<string>${rootSession}</string>`, `<struct>\n${record}</struct>`];
    const body = `<?xml version='1.0'?>\n<methodCall>\n<methodName>VBD.create</methodName>\n<params>\n${params
      .map((param) => `<param>\n<value>${param}</value>\n</param>\n`)
      .join('')}</params>\n</methodCall>\n`;
    expect((await api.send('POST', '/', body)).body).to.contain('<value>OpaqueRef:b</value>');
    expect(seen[0]?.[0]).to.deep.include({ VM: vmRef, type: 'Disk', unpluggable: true, other_config: {} });
  });
});
