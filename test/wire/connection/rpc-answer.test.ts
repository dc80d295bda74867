import net from 'node:net';
import { expect } from 'chai';
import { createRpcClient } from '../../../src/wire/connection/rpc-client.js';

describe('wire/rpc-client: an answer that does not end as it should', () => {
  let server: net.Server;
  let begin: (socket: net.Socket) => void;

  beforeEach(async () => {
    server = net.createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n{"jsonrpc":"2.0","result":"');
        begin(socket);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(() => new Promise((resolve) => server.close(resolve)));

  async function failure(): Promise<string> {
    const { port } = server.address() as net.AddressInfo;
    const client = createRpcClient(`http://127.0.0.1:${port}/x`);
    try {
      return await client.call('state', []).then(
        () => expect.fail('there was an answer'),
        (error: Error) => error.message,
      );
    } finally {
      client.close();
    }
  }

  it('fails at once where the connection ends within it', async () => {
    begin = (socket) => void setImmediate(() => socket.destroy());
    expect(await failure()).to.match(/^INTERNAL_ERROR state at http:.*: the connection ended within the answer$/);
  });

  it('fails where it is longer than any answer can be', async () => {
    const chunk = Buffer.alloc(1 << 20, 'x');
    begin = (socket) => {
      const more = () => {
        while (!socket.destroyed && socket.write(chunk));
      };
      socket.on('drain', more);
      more();
    };
    expect(await failure()).to.match(/: the answer is longer than \d+ bytes$/);
  });
});
