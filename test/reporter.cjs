/** Mocha's Spec reporter, and as the last line the counts that scripts read: `12 passed, 0 failed, 0 skipped`. */
const { reporters, Runner } = require('mocha');

module.exports = class CountingReporter extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    // Mocha passes over what would end a daemon: a rejection that nobody handles.
    process.on('unhandledRejection', (reason) => {
      throw reason;
    });
    runner.once(Runner.constants.EVENT_RUN_END, () => {
      const { passes, failures, pending } = this.stats;
      process.stdout.write(`${passes} passed, ${failures} failed, ${pending} skipped\n`);
    });
  }
};
