import { expect } from 'chai';
import { XapiError } from '../../src/base/errors.js';
import { StreamError, streamFailureOf } from '../../src/base/stream-error.js';

const ofSystem = (code: string) => Object.assign(new Error(`write ${code}`), { code });

describe('A failure of a stream', () => {
  for (const [what, error, failure] of [
    ['says its kind', new StreamError('no-convergence', 'too fast'), 'no-convergence'],
    ['is of a socket whose other end is gone', ofSystem('EPIPE'), 'broken-stream'],
    ['is of a socket that was reset', ofSystem('ECONNRESET'), 'broken-stream'],
    ['is of a full disk', ofSystem('ENOSPC'), undefined],
    ['only says so', new XapiError('INTERNAL_ERROR', ['write EPIPE: no convergence']), undefined],
    ['is no error', 'EPIPE', undefined],
  ] as const) {
    it(`that ${what} is ${failure ?? 'one like any other'}`, () => {
      expect(streamFailureOf(error)).to.equal(failure);
    });
  }
});
