/** Fetching a file from a server. */
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import http from 'node:http';
import { pipeline } from 'node:stream/promises';
import { messageOf } from '../../base/errors.js';
import { limitConnecting, limitSilence } from '../../wire/connection/patience.js';
import { usualPatience, type XapiSession } from './xapi-client.js';

/**
 * Fetch what a server has at a path into a new file, which only its owner can read. Nothing is left of one that is not whole.
 * @throws Error that says what cannot be fetched, or written
 */
export async function download({ url, ref }: XapiSession, path: string, file: string): Promise<void> {
  const response = await answerOf(`${url}${path}?session_id=${encodeURIComponent(ref)}`);
  if (response.statusCode !== 200) {
    const [line = ''] = (await textOf(response)).split('\n');
    throw new Error(`${url}${path} cannot be fetched: HTTP ${response.statusCode}: ${line}`);
  }
  const to = createWriteStream(file, { flags: 'wx', mode: 0o600 });
  let isOurs = false;
  to.once('open', () => {
    isOurs = true;
  });
  try {
    await pipeline(response, to);
  } catch (error) {
    if (isOurs) await rm(file, { force: true });
    throw new Error(`the file '${file}' cannot be written: ${messageOf(error)}`, { cause: error });
  }
}

function answerOf(url: string): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = http.get(url, { agent: false }, resolve);
    request.on('error', (error) => {
      request.destroy();
      reject(new Error(`${url.replace(/\?.*/, '')} cannot be fetched: ${messageOf(error)}`, { cause: error }));
    });
    limitConnecting(request, usualPatience.connectMs);
    limitSilence(request, usualPatience.silenceMs);
  });
}

/** The start of an answer that says what is wrong. */
async function textOf(response: http.IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) {
    text += chunk;
    if (text.length > 1000) break;
  }
  return text;
}
