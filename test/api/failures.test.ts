import { expect } from 'chai';
import { XapiError } from '../../src/base/errors.js';
import { type ApiServer, startApi } from './api-server.js';
import { fakeDeps, rootSession, vmRef } from './fake-deps.js';

/** The bytes of a call and of its failure, in each protocol. */
interface Door {
  readonly path: string;
  call(method: string, params: readonly unknown[]): string;
  failure(code: string, params: readonly string[]): string;
}

const doors: Record<string, Door> = {
  'JSON-RPC 2.0': {
    path: '/jsonrpc',
    call: (method, params) => JSON.stringify({ jsonrpc: '2.0', id: 'a', method, params }),
    failure: (code, params) =>
      `{"jsonrpc":"2.0","error":{"code":1,"message":"${code}","data":${JSON.stringify(params)}},"id":"a"}`,
  },
  'JSON-RPC 1.0': {
    path: '/jsonrpc',
    call: (method, params) => JSON.stringify({ id: 'a', method, params }),
    failure: (code, params) => `{"result":null,"error":${JSON.stringify([code, ...params])},"id":"a"}`,
  },
  'XML-RPC': {
    path: '/',
    call: (method, params) =>
      `<?xml version="1.0"?><methodCall><methodName>${method}</methodName><params>${params
        .map((param) => `<param><value>${xmlOf(param)}</value></param>`)
        .join('')}</params></methodCall>`,
    failure: (code, params) =>
      '<?xml version="1.0"?><methodResponse><params><param><value><struct>' +
      '<member><name>Status</name><value>Failure</value></member>' +
      '<member><name>ErrorDescription</name><value><array><data>' +
      [code, ...params].map((each) => `<value>${each.replaceAll('"', '&quot;')}</value>`).join('') +
      '</data></array></value></member></struct></value></param></params></methodResponse>',
  },
};

function xmlOf(param: unknown): string {
  if (typeof param === 'number') return `<int>${param}</int>`;
  if (typeof param === 'boolean') return `<boolean>${param ? 1 : 0}</boolean>`;
  return `<string>${param}</string>`;
}

for (const [protocol, door] of Object.entries(doors)) {
  describe(`A failure in ${protocol}`, () => {
    let api: ApiServer;
    let member: ApiServer;
    before(async () => {
      const login_with_password = (_context: unknown, user: string) => {
        throw new XapiError('SESSION_AUTHENTICATION_FAILED', [user, 'Authentication failure']);
      };
      api = await startApi(fakeDeps({ handlers: { session: { login_with_password } } }));
      member = await startApi(fakeDeps({ member: '10.0.0.1:8480' }));
    });
    after(() => Promise.all([api.close(), member.close()]));

    const rows: [string, unknown[], [string, ...string[]]][] = [
      ['VM.fly', [rootSession], ['MESSAGE_METHOD_UNKNOWN', 'VM.fly']],
      ['rpc.x', [], ['MESSAGE_METHOD_UNKNOWN', 'rpc.x']],
      ['VM.get_record', [rootSession], ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'VM.get_record', '1', '0']],
      ['VM.get_record', [], ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'VM.get_record', '1', '-1']],
      ['VM.get_record', [rootSession, 5], ['INTERNAL_ERROR', `Failure("Expected string, got 'I(5)'")`]],
      ['VM.get_record', [rootSession, true], ['INTERNAL_ERROR', `Failure("Expected string, got 'B(true)'")`]],
      ['VM.set_VCPUs_max', [rootSession, vmRef, '9007199254740992'], ['INVALID_VALUE', 'value', '9007199254740992']],
      ['VM.get_record', ['x', vmRef], ['SESSION_INVALID', 'x']],
      ['session.login_with_password', ['me', 'x'], ['SESSION_AUTHENTICATION_FAILED', 'me', 'Authentication failure']],
      ['VM.get_record', [rootSession, 'OpaqueRef:x'], ['HANDLE_INVALID', 'VM', 'OpaqueRef:x']],
      ['VM.get_by_uuid', [rootSession, 'x'], ['UUID_INVALID', 'VM', 'x']],
      ['VM.snapshot', [rootSession, vmRef, 'x'], ['NOT_IMPLEMENTED', 'VM.snapshot']],
      ['VM.set_protection_policy', [rootSession, vmRef, 'x'], ['MESSAGE_REMOVED']],
      ['Async.VM.get_all', [rootSession], ['Fault', 'No async mode for this operation (rpc: VM.get_all)']],
    ];
    for (const [method, params, [code, ...rest]] of rows) {
      it(`is ${[code, ...rest].join(' ')}`, async () => {
        const { status, body } = await api.send('POST', door.path, door.call(method, params));
        expect([status, body]).to.deep.equal([200, door.failure(code, rest)]);
      });
    }

    it('is HOST_IS_SLAVE on a member', async () => {
      const { status, body } = await member.send('POST', door.path, door.call('VM.get_all', [rootSession]));
      expect([status, body]).to.deep.equal([200, door.failure('HOST_IS_SLAVE', ['10.0.0.1:8480'])]);
    });
  });
}
