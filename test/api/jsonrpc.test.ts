import { expect } from 'chai';
import { type ApiServer, startApi } from './api-server.js';
import { fakeDeps, rootSession, vmRef } from './fake-deps.js';

/** Every text here is what goes over a real connection, byte for byte. */
describe('JSON-RPC', () => {
  let api: ApiServer;
  before(async () => {
    api = await startApi(
      fakeDeps({
        handlers: {
          session: {
            login_with_password: () => rootSession,
            logout: () => {},
          },
          event: { get_current_id: () => 7 },
          host: { get_servertime: () => new Date('2026-11-23T09:17:05Z'), compute_free_memory: () => 4294967296 },
        },
      }),
    );
  });
  after(() => api.close());

  const root = `"${rootSession}"`;
  const vm = `"${vmRef}"`;
  const one: [string, string, string][] = [
    ['a login', `"session.login_with_password","params":["root","right"]`, `"OpaqueRef:root"`],
    ['nothing', `"session.logout","params":[${root}]`, `""`],
    ['an integer', `"event.get_current_id","params":[${root}]`, '7'],
    ['a float', `"VM.get_HVM_shadow_multiplier","params":[${root},${vm}]`, '1.0'],
    ['a boolean', `"VM.get_is_a_template","params":[${root},${vm}]`, 'false'],
    ['a time', `"host.get_servertime","params":[${root},"OpaqueRef:h"]`, '"20261123T09:17:05Z"'],
    ['the null reference', `"VM.get_resident_on","params":[${root},${vm}]`, '"OpaqueRef:NULL"'],
    ['a set', `"VM.get_tags","params":[${root},${vm}]`, '["a"]'],
    ['a map', `"VM.get_xenstore_data","params":[${root},${vm}]`, '{}'],
  ];
  for (const [what, call, result] of one) {
    it(`gives ${what} in 2.0 and 1.0`, async () => {
      expect(await api.post(`{"jsonrpc":"2.0","id":1,"method":${call}}`)).to.equal(
        `{"jsonrpc":"2.0","result":${result},"id":1}`,
      );
      expect(await api.post(`{"id":1,"method":${call}}`)).to.equal(`{"result":${result},"error":null,"id":1}`);
    });
  }

  it('gives a record by its declared types', async () => {
    const text = await api.post(`{"jsonrpc":"2.0","id":1,"method":"VM.get_record","params":[${root},${vm}]}`);
    expect(text).to.match(/^{"jsonrpc":"2.0","result":{"uuid":"vm-uuid","allowed_operations":\[\],/);
    expect(text).to.contain('"HVM_shadow_multiplier":1.0,');
    expect(text).to.contain('"snapshot_time":"19700101T00:00:00Z",');
  });

  it('takes named parameters as one dictionary', async () => {
    expect(await api.post('{"jsonrpc":"2.0","id":1,"method":"VM.get_all","params":{"session_id":"x"}}')).to.equal(
      `{"jsonrpc":"2.0","error":{"code":1,"message":"INTERNAL_ERROR","data":["Failure(\\"Expected string, got '{session_id:S(x)}'\\")"]},"id":1}`,
    );
  });

  for (const id of ['0', '-5', '9007199254740991', '"x\\"y"', '""']) {
    it(`echoes the id ${id}`, async () => {
      expect(await api.post(`{"jsonrpc":"2.0","id":${id},"method":"VM.get_all","params":[${root}]}`)).to.equal(
        `{"jsonrpc":"2.0","result":[${vm}],"id":${id}}`,
      );
    });
  }

  const noCalls: [string, string | Buffer][] = [
    ['nothing', ''],
    ['bad JSON', '{"jsonrpc":'],
    ['trailing junk', '{"jsonrpc":"2.0","id":1,"method":"VM.get_all"} x'],
    ['XML', '<?xml version="1.0"?><methodCall/>'],
    ['a batch', '[{"jsonrpc":"2.0","id":1,"method":"VM.get_all"}]'],
    ['an empty batch', '[]'],
    ['a nested batch', '[[]]'],
    ['null', 'null'],
    ['a number', '5'],
    ['a string', '"VM.get_all"'],
    ['a notification', '{"jsonrpc":"2.0","method":"VM.get_all"}'],
    ['a null id', '{"jsonrpc":"2.0","id":null,"method":"VM.get_all"}'],
    ['a notification of 1.0', '{"id":null,"method":"VM.get_all","params":[]}'],
    ['an id that is no integer', '{"jsonrpc":"2.0","id":1.5,"method":"VM.get_all"}'],
    ['an id that is an object', '{"jsonrpc":"2.0","id":{},"method":"VM.get_all"}'],
    ['an id beyond what is exact', '{"jsonrpc":"2.0","id":9007199254740993,"method":"VM.get_all"}'],
    ['no method', '{"jsonrpc":"2.0","id":1}'],
    ['a method that is no string', '{"jsonrpc":"2.0","id":1,"method":5}'],
    ['parameters that are a string', '{"jsonrpc":"2.0","id":1,"method":"VM.get_all","params":"x"}'],
    ['parameters that are null', '{"jsonrpc":"2.0","id":1,"method":"VM.get_all","params":null}'],
    ['named parameters in 1.0', '{"id":1,"method":"VM.get_all","params":{}}'],
    ['another version', '{"jsonrpc":"3.0","id":1,"method":"VM.get_all"}'],
    ['deep nesting', '['.repeat(300_000)],
    ['random bytes', Buffer.from([0xff, 0xfe, 0x00, 0x80])],
  ];
  for (const [what, body] of noCalls) {
    it(`answers ${what} with 500, ends the connection, and serves on`, async () => {
      const reply = await api.send('POST', '/jsonrpc', body, { connection: 'keep-alive' });
      expect(reply.status).to.equal(500);
      expect(reply.headers.connection).to.equal('close');
      expect(await api.post(`{"id":1,"method":"event.get_current_id","params":[${root}]}`)).to.equal(
        '{"result":7,"error":null,"id":1}',
      );
    });
  }

  it('refuses bytes that are no UTF-8, with the id of the call', async () => {
    const bytes = Buffer.concat([
      Buffer.from(`{"jsonrpc":"2.0","id":3,"method":"VM.get_by_name_label","params":[${root},"a`),
      Buffer.from([0xc3, 0x28]),
      Buffer.from('"]}'),
    ]);
    expect(await api.post(bytes)).to.equal(
      '{"jsonrpc":"2.0","error":{"code":1,"message":"INVALID_VALUE","data":["Invalid UTF-8 string in parameter","S(a\ufffd()"]},"id":3}',
    );
  });

  it('answers many calls at once, each with its own id', async () => {
    const ids = Array.from({ length: 50 }, (_, index) => index);
    const replies = await Promise.all(
      ids.map((id) => api.post(`{"id":${id},"method":"event.get_current_id","params":[${root}]}`)),
    );
    expect(replies).to.deep.equal(ids.map((id) => `{"result":7,"error":null,"id":${id}}`));
  });

  it('says INTERNAL_ERROR where a handler gave a value of another type', async () => {
    const broken = await startApi(fakeDeps({ handlers: { event: { get_current_id: () => 'seven' } } }));
    try {
      expect(await broken.post(`{"id":1,"method":"event.get_current_id","params":[${root}]}`)).to.equal(
        '{"result":null,"error":["INTERNAL_ERROR","a value of type int was wanted, not S(seven)"],"id":1}',
      );
    } finally {
      await broken.close();
    }
  });
});
