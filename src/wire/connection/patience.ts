/** Limits on how long an HTTP request waits for its server. */
import type http from 'node:http';

/** Fail a request whose connection does not come about in so many milliseconds. */
export function limitConnecting(request: http.ClientRequest, ms: number): void {
  request.once('socket', (socket) => {
    if (!socket.connecting) return;
    const timer = setTimeout(() => request.destroy(new Error(`no connection within ${ms / 1000} s`)), ms);
    const stop = () => clearTimeout(timer);
    socket.once('connect', stop);
    request.once('close', stop);
  });
}

/** Fail a request to which no byte of an answer has come for so many milliseconds. */
export function limitSilence(request: http.ClientRequest, ms: number): void {
  // Before what others do then, who end the request without a reason.
  request.prependListener('timeout', () => request.emit('error', new Error(`nothing was heard for ${ms / 1000} s`)));
  request.setTimeout(ms);
}
