import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { openStore } from '../../../src/base/store/store.js';
import { diskKinds, type FullDisk } from '../../support/full-disk.js';

const program = fileURLToPath(new URL('../../support/store-clients.js', import.meta.url));
const mebibyte = 1 << 20;

interface Said {
  readonly answered: Readonly<Record<string, number>>;
  readonly codes: Readonly<Record<string, number>>;
}

describe('the store on a full disk', function () {
  this.timeout(60_000);
  let parent: string;
  let disk: FullDisk | undefined;
  const children: ChildProcessWithoutNullStreams[] = [];
  beforeEach(() => {
    parent = fs.mkdtempSync(path.join(tmpdir(), 'store-full-'));
  });
  afterEach(async () => {
    for (const child of children.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    disk?.close();
    disk = undefined;
    fs.rmSync(parent, { recursive: true, force: true });
  });

  /** Clients of a store in a process of its own. */
  const start = ({ path: at, prefix }: FullDisk) => {
    const [command = '', ...args] = [...prefix(), process.execPath, program, path.join(at, 'db')];
    const child = spawn(command, args);
    children.push(child);
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text) => {
      errors += text;
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const ended = once(child, 'close') as Promise<[number | null, string | null]>;
    return {
      pid: child.pid as number,
      /** Write until each client was refused so often. */
      async refused(times: number): Promise<Said> {
        child.stdin.write(`${times}\n`);
        const { value, done } = await lines.next();
        if (done) throw new Error(`it has ended: ${JSON.stringify([...(await ended), errors])}`);
        return JSON.parse(value);
      },
      async end(): Promise<void> {
        child.stdin.end();
        expect([...(await ended), errors]).to.deep.equal([0, null, '']);
      },
    };
  };
  const lengths = async (at: string): Promise<Record<string, number>> => {
    const store = openStore(at);
    try {
      return Object.fromEntries([...store.table<string>('rows').entries()].map(([id, row]) => [id, row.length]));
    } finally {
      await store.close();
    }
  };

  it('writes nothing more after a write has failed for which there was room, and says so', async () => {
    const failing = fileURLToPath(new URL('../../support/store-failing.js', import.meta.url));
    const at = path.join(parent, 'db');
    const { stdout, status } = spawnSync(process.execPath, [failing, at], { encoding: 'utf8' });
    expect(status).to.equal(0);
    const { said, told } = JSON.parse(stdout);
    const [ok, failed] = said;
    expect(failed).to.match(/^INTERNAL_ERROR Writing to the database .* failed: /);
    expect({ said, told }).to.deep.equal({ said: [ok, failed, failed], told: [failed] });
    expect(Object.keys(await lengths(at))).to.deep.equal(['first']);
  });

  for (const kind of diskKinds()) {
    for (const size of [5, 20]) {
      it(`refuses by name what ${kind.name} has no room for, and writes the rest, at ${size} MiB`, async () => {
        disk = kind.open(parent, size * mebibyte);
        const at = path.join(disk.path, 'db');
        const clients = start(disk);
        const refusals = { [`OUT_OF_SPACE ${at}`]: 32 };
        expect((await clients.refused(4)).codes).to.deep.equal(refusals);
        disk.resize((size + 5) * mebibyte, clients.pid);
        const { answered, codes } = await clients.refused(4);
        expect(codes).to.deep.equal(refusals);
        await clients.end();
        expect(await lengths(at)).to.deep.equal(answered);
      });
    }

    for (const size of [4096, 12_288, 65_536, 1 * mebibyte, 3 * mebibyte]) {
      it(`is not opened anew on ${kind.name} of ${size} bytes, and says so`, async () => {
        disk = kind.open(parent, size);
        const clients = start(disk);
        const error = await clients.refused(1).then(String, String);
        expect(error)
          .to.match(/\[1,null,/)
          .and.to.contain(`OUT_OF_SPACE ${path.join(disk.path, 'db')}`);
        disk.resize(16 * mebibyte);
        await openStore(path.join(disk.path, 'db')).close();
      });
    }
  }
});
