import { expect } from 'chai';
import fc from 'fast-check';
import { createFrameDecoder, encodeFrame, frameLimits } from '../../src/base/protocol/hypervisor-protocol.js';

describe('frames of the hypervisor protocol', () => {
  it('come out whole however the bytes are cut', () => {
    const message = fc.record({ json: fc.jsonValue(), binary: fc.uint8Array({ maxLength: 300 }) });
    fc.assert(
      fc.property(
        fc.array(message, { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 1, max: 50 }),
        (messages, cut) => {
          const bytes = Buffer.concat(messages.flatMap(({ json, binary }) => encodeFrame(json, binary)));
          const decode = createFrameDecoder();
          const frames = [];
          for (let at = 0; at < bytes.length; at += cut) frames.push(...decode(bytes.subarray(at, at + cut)));
          expect(frames.map(({ text }) => text)).to.deep.equal(messages.map(({ json }) => JSON.stringify(json)));
          expect(frames.map(({ binary }) => [...binary])).to.deep.equal(messages.map(({ binary }) => [...binary]));
        },
      ),
    );
  });

  for (const [part, json, binary] of [
    ['JSON', frameLimits.json + 1, 0],
    ['binary', 0, frameLimits.binary + 1],
  ] as const) {
    it(`are refused at their head when their ${part} is over-long`, () => {
      const head = Buffer.alloc(8);
      head.writeUInt32BE(json, 0);
      head.writeUInt32BE(binary, 4);
      expect(() => createFrameDecoder()(head)).to.throw(/are allowed/);
    });
  }

  it('are not made when over-long', () => {
    expect(() => encodeFrame('x'.repeat(frameLimits.json))).to.throw(/are allowed/);
  });
});
