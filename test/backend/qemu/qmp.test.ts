import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect } from 'chai';
import { connectQmp, type QmpEvent } from '../../../src/backend/qemu/qmp.js';

interface Request {
  readonly id: number;
  readonly execute: string;
  readonly arguments: { readonly events?: readonly object[] };
}

describe('the connection to QEMU', () => {
  let directory: string;
  let server: net.Server;
  const signal = new AbortController().signal;
  const requests: Request[] = [];
  const path = () => join(directory, 'qmp');

  /** Answers as QEMU does: a greeting, an answer a command, and an event that comes before the answer that it belongs to. */
  function serve(socket: net.Socket): void {
    const say = (message: object) => void socket.write(`${JSON.stringify(message)}\r\n`);
    say({ QMP: { version: {}, capabilities: [] } });
    createInterface({ input: socket }).on('line', (line) => {
      const request = JSON.parse(line) as Request;
      requests.push(request);
      const { id, execute } = request;
      if (execute === 'quit') socket.destroy();
      else if (execute === 'tell') {
        for (const event of request.arguments.events ?? []) say(event);
        say({ id, return: {} });
      } else if (execute === 'bad') say({ id, error: { class: 'GenericError', desc: 'no such thing' } });
      else {
        say({ event: 'MIGRATION', data: { status: 'setup' } });
        say({ id, return: { status: 'active' } });
      }
    });
  }

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'xenferry-qmp-'));
    server = net.createServer(serve).listen(path());
    await once(server, 'listening');
  });
  after(async () => {
    server.close();
    await rm(directory, { recursive: true });
  });

  it('begins with the capabilities, and gives answers and errors', async () => {
    const qmp = await connectQmp(path(), 10_000, signal);
    expect(requests.map(({ execute }) => execute)).to.deep.equal(['qmp_capabilities']);
    expect(await qmp.execute('migrate', { uri: 'tcp:127.0.0.1:1' })).to.deep.equal({ status: 'active' });
    expect(requests.at(-1)?.arguments).to.deep.equal({ uri: 'tcp:127.0.0.1:1' });
    expect(await failureOf(qmp.execute('bad'))).to.equal('INTERNAL_ERROR QEMU: bad: no such thing');
    qmp.close();
  });

  it('keeps of the events from before the newest of each name alone', async () => {
    const qmp = await connectQmp(path(), 10_000, signal);
    await qmp.execute('tell', {
      events: [
        ...Array.from({ length: 1000 }, (_, pass) => ({ event: 'MIGRATION_PASS', data: { pass } })),
        { event: 'MIGRATION', data: { status: 'completed' } },
        { event: 'RESUME' },
      ],
    });
    const seen: QmpEvent[] = [];
    const none = failureOf(qmp.event((event) => seen.push(event) < 0));
    qmp.close();
    await none;
    expect(seen.map(({ event, data }) => [event, data])).to.have.deep.members([
      ['MIGRATION_PASS', { pass: 999 }],
      ['MIGRATION', { status: 'completed' }],
      ['RESUME', {}],
    ]);
  });

  it('hears events, those from before as well, and its own end', async () => {
    const qmp = await connectQmp(path(), 10_000, signal);
    await qmp.event(({ event, data }) => event === 'MIGRATION' && data.status === 'setup');
    const never = failureOf(qmp.event(({ event, data }) => event === 'MIGRATION' && data.status === 'completed'));
    const unanswered = failureOf(qmp.execute('quit'));
    expect(await never).to.equal('INTERNAL_ERROR QEMU: an event: the connection has ended');
    expect(await unanswered).to.equal('INTERNAL_ERROR QEMU: quit: the connection has ended');
    expect(await failureOf(qmp.execute('migrate'))).to.equal('INTERNAL_ERROR QEMU: migrate: the connection has ended');
  });
});

async function failureOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'no failure',
    (error: Error) => error.message,
  );
}
