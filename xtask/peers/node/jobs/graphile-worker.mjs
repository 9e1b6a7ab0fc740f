// Measures graphile-worker with the settings that its documentation recommends: a local queue, and completions in
// batches. A size of 2,000 was faster than 500 and 5,000.

import { Logger, makeWorkerUtils, run } from "graphile-worker";
import { count, measure } from "./measure.mjs";

const logger = new Logger(() => () => {});

await measure(async (url) => {
  const utils = await makeWorkerUtils({ connectionString: url, logger });
  await utils.migrate();
  return {
    enqueue: (jobs) => utils.addJobs(Array.from({ length: jobs }, () => ({ identifier: "nothing", payload: null }))),
    async run(jobs) {
      const { promise, resolve } = withResolvers();
      let left = jobs;
      const preset = {
        worker: {
          connectionString: url,
          logger,
          concurrentJobs: 24,
          maxPoolSize: 26,
          localQueue: { size: 2000 },
          completeJobBatchDelay: 0,
          failJobBatchDelay: 0,
        },
      };
      const nothing = async () => {
        left -= 1;
        if (left === 0) resolve();
      };
      const runner = await run({ preset, noHandleSignals: true, taskList: { nothing } });
      await promise;
      // Ends when all completions are stored.
      await runner.stop();
    },
    left: () => count(url, "select count(*) from graphile_worker.jobs"),
    close: () => utils.release(),
  };
});

function withResolvers() {
  let resolve;
  const promise = new Promise((done) => (resolve = done));
  return { promise, resolve };
}
