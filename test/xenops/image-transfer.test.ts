import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { RawSocket } from '../../src/wire/connection/raw-socket.js';
import { openSocketPair } from '../../src/wire/connection/socket-pair.js';
import { findZstd, type ZstdCommand } from '../../src/wire/connection/zstd-pipe.js';
import { createImageFile, openImageFile } from '../../src/xenops/image-file.js';
import { receiveParts, sendParts, type TransferInit } from '../../src/xenops/image-transfer.js';
import { testLimits } from '../support/limits.js';

const length = 3_000_000;

describe('A suspend image that goes from host to host', function () {
  this.timeout(20_000);
  let dir: string;
  let zstd: ZstdCommand;
  let sockets: RawSocket[];
  before(async () => {
    zstd = await findZstd('zstd');
  });
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'xenferry-transfer-'));
    sockets = [];
  });
  afterEach(() => {
    for (const socket of sockets) socket.destroy();
    rmSync(dir, { recursive: true, force: true });
  });

  const init = (parts: TransferInit['parts'], over: Partial<TransferInit> = {}): TransferInit => ({
    parts,
    settings: testLimits,
    progressTimeoutMs: 10_000,
    signal: new AbortController().signal,
    ...over,
  });
  const pair = async (): Promise<[RawSocket, RawSocket]> => {
    const both = await openSocketPair();
    sockets.push(...both);
    return both;
  };
  const pathOf = (name: string) => join(dir, name);
  const write = (name: string): Buffer => {
    const bytes = Buffer.concat([randomBytes(length / 2), Buffer.alloc(length / 2)]);
    writeFileSync(pathOf(name), bytes);
    return bytes;
  };
  const failureOf = (work: Promise<unknown>): Promise<string> =>
    work.then(
      () => '',
      (error: Error) => error.message,
    );

  for (const compressed of [false, true]) {
    it(`is the same, part by part, ${compressed ? 'through zstd' : 'as it is'}`, async () => {
      const names = ['memory', 'vgpu-0', 'empty'];
      const sent = [write('memory'), write('vgpu-0'), Buffer.alloc(0)];
      writeFileSync(pathOf('empty'), '');
      const channels = await Promise.all(names.map(pair));
      const partsOf = async (end: 0 | 1, file: (name: string) => ReturnType<typeof openImageFile>) =>
        Promise.all(
          names.map(async (name, index) => ({
            file: await file(name),
            channel: channels[index]![end],
            bytes: sent[index]!.length,
          })),
        );
      const over = compressed ? { zstd } : {};
      const shares: number[] = [];
      const sending = sendParts(
        init(await partsOf(0, (name) => openImageFile(pathOf(name))), { ...over, onProgress: (s) => shares.push(s) }),
      );
      const created = await partsOf(1, (name) => createImageFile(pathOf(`${name}.part`)));
      await Promise.all([sending, receiveParts(init(created, over))]);
      for (const [index, name] of names.entries()) {
        expect(readFileSync(pathOf(`${name}.part`)).equals(sent[index]!), name).to.equal(true);
      }
      expect(shares.at(-1)).to.equal(1);
      const [wire] = await sending;
      if (compressed) expect(wire).to.be.below(length * 0.7);
      else expect(wire).to.equal(length + 32);
    });
  }

  const damages: [what: string, damage: (bytes: Buffer) => Buffer, says: RegExp][] = [
    [
      'with a flipped bit',
      (bytes) => Buffer.from(bytes.with(length - 1, (bytes[length - 1] ?? 0) ^ 1)),
      /not what was sent/,
    ],
    [
      'with a flipped bit in its digest',
      (bytes) => Buffer.from(bytes.with(length, (bytes[length] ?? 0) ^ 1)),
      /not what/,
    ],
    ['that ends early', (bytes) => bytes.subarray(0, length - 1), /closed the connection/],
    ['that ends before its digest', (bytes) => bytes.subarray(0, length), /closed the connection/],
    ['with bytes behind its end', (bytes) => Buffer.concat([bytes, Buffer.alloc(1)]), /behind the end/],
  ];
  for (const [what, damage, says] of damages) {
    it(`is refused ${what}`, async () => {
      write('memory');
      const [out, taken] = await pair();
      const source = { file: await openImageFile(pathOf('memory')), channel: out, bytes: length };
      const sending = sendParts(init([source]));
      const chunks: Buffer[] = [];
      await taken.flow(async (bytes) => void chunks.push(Buffer.from(bytes)));
      await sending;
      const [to, from] = await pair();
      const file = await createImageFile(pathOf('memory.part'));
      const refused = failureOf(receiveParts(init([{ file, channel: from, bytes: length }])));
      await to.write(damage(Buffer.concat(chunks))).catch(() => undefined);
      to.destroy();
      expect(await refused).to.match(says);
    });
  }

  for (const compressed of [false, true]) {
    const settings = () => ({ progressTimeoutMs: 200, ...(compressed ? { zstd } : {}) });
    it(`fails where the destination takes no more, ${compressed ? 'through zstd' : 'as it is'}`, async () => {
      write('memory');
      const [out] = await pair();
      const part = { file: await openImageFile(pathOf('memory')), channel: out, bytes: length };
      expect(await failureOf(sendParts(init([part], settings())))).to.match(/no progress|no end/);
    });

    it(`fails where the source sends no more, ${compressed ? 'through zstd' : 'as it is'}`, async () => {
      const [, from] = await pair();
      const part = { file: await createImageFile(pathOf('memory.part')), channel: from, bytes: length };
      expect(await failureOf(receiveParts(init([part], settings())))).to.match(/no answer|no end/);
    });

    it(`ends at once when it is stopped, ${compressed ? 'through zstd' : 'as it is'}`, async () => {
      const stop = new AbortController();
      const [, from] = await pair();
      const part = { file: await createImageFile(pathOf('memory.part')), channel: from, bytes: length };
      const more = { signal: stop.signal, ...(compressed ? { zstd } : {}) };
      const ended = failureOf(receiveParts(init([part], more)));
      stop.abort(new Error('enough'));
      expect(await ended).to.equal('enough');
    });
  }

  for (const [isAwaited, seconds, says] of [
    [false, 1e6, ''],
    [true, 10, ''],
    [true, 20, 'the copy is too slow, while another waits for its place'],
  ] as const) {
    const when = isAwaited ? 'while another waits for its place' : 'where nobody waits';
    it(`${says === '' ? 'is received' : 'is refused'} where its first 256 KiB take ${seconds} s, ${when}`, async () => {
      write('memory');
      const [to, from] = await pair();
      const source = { file: await openImageFile(pathOf('memory')), channel: to, bytes: length };
      const part = { file: await createImageFile(pathOf('memory.part')), channel: from, bytes: length };
      let time = 0;
      const now = (): number => {
        const before = time;
        time = seconds * 1000;
        return before;
      };
      const sent = failureOf(sendParts(init([source])));
      const received = await failureOf(receiveParts(init([part], { isAwaited: () => isAwaited, now })));
      expect(received).to.match(says === '' ? /^$/ : new RegExp(says));
      await sent;
    });
  }

  it('says what zstd said where that fails', async () => {
    const [to, from] = await pair();
    const file = await createImageFile(pathOf('memory.part'));
    const refused = failureOf(receiveParts(init([{ file, channel: from, bytes: length }], { zstd })));
    await to.write(Buffer.from('this is no zstd stream at all'));
    to.destroy();
    expect(await refused).to.match(/zstd/);
  });
});
