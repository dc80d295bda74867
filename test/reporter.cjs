/**
 * Mocha's Spec reporter, and as the last line the counts that scripts read: `12 passed, 0 failed, 0 skipped`. Behind failures it
 * prints the seed from which tests draw their random bytes.
 */
const { randomInt } = require('node:crypto');
const { reporters, Runner } = require('mocha');

// Before the tests are loaded, which read it there.
process.env.XENFERRY_TEST_SEED ??= String(randomInt(2 ** 32));

module.exports = class CountingReporter extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    // Mocha passes over what would end a daemon: a rejection that nobody handles.
    process.on('unhandledRejection', (reason) => {
      throw reason;
    });
    runner.once(Runner.constants.EVENT_RUN_END, () => {
      const { passes, failures, pending } = this.stats;
      if (failures > 0) process.stdout.write(`drawn from XENFERRY_TEST_SEED=${process.env.XENFERRY_TEST_SEED}\n`);
      process.stdout.write(`${passes} passed, ${failures} failed, ${pending} skipped\n`);
    });
  }
};
