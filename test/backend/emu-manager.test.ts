import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { EmuProgram } from '../../src/backend/emu-manager.js';
import type { DomainSaveInit } from '../../src/backend/save-helper.js';
import { XapiError } from '../../src/base/errors.js';
import { streamFailureOf } from '../../src/base/stream-error.js';
import { captureLog } from '../support/log.js';
import { helperBy } from '../support/save-helper.js';
import { scriptsIn } from '../support/scripts.js';
import {
  messageOfFailure,
  nothingOpenSince,
  openConnections,
  openDescriptors,
  processExists,
} from '../wire/connection/connections.js';

describe('running an emu-manager', function () {
  this.timeout(30_000);
  const connections = openConnections();
  let directory: string;
  before(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'xenferry-run-'));
  });
  after(() => rm(directory, { recursive: true }));
  afterEach(connections.close);

  const script = scriptsIn(() => directory);

  /** What every run is given: a stream that nobody else looks at. */
  const common = async (program: EmuProgram) => {
    const [stream] = await connections.socketPair();
    const log = captureLog();
    const percents: number[] = [];
    const helper = helperBy(program, { XENFERRY_TEST: 'value' });
    const done = async () => undefined;
    const init: DomainSaveInit = {
      ...{ environment: {}, stopTimeoutMs: 200, exitTimeoutMs: 200, live: true, memory: stream, vgpus: [] },
      ...{ signal: new AbortController().signal, log: log.log },
      ...{ beforeMemory: done, beforeVgpus: done, onSuspend: done },
      onProgress: (percent) => percents.push(percent),
    };
    return { helper, init, log, percents, stream };
  };
  const handle = { instance: 'the hypervisor', domid: 7 };

  describe('to save', () => {
    it('has the command line and the environment that the real one has, and reports its figures', async () => {
      const { program } = await script(
        `test "$XENFERRY_TEST$MALLOC_MMAP_THRESHOLD_$UV_THREADPOOL_SIZE" = value || exit 9
         printf 'stdout:stats rounds=3 guest_bytes=4096 stream_bytes=5000\\nresult:0 0\\n' >&4`,
      );
      const { helper, init } = await common(program);
      const saved = await helper.save(handle, { ...init, compression: {} });
      expect(saved.argv.join(' ')).to.equal(
        '-controlinfd 3 -controloutfd 4 -fd 5 -mode hvm_save -domid 7 -live true -compress true',
      );
      expect(saved.statistics).to.deep.equal({ rounds: 3, guestBytes: 4096, streamBytes: 5000 });
    });

    it('gives each vGPU a descriptor of its own', async () => {
      const { program } = await script(`cat <&6 >&7; echo 'result:0 0' >&4`);
      const { helper, init } = await common(program);
      const [a, theirs] = await connections.socketPair();
      const [b, ours] = await connections.socketPair();
      await theirs.write(Buffer.from('from one to the other'));
      theirs.destroy();
      for (const { setBlocking } of [a, b]) setBlocking(true);
      const saved = await helper.save(handle, { ...init, live: false, vgpus: [a, b] });
      expect(saved.argv.join(' '))
        .to.match(/-live false$/)
        .and.to.contain('-dm vgpu:6 -dm vgpu:7');
      expect(String(await ours.read(21))).to.equal('from one to the other');
    });

    it('answers done when what was asked for is done, and in this order', async () => {
      const { program } = await script(
        `ask() { echo "$1" >&4; read answer <&3; test "$answer" = done || exit 9; }
         ask prepare:xenguest; ask prepare:vgpu; ask suspend:; echo 'result:0 0' >&4`,
      );
      const { helper, init } = await common(program);
      const asked: string[] = [];
      const later = async (what: string) => {
        await delay(1);
        asked.push(what);
      };
      await helper.save(handle, {
        ...init,
        onSuspend: () => later('suspend'),
        ...{ beforeMemory: () => later('memory'), beforeVgpus: () => later('vgpus') },
      });
      expect(asked).to.deep.equal(['memory', 'vgpus', 'suspend']);
    });

    it('passes progress on, and logs the rest', async () => {
      const { program } = await script(
        `printf '%s\\n' 'info:\\b\\b\\b\\b0' 'info:\\b\\b\\b\\b57' 'info:some news' 'stderr:a complaint' 'info:\\b\\b\\b\\b100' 'result:0 0' >&4`,
      );
      const { helper, init, log, percents } = await common(program);
      await helper.save(handle, init);
      expect(percents).to.deep.equal([0, 57, 100]);
      expect(log.messages('debug')).to.include('emu-manager: info:some news');
      expect(log.messages('debug')).to.include('emu-manager: stderr:a complaint');
    });

    it('reads lines in pieces', async () => {
      const { program } = await script(
        `printf 'prep' >&4; sleep 0.02; printf 'are:xenguest\\ninfo:\\\\b\\\\b\\\\b\\\\b4' >&4; read _ <&3; printf '2\\nresult:' >&4; sleep 0.02; printf '0 0\\n' >&4`,
      );
      const { helper, init, percents } = await common(program);
      await helper.save(handle, init);
      expect(percents).to.deep.equal([42]);
    });

    it('takes a program that says much on its standard error', async () => {
      const { program } = await script(
        `head -c 300000 /dev/zero | tr '\\0' 'x' >&2; printf 'info:\\\\b\\\\b\\\\b\\\\b9\\nresult:0 0\\n' >&4`,
      );
      const { helper, init, percents } = await common(program);
      await helper.save(handle, init);
      expect(percents).to.deep.equal([9]);
    });
  });

  describe('to restore', () => {
    it('asks for each stream, and takes a result for each', async () => {
      const { program } = await script(
        `read a <&3; read b <&3; test "$a $b" = 'restore:xenguest restore:vgpu' || exit 9
         printf 'result:xenguest 5 6\\nresult:vgpu\\n' >&4`,
      );
      const { helper, init, stream } = await common(program);
      let headersRead = 0;
      const beforeVgpus = async () => {
        headersRead += 1;
      };
      await helper.restore(handle, { ...init, beforeVgpus, vgpus: [stream] });
      expect(headersRead).to.equal(1);
    });

    it('asks for no vGPU where there is none', async () => {
      const { program } = await script(`read a <&3; echo 'result:xenguest 5 6' >&4`);
      const { helper, init } = await common(program);
      let asked = false;
      const beforeVgpus = async () => {
        asked = true;
      };
      await helper.restore(handle, { ...init, beforeVgpus });
      expect(asked).to.equal(false);
    });

    it('fails with what the reading of the headers before the vGPUs says', async () => {
      const { program, pid } = await script('while read line <&3; do test "$line" = abort && exit 0; done');
      const { helper, init, stream } = await common(program);
      const beforeVgpus = () => Promise.reject(new Error('no such header'));
      const failure = helper.restore(handle, { ...init, beforeVgpus, vgpus: [stream] });
      expect(await messageOfFailure(failure)).to.equal('no such header');
      expect(processExists(await pid())).to.equal(false);
    });

    for (const [what, said, missing] of [
      ['no result', '', 'xenguest, vgpu'],
      ["the vGPUs' result alone", 'result:vgpu', 'xenguest'],
      ["the memory's result alone", 'result:xenguest 1 2', 'vgpu'],
    ] as const) {
      it(`does not take ${what} for success`, async () => {
        const { program } = await script(`read a <&3; read b <&3; echo '${said === '' ? 'info:x' : said}' >&4`);
        const { helper, init, stream } = await common(program);
        const failure = helper.restore(handle, { ...init, vgpus: [stream] });
        expect(await messageOfFailure(failure)).to.contain(`emu-manager ended without a result of ${missing}`);
      });
    }
  });

  const failures: [what: string, body: string, message: RegExp][] = [
    ['it ends without a result', 'exit 0', /ended without a result$/],
    ['its result is another one', "echo 'result:vgpu' >&4", /ended without a result$/],
    [
      'it exits with a status, and a reason',
      "echo 'out of luck' >&2; exit 3",
      /emu-manager exited with 3: out of luck$/,
    ],
    ['it exits with a status after its result', "echo 'result:0 0' >&4; exit 3", /emu-manager exited with 3$/],
    [
      'it exits before it is answered',
      "echo prepare:xenguest >&4; echo 'no heart' >&2; exit 4",
      /exited with 4: no heart$/,
    ],
    ['it is killed', 'kill -9 $$', /emu-manager was ended by SIGKILL$/],
    ['it reports an error', "echo 'error:it broke' >&4; read line <&3", /emu-manager: it broke$/],
    ['it reports an error and goes on', "echo 'error:it broke' >&4; exec sleep 60", /emu-manager: it broke$/],
    [
      'it says what is not of the protocol',
      'echo hello >&4; exec cat <&3',
      /unexpected line from emu-manager: "hello"/,
    ],
    ['its line is too long', 'head -c 200 /dev/zero >&4; exec cat <&3', /a line longer than 128 bytes/],
    ['it says bytes without end', 'exec cat /dev/urandom >&4', /a line longer than 128 bytes|unexpected line/],
    ['it says one line without end', 'exec cat /dev/zero >&4', /a line longer than 128 bytes/],
    [
      'it has a result and does not exit',
      "echo 'result:0 0' >&4; exec sleep 60",
      /gave its result, and did not exit within/,
    ],
    [
      'it hangs up and does not exit',
      'exec 4>&-; exec sleep 60',
      /closed its control channel, and did not exit within/,
    ],
    [
      'it ignores abort and SIGTERM',
      "trap '' TERM; echo 'error:no' >&4; while :; do sleep 1; done",
      /emu-manager: no$/,
    ],
    ['it is stopped after an error', "echo 'error:no' >&4; kill -STOP $$", /emu-manager: no$/],
    ['its child holds its channels', 'sleep 60 & exit 3', /emu-manager exited with 3$/],
  ];
  for (const [what, body, message] of failures) {
    it(`fails when ${what}, and leaves no process and nothing open`, async () => {
      const before = openDescriptors();
      const { program, pid } = await script(body);
      const { helper, init, stream } = await common(program);
      const error = await helper.save(handle, init).catch((thrown: unknown) => thrown);
      expect(error).to.be.instanceOf(XapiError);
      expect((error as XapiError).message).to.match(message);
      expect(processExists(await pid())).to.equal(false);
      stream.destroy();
      connections.close();
      await nothingOpenSince(before);
    });
  }

  for (const [what, body, kind] of [
    ['says so with a code', "echo 'error:no-convergence: too fast' >&4; read line <&3", 'no-convergence'],
    ['says so with a code', "echo 'error:broken-stream: write EPIPE' >&4; read line <&3", 'broken-stream'],
    ['is ended by SIGPIPE', 'kill -PIPE $$', 'broken-stream'],
    ['only has a text like it', "echo 'error:write EPIPE: no convergence: closed' >&4; read line <&3", undefined],
    ['is ended otherwise', 'echo EPIPE >&2; exit 1', undefined],
  ] as const) {
    it(`fails with ${kind ?? 'nothing in particular'} where it ${what}`, async () => {
      const { program } = await script(body);
      const { helper, init } = await common(program);
      const error = await helper.save(handle, init).catch((thrown: unknown) => thrown);
      expect(error).to.be.instanceOf(XapiError);
      expect(streamFailureOf(error)).to.equal(kind);
    });
  }

  it('says how it ended, not that it could not be answered', async () => {
    const { program, pid } = await script("echo prepare:xenguest >&4; echo 'no heart' >&2; exit 4");
    const { helper, init } = await common(program);
    const beforeMemory = async () => {
      while (processExists(await pid())) await delay(1);
    };
    expect(await messageOfFailure(helper.save(handle, { ...init, beforeMemory }))).to.match(/exited with 4: no heart$/);
  });

  it('says how it ended when what it asked for is never done', async () => {
    const { program } = await script('echo suspend: >&4; sleep 0.05; exit 4');
    const { helper, init } = await common(program);
    const onSuspend = () => new Promise<void>(() => undefined);
    expect(await messageOfFailure(helper.save(handle, { ...init, onSuspend }))).to.match(/emu-manager exited with 4$/);
  });

  it('takes as many lines as come', async () => {
    const { program } = await script(`yes 'info:\\b\\b\\b\\b7' | head -n 20000 >&4; echo 'result:0 0' >&4`);
    const { helper, init, percents } = await common(program);
    await helper.save(handle, init);
    expect(percents).to.have.length(20_000);
  });

  it('says what could not be started', async () => {
    const { helper, init } = await common(['/nowhere/emu-manager']);
    const error = await helper.save(handle, init).catch((thrown: unknown) => thrown as XapiError);
    expect((error as XapiError).code).to.equal('INTERNAL_ERROR');
    expect((error as XapiError).message).to.match(/emu-manager .*\/nowhere\/emu-manager.*ENOENT/s);
  });

  it('fails on a stream that is closed already, and starts nothing', async () => {
    const { program } = await script(`echo 'result:0 0' >&4`);
    const { helper, init } = await common(program);
    expect(await messageOfFailure(helper.save(handle, { ...init, memory: { fd: -1 } }))).to.contain(
      'the connection is closed',
    );
  });

  for (const handler of ['beforeMemory', 'onSuspend'] as const) {
    it(`fails with what ${handler} throws, and tells the program to abort`, async () => {
      const { program, pid } = await script(
        `echo ${handler === 'beforeMemory' ? 'prepare:xenguest' : 'suspend:'} >&4; read line <&3; echo "got $line" >&2; test "$line" = abort`,
      );
      const { helper, init } = await common(program);
      const failing = { [handler]: () => Promise.reject(new XapiError('VM_BAD_POWER_STATE', ['a', 'b', 'c'])) };
      const failure = helper.save(handle, { ...init, ...failing });
      expect(await messageOfFailure(failure)).to.equal('VM_BAD_POWER_STATE a b c');
      expect(processExists(await pid())).to.equal(false);
    });
  }

  describe('that is aborted', () => {
    const obedient = 'while read line <&3; do test "$line" = abort && exit 0; done; exit 1';
    const rows: [what: string, body: string][] = [
      ['exits with 0 and no result when it is told to', obedient],
      ['exits when it is told to, with its result on the way', `trap '' PIPE; read line <&3; echo 'result:0 0' >&4`],
      ['does not listen', 'exec sleep 60'],
      ['is stopped', 'kill -STOP $$'],
    ];
    for (const [what, body] of rows) {
      it(`fails with the reason, and leaves no process and nothing open: one that ${what}`, async () => {
        const before = openDescriptors();
        const { program, pid } = await script(body);
        const { helper, init } = await common(program);
        const stop = new AbortController();
        const failure = helper.save(handle, { ...init, signal: stop.signal });
        const running = await pid();
        stop.abort(new XapiError('TASK_CANCELLED', ['OpaqueRef:7']));
        expect(await messageOfFailure(failure)).to.equal('TASK_CANCELLED OpaqueRef:7');
        expect(processExists(running)).to.equal(false);
        connections.close();
        await nothingOpenSince(before);
      });
    }

    it('fails with the reason when the domain does not stop', async () => {
      const { program, pid } = await script('echo suspend: >&4; exec sleep 60');
      const { helper, init } = await common(program);
      const stop = new AbortController();
      const onSuspend = () => {
        stop.abort(new XapiError('TASK_CANCELLED', ['OpaqueRef:7']));
        return new Promise<void>(() => undefined);
      };
      const failure = helper.save(handle, { ...init, onSuspend, signal: stop.signal });
      expect(await messageOfFailure(failure)).to.equal('TASK_CANCELLED OpaqueRef:7');
      expect(processExists(await pid())).to.equal(false);
    });

    it('before it has started fails with the reason too', async () => {
      const { program } = await script(obedient);
      const { helper, init } = await common(program);
      const signal = AbortSignal.abort(new XapiError('TASK_CANCELLED', ['OpaqueRef:7']));
      expect(await messageOfFailure(helper.save(handle, { ...init, signal }))).to.equal('TASK_CANCELLED OpaqueRef:7');
    });
  });
});
