/** Limits for images that tests save and restore by themselves. */
import type { ImageLimits } from '../../src/xenops/image.js';

export const testLimits: ImageLimits = {
  environment: {},
  stopTimeoutMs: 200,
  progressTimeoutMs: 30_000,
  suspendTimeoutMs: 30_000,
};
