// Measures a job queue: enqueues JOBS jobs in one batch, then runs and acknowledges them, on a new database of the
// server at DATABASE_URL. Prints `<enqueued per second> <run and acknowledged per second>`, each the best of RUNS
// runs.

import pg from "pg";

const jobs = Number(process.env.JOBS);
const runs = Number(process.env.RUNS);

/**
 * `open(url)` prepares a database and returns `{ enqueue(count), run(count), left(), close() }`. `run` ends when every
 * acknowledgement is stored; `left` returns the number of unfinished jobs.
 */
export async function measure(open) {
  const server = new URL(process.env.DATABASE_URL);
  const name = `omnistack_bench_${process.pid}`;
  const fresh = new URL(server);
  fresh.pathname = `/${name}`;
  const admin = new pg.Client({ connectionString: server.href });
  await admin.connect();
  await admin.query(`create database ${name}`);
  try {
    const peer = await open(fresh.href);
    const best = { enqueued: 0, ran: 0 };
    for (let run = 0; run < runs; run += 1) {
      best.enqueued = Math.max(best.enqueued, jobs / (await seconds(() => peer.enqueue(jobs))));
      best.ran = Math.max(best.ran, jobs / (await seconds(() => peer.run(jobs))));
      const left = await peer.left();
      if (left !== 0) throw new Error(`${left} jobs were not acknowledged`);
    }
    await peer.close();
    console.log(`${Math.round(best.enqueued)} ${Math.round(best.ran)}`);
  } finally {
    // Without `force`, which is not allowed to end autovacuum workers in the database.
    await admin.query(`drop database ${name}`).catch((error) => console.error(`${name} stays: ${error.message}`));
    await admin.end();
  }
}

async function seconds(work) {
  const began = performance.now();
  await work();
  return (performance.now() - began) / 1000;
}

/** Returns the number of rows of a query. */
export async function count(url, sql) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query(sql);
  await client.end();
  return Number(rows[0].count);
}
