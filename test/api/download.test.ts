import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Download } from '../../src/api/download.js';
import { XapiError } from '../../src/base/errors.js';
import { eventually } from '../hypervisor/hypervisor-process.js';
import { type ApiServer, startApi } from './api-server.js';
import { fakeDeps, limitedSession, operatorSession, rootSession } from './fake-deps.js';

describe('api: a file that is fetched', () => {
  const content = 'of the database'.repeat(100_000);
  let directory: string;
  let api: ApiServer | undefined;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'xenferry-download-'));
    writeFileSync(join(directory, 'file'), content);
  });
  after(() => rmSync(directory, { recursive: true }));
  afterEach(() => api?.close());

  const fetching: Download = () => open(join(directory, 'file'));
  const failing: Download = () => Promise.reject(new XapiError('INTERNAL_ERROR', ['no space']));
  const rows: [what: string, session: string, download: Download, status: number, body: string, task: string[]][] = [
    ['is sent whole, and its task succeeds', rootSession, fetching, 200, content, ['end OpaqueRef:t: done']],
    ['is for sessions alone', 'OpaqueRef:none', fetching, 401, 'session_id= names no session\n', []],
    [
      'is for administrators alone',
      operatorSession,
      fetching,
      403,
      'this is for the role pool-admin\n',
      ['end OpaqueRef:t: RBAC_PERMISSION_DENIED http/get_pool_xml_db_sync No permission in user session'],
    ],
    [
      'is for no session with a purpose of its own',
      limitedSession,
      fetching,
      403,
      'this is for the role pool-admin\n',
      [],
    ],
    [
      'says why it cannot be made',
      rootSession,
      failing,
      500,
      'INTERNAL_ERROR no space\n',
      ['end OpaqueRef:t: INTERNAL_ERROR no space'],
    ],
  ];
  for (const [what, session, download, status, body, task] of rows) {
    it(what, async () => {
      const deps = fakeDeps();
      api = await startApi(deps, { '/pool/xmldbdump': download });
      const reply = await api.send('GET', `/pool/xmldbdump?session_id=${session}&task_id=OpaqueRef:t`);
      expect(reply.status).to.equal(status);
      expect(reply.body).to.equal(body);
      // The last bytes are there a moment before the task ends.
      await eventually(() => deps.taskLog.length >= task.length || undefined);
      expect(deps.taskLog).to.deep.equal(task);
    });
  }
});
