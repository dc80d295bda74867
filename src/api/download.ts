/** Files that clients fetch with GET, as xapi has them: the session and the task that follows it are in the query. */
import type { FileHandle } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { toXapiError, XapiError } from '../base/errors.js';
import type { DispatchDeps } from '../model/dispatch-deps.js';
import { describeError } from './failure-log.js';

/** Opens the file that is sent, for reading; whoever gets it closes it. */
export type Download = () => Promise<FileHandle>;

/** Answer to a request that is refused. */
export interface Refusal {
  readonly status: number;
  readonly text: string;
}

/**
 * Send a file to a session with every right. The task that the query names ends with the transfer, as it does.
 * @returns why nothing was sent; undefined once the response is complete or broken off
 */
export async function answerDownload(
  deps: DispatchDeps,
  query: URLSearchParams,
  download: Download,
  response: ServerResponse,
): Promise<Refusal | undefined> {
  const session = deps.sessions.use(query.get('session_id') ?? '');
  if (session === undefined) return { status: 401, text: 'session_id= names no session' };
  const task = query.get('task_id');
  const end = (error?: XapiError): void => {
    if (task !== null && session.permissions === undefined) deps.tasks.end(task, error);
  };
  if (!session.isLocalSuperuser && !session.roles.includes('pool-admin')) {
    end(new XapiError('RBAC_PERMISSION_DENIED', ['http/get_pool_xml_db_sync', 'No permission in user session']));
    return { status: 403, text: 'this is for the role pool-admin' };
  }
  let file: FileHandle;
  try {
    file = await download();
  } catch (error) {
    deps.log.error('a download failed', describeError(error, [...query.values()]));
    end(toXapiError(error));
    return { status: 500, text: toXapiError(error).message };
  }
  try {
    const { size } = await file.stat();
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': size });
    const content = file.createReadStream({ autoClose: false });
    await pipeline(content, response).catch((error: unknown) => {
      // A client that has it all may close before it is known here that the last bytes have gone out, or that they were the last.
      if (content.bytesRead < size) throw error;
    });
    end();
  } catch (error) {
    end(toXapiError(error));
    response.destroy();
  } finally {
    await file.close();
  }
  return undefined;
}
