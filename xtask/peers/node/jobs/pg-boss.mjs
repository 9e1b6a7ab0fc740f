// Measures pg-boss: one statement fetches and one completes a batch, without a pause while batches are full. These
// settings were the fastest among batches of 500 to 5,000 and one to four workers.

import { PgBoss } from "pg-boss";
import { count, measure } from "./measure.mjs";

await measure(async (url) => {
  const boss = new PgBoss({ connectionString: url, supervise: false, schedule: false });
  boss.on("error", (error) => {
    throw error;
  });
  await boss.start();
  await boss.createQueue("nothing");
  const left = () => count(url, "select count(*) from pgboss.job where state <> 'completed'");
  return {
    enqueue: (jobs) => boss.insert("nothing", Array.from({ length: jobs }, () => ({ data: null }))),
    async run(jobs) {
      let resolve;
      const promise = new Promise((done) => (resolve = done));
      let left = jobs;
      const options = {
        batchSize: 1000,
        burstWhenBatchFull: true,
        pollingIntervalSeconds: 0.5,
        localConcurrency: 4,
      };
      await boss.work("nothing", options, async (batch) => {
        left -= batch.length;
        if (left === 0) resolve();
      });
      await promise;
      // Ends when all completions are stored.
      await boss.offWork("nothing");
    },
    left,
    close: () => boss.stop({ graceful: false }),
  };
});
