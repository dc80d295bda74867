import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { type DomainHandle, pageSize } from '../../src/base/domain.js';
import { openSocketPair } from '../../src/wire/connection/socket-pair.js';
import { checksumType, formatType } from '../../src/wire/stream/checked-stream.js';
import { encodeRecord, encodeStreamHead, padded } from '../../src/wire/stream/libxc-stream.js';
import { compressedPagesType } from '../../src/wire/stream/page-codec.js';
import { expandRecord } from '../../src/wire/stream/page-frames.js';
import { chop } from '../support/chopped.js';
import { checkLibxcStream } from '../support/libxc-checker.js';
import { followSave, type Lab, openLab, program } from './harness.js';

describe('emu-manager', () => {
  let lab: Lab;
  before(async () => {
    lab = await openLab();
  });
  after(() => lab.close());

  async function runningGuest(changes = {}): Promise<DomainHandle> {
    const handle = await lab.createDomain(changes);
    await lab.simulator.build(handle);
    await lab.simulator.unpause(handle, 'start');
    return handle;
  }

  async function saveToFile(handle: DomainHandle, flags: readonly string[], vgpu: readonly number[] = []) {
    const file = path.join(lab.directory, `image-${handle.domid}-${flags.join('')}`);
    const fd = fs.openSync(file, 'w');
    const argv = ['-mode', 'hvm_save', '-domid', String(handle.domid), '-dm', 'qemu', ...flags];
    const emu = lab.emu(argv, [fd, ...vgpu]);
    const ended = await followSave(lab, emu, handle);
    fs.closeSync(fd);
    return { ...ended, percents: emu.percents, stream: fs.readFileSync(file) };
  }

  async function restoreFrom(stream: Buffer, handle: DomainHandle) {
    const file = path.join(lab.directory, `restore-${handle.domid}`);
    fs.writeFileSync(file, stream);
    const fd = fs.openSync(file, 'r');
    const emu = lab.emu(['-mode', 'hvm_restore', '-domid', String(handle.domid)], [fd]);
    emu.tell('restore:xenguest');
    const ended = await emu.exit();
    fs.closeSync(fd);
    return ended;
  }

  async function expectRestored(source: DomainHandle, destination: DomainHandle): Promise<void> {
    const [from, to] = [await lab.info(source), await lab.info(destination)];
    expect(to).to.include({ state: 'paused', everRan: false, ticks: from.ticks, pagesWritten: from.pagesWritten });
    expect((await lab.memoryOf(destination)).equals(await lab.memoryOf(source))).to.equal(true);
    expect((await lab.simulator.verify(destination)).badPages).to.equal(0);
  }

  for (const [feature, answer] of [
    ['compress', 'true\n'],
    ['compress_format', 'true\n'],
    ['compress_vgpu', 'true\n'],
    ['convergence', 'true\n'],
    ['anything', 'false\n'],
  ] as const) {
    it(`answers ${answer.trim()} to -supports ${feature}`, async () => {
      const { stdout } = await promisify(execFile)(process.execPath, [program, '-supports', feature]);
      expect(stdout).to.equal(answer);
    });
  }

  for (const [form, flags] of [
    ['plain', ['-live', 'true']],
    ['compressed', ['-live', 'true', '-compress', 'true']],
    ['compressed', ['-live', 'true', '-compress', 'true', '-compress_format', '2']],
  ] as const) {
    it(`saves a running guest as a ${form} libxc stream with "${flags.join(' ')}", from which it goes on elsewhere`, async () => {
      const source = await runningGuest();
      const { status, messages, percents, stream } = await saveToFile(source, flags);
      expect(status).to.equal(0);
      const said = messages.map((message) => message.kind);
      expect(said).to.deep.equal(['prepare', 'suspend', 'stdout', 'result']);
      expect(percents.at(-1)).to.equal(100);
      expect(percents).to.deep.equal([...new Set(percents)].toSorted((a, b) => a - b));

      const expanded = await expand(stream);
      expect(expanded.equals(stream)).to.equal(form === 'plain');
      const checked = checkLibxcStream(expanded);
      const memory = await lab.memoryOf(source);
      expect(checked.pages.size).to.equal(memory.length / pageSize);
      for (const [pfn, page] of checked.pages) {
        if (!page.equals(memory.subarray(pfn * pageSize, (pfn + 1) * pageSize))) expect.fail(`page ${pfn} differs`);
      }
      const statistics = `guest_bytes=${checked.copies * pageSize} stream_bytes=${stream.length}`;
      expect(messages[2])
        .to.have.property('text')
        .that.matches(new RegExp(`^stats rounds=[2-5] ${statistics}$`));

      const destination = await lab.createDomain();
      const restored = await restoreFrom(stream, destination);
      expect(restored.messages.at(-1)).to.deep.equal({
        kind: 'result',
        result: { of: 'xenguest', storeMfn: 1, consoleMfn: 2 },
      });
      expect(restored.status).to.equal(0);
      await expectRestored(source, destination);

      const { ticks } = await lab.info(source);
      await lab.simulator.unpause(destination, 'go');
      while ((await lab.info(destination)).ticks === ticks) await new Promise((resolve) => setImmediate(resolve));
      await lab.simulator.pause(destination);
      expect((await lab.simulator.verify(destination)).badPages).to.equal(0);
    });
  }

  it('sends a domain that is not live in one round, after it was suspended', async () => {
    const source = await runningGuest();
    const { messages, stream } = await saveToFile(source, ['-live', 'false']);
    const pages = (8 << 20) / pageSize;
    expect(messages.map(({ kind }) => kind)).to.deep.equal(['prepare', 'suspend', 'stdout', 'result']);
    expect(messages[2])
      .to.have.property('text')
      .that.matches(new RegExp(`rounds=1 guest_bytes=${pages * pageSize} `));
    expect(checkLibxcStream(stream).copies).to.equal(pages);
  });

  it('writes nothing before done, and reads nothing before restore: or behind END', async () => {
    const source = await runningGuest({ workload: { dirtyPagesPerSecond: 0, workingSet: 0.1 } });
    const { stream } = await saveToFile(source, ['-live', 'true', '-compress', 'true']);
    const destination = await lab.createDomain();
    const [ours, theirs] = await openSocketPair();
    const emu = lab.emu(['-mode', 'hvm_restore', '-domid', String(destination.domid)], [theirs.fd]);
    const behind = Buffer.from('behind the END record');
    const header = Buffer.from('the header');
    await ours.write(header);
    expect(await theirs.read(header.length)).to.deep.equal(header);
    emu.tell('restore:xenguest');
    for (const piece of chop(Buffer.concat([stream, behind]), 60_000)) await ours.write(piece);
    expect((await emu.exit()).messages.at(-1)).to.have.property('kind', 'result');
    expect((await theirs.read(behind.length)).toString()).to.equal(behind.toString());
    await expectRestored(source, destination);
    ours.destroy();
    theirs.destroy();
  });

  for (const [flags, version, atMost] of [
    ['', 1, 800_000],
    ['-compress true', 2, 600_000],
    ['-compress true -compress_vgpu false', 1, 800_000],
  ] as const) {
    it(`streams the state of vGPUs over their own channels (${flags === '' ? 'plain' : flags})`, async () => {
      const vgpus = ['0', '1'];
      const source = await runningGuest({ vgpus });
      const destination = await lab.createDomain({ vgpus });
      const files = ['vgpu-a', 'vgpu-b'].map((name) => path.join(lab.directory, name));
      const out = files.map((file) => fs.openSync(file, 'w'));
      const dm = ['-dm', 'vgpu:6', '-dm', 'vgpu:7'];
      const more = flags.split(' ').filter((flag) => flag !== '');
      const { stream, messages } = await saveToFile(source, ['-live', 'true', ...dm, ...more], out);
      const prepared = messages.flatMap((message) => (message.kind === 'prepare' ? [message.emu] : []));
      expect(prepared).to.deep.equal(['xenguest', 'vgpu']);
      for (const file of files) {
        expect(fs.readFileSync(file).readUInt32LE(8)).to.equal(version);
        expect(fs.statSync(file).size).to.be.within(100_000, atMost);
      }

      const image = path.join(lab.directory, 'with-vgpu');
      fs.writeFileSync(image, stream);
      const fds = [image, ...files].map((file) => fs.openSync(file, 'r'));
      const emu = lab.emu(['-mode', 'hvm_restore', '-domid', String(destination.domid), ...dm], fds);
      emu.tell('restore:xenguest');
      emu.tell('restore:vgpu');
      const results = (await emu.exit()).messages.flatMap((message) =>
        message.kind === 'result' ? [message.result.of] : [],
      );
      expect(results.toSorted()).to.deep.equal(['vgpu', 'xenguest']);
      for (const device of vgpus) {
        const [from, to] = await Promise.all(
          [source, destination].map((handle) => lab.helper.call('get_vgpu', { handle, device })),
        );
        expect(to!.binary.length).to.be.greaterThan(8);
        expect(to!.binary.equals(from!.binary)).to.equal(true);
      }
      for (const fd of [...fds, ...out]) fs.closeSync(fd);
    });
  }

  for (const how of ['abort', 'the end of the control channel'] as const) {
    const stop = (emu: ReturnType<Lab['emu']>) => (how === 'abort' ? emu.tell('abort') : emu.hangUp());

    for (const compress of ['false', 'true']) {
      it(`ends a save at ${how} while nobody reads its stream, -compress ${compress}`, async () => {
        const source = await runningGuest();
        const emu = lab.emu(
          ['-mode', 'hvm_save', '-domid', String(source.domid), '-live', 'true', '-compress', compress],
          ['pipe'],
        );
        await emu.next();
        emu.tell('done');
        const stream = emu.stream(0);
        await new Promise((resolve) => stream.once('readable', resolve));
        stop(emu);
        const { status, messages } = await emu.exit();
        expect(status).to.equal(0);
        expect(messages.map(({ kind }) => kind)).to.deep.equal(['prepare']);
      });
    }

    it(`ends a restore at ${how} while nobody writes its stream`, async () => {
      const destination = await lab.createDomain();
      const emu = lab.emu(['-mode', 'hvm_restore', '-domid', String(destination.domid)], ['pipe']);
      emu.tell('restore:xenguest');
      await new Promise<void>((resolve, reject) => {
        emu.stream(0).write(encodeStreamHead(), (error) => (error ? reject(error) : resolve()));
      });
      stop(emu);
      const { status, messages } = await emu.exit();
      expect({ status, messages }).to.deep.equal({ status: 0, messages: [] });
    });
  }

  const page = (pfn: number) => {
    const body = Buffer.alloc(16 + pageSize, 1);
    body.writeUInt32LE(1, 0);
    body.writeUInt32LE(0, 4);
    body.writeBigUInt64LE(BigInt(pfn), 8);
    return encodeRecord(1, body);
  };
  const start = Buffer.concat([encodeStreamHead(), encodeRecord(0x10)]);
  for (const [what, stream, message] of [
    [
      'a page outside the domain',
      Buffer.concat([start, page(2048), encodeRecord(0)]),
      /page 2048 is outside the domain, which has 2048/,
    ],
    [
      'a mandatory record that it does not know',
      Buffer.concat([start, encodeRecord(0x7fffffff)]),
      /unknown mandatory record 0x7fffffff/,
    ],
    ['an end before END', Buffer.concat([start, page(1)]), /ended early/],
    ['no HVM_CONTEXT', Buffer.concat([start, page(1), encodeRecord(0)]), /without HVM_CONTEXT/],
    [
      'fewer pages than the domain has',
      Buffer.concat([start, page(1), page(1), encodeRecord(9, Buffer.from('x')), encodeRecord(0)]),
      /ended without 2047 of the domain's 2048 pages/,
    ],
    ['something else', Buffer.alloc(64), /no marker/],
    [
      'a damaged compressed record',
      Buffer.concat([start, encodeRecord(compressedPagesType, Buffer.alloc(40))]),
      /compressed pages/,
    ],
  ] as const) {
    it(`reports ${what} in place of a result`, async () => {
      const destination = await lab.createDomain();
      const { status, messages } = await restoreFrom(stream, destination);
      expect(status).to.equal(1);
      expect(messages.map(({ kind }) => kind)).to.deep.equal(['error']);
      expect(messages[0]).to.have.property('text').that.matches(message);
      expect((await lab.info(destination)).state).to.equal('building');
    });
  }

  it('reports a peer that closes the stream', async () => {
    const source = await runningGuest();
    const emu = lab.emu(['-mode', 'hvm_save', '-domid', String(source.domid), '-live', 'true'], ['pipe']);
    await emu.next();
    emu.stream(0).destroy();
    emu.tell('done');
    const { status, messages } = await emu.exit();
    expect(status).to.equal(1);
    expect(messages.at(-1))
      .to.have.property('text')
      .that.matches(/EPIPE|ECONNRESET/);
  });

  it('reports a peer that closes the stream before END', async () => {
    const destination = await lab.createDomain();
    const emu = lab.emu(['-mode', 'hvm_restore', '-domid', String(destination.domid)], ['pipe']);
    emu.tell('restore:xenguest');
    emu.stream(0).end(Buffer.concat([start, page(1)]));
    const { status, messages } = await emu.exit();
    expect(status).to.equal(1);
    expect(messages).to.deep.equal([{ kind: 'error', text: 'the stream ended early' }]);
  });

  it('refuses a done that it did not ask for', async () => {
    const destination = await lab.createDomain();
    const emu = lab.emu(['-mode', 'hvm_restore', '-domid', String(destination.domid)], ['pipe']);
    emu.tell('done');
    const { status, messages } = await emu.exit();
    expect(status).to.equal(1);
    expect(messages).to.deep.equal([{ kind: 'error', text: 'done, where nothing was asked' }]);
  });

  it('reports bad arguments on stderr and on the control channel', async () => {
    const { status, messages, stderr } = await lab.emu(['-mode', 'sideways'], ['pipe']).exit();
    expect(status).to.equal(1);
    expect(stderr).to.contain('-mode "sideways"; allowed: hvm_save, save, hvm_restore, restore');
    expect(messages).to.have.length(1);
    expect(messages[0]).to.have.property('kind', 'error');
  });

  it('reports a domain that is not there', async () => {
    const { status, messages } = await lab.emu(['-mode', 'hvm_save', '-domid', '9999'], ['pipe']).exit();
    expect(status).to.equal(1);
    expect(messages[0]).to.have.property('kind', 'error');
  });
});

/** The stream with every compressed record replaced by what it means, and without its checksum. */
async function expand(stream: Buffer): Promise<Buffer> {
  const pieces = [stream.subarray(0, 40)];
  for (let at = 40; at < stream.length; ) {
    const length = stream.readUInt32LE(at + 4);
    const next = at + 8 + padded(length);
    const type = stream.readUInt32LE(at);
    if (type === compressedPagesType) pieces.push(await expandRecord(stream.subarray(at + 8, at + 8 + length)));
    else if (type !== formatType && type !== checksumType) pieces.push(stream.subarray(at, next));
    at = next;
  }
  return Buffer.concat(pieces);
}
