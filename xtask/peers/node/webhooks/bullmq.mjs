// Measures the delivery of webhooks by BullMQ, undici and standardwebhooks on the Redis at REDIS_URL, with the load of
// `omnistack-webhooks/benches/webhooks.rs`: ENDPOINTS endpoints and MESSAGES messages to each for the throughput, the
// best of RUNS runs; RATE messages a second and PACED_MESSAGES in total for the latency. Prints six numbers: deliveries
// per second, the median and the p99 of the latency in milliseconds, each with good receivers only and with two bad.

import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Queue, Worker } from "bullmq";
import { Webhook } from "standardwebhooks";
import { Agent, request } from "undici";

const number = (name) => Number(process.env[name]);
const [endpoints, messages, runs] = [number("ENDPOINTS"), number("MESSAGES"), number("RUNS")];
const [rate, paced] = [number("RATE"), number("PACED_MESSAGES")];
// As OmniStack's: the deadline of an attempt with the response's body, and how much of the body is read.
const timeout = 15_000;
const maxBody = 16 * 1024;
const concurrency = 256;

const redis = new URL(process.env.REDIS_URL);
const connection = {
  host: redis.hostname,
  port: Number(redis.port || 6379),
  username: decodeURIComponent(redis.username) || undefined,
  password: decodeURIComponent(redis.password) || undefined,
  maxRetriesPerRequest: null,
};
const webhook = new Webhook("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
const options = { attempts: 8, backoff: { type: "exponential", delay: 5000 }, removeOnComplete: true };

/** Sends one message, reads at most 16 KiB of the response, and fails unless the status is 2xx. */
async function deliver({ id, data }, agent) {
  const now = new Date();
  const body = JSON.stringify({ type: "bench.measured", timestamp: now.toISOString(), data: data.data });
  const response = await request(data.url, {
    method: "POST",
    dispatcher: agent,
    signal: AbortSignal.timeout(timeout),
    body,
    headers: {
      "content-type": "application/json",
      "webhook-id": `msg_${id}`,
      "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
      "webhook-signature": webhook.sign(`msg_${id}`, now, body),
    },
  });
  let read = 0;
  for await (const chunk of response.body) {
    read += chunk.length;
    // Leaving the loop closes the connection.
    if (read >= maxBody) break;
  }
  if (response.statusCode < 200 || response.statusCode > 299) throw new Error(`status ${response.statusCode}`);
}

/** Starts the receivers in a process of their own. */
function startSink() {
  const child = fork(fileURLToPath(new URL("sink.mjs", import.meta.url)));
  const ask = (question) =>
    new Promise((resolve) => {
      child.once("message", resolve);
      child.send(question);
    });
  return { port: () => ask({ port: true }), wait: (count) => ask({ wait: count }), stop: () => child.kill() };
}

/** Starts a worker. `stored(count)` waits until the results of that many deliveries to good receivers are stored. */
function startWorker(name, agent) {
  const worker = new Worker(name, (job) => deliver(job, agent), { connection, concurrency });
  let [done, wanted, resolve] = [0, Infinity, () => {}];
  worker.on("completed", ({ data }) => {
    if (data.url.endsWith("/good")) done += 1;
    if (done >= wanted) resolve();
  });
  worker.on("error", (error) => console.error(error));
  const stored = (count) =>
    new Promise((reached) => {
      [wanted, resolve] = [count, reached];
      if (done >= wanted) resolve();
    });
  return { stored, close: () => worker.close(true) };
}

/** Runs `load` on a queue of its own with receivers of its own, of which two are bad if `withBad`. */
async function run(withBad, load) {
  const sink = startSink();
  const port = await sink.port();
  const name = `webhooks-${process.pid}-${Date.now()}`;
  const queue = new Queue(name, { connection });
  const bad = withBad ? ["hung", "endless"] : [];
  const urls = Array.from({ length: endpoints }, (_, index) => `http://127.0.0.1:${port}/${bad[index] ?? "good"}`);
  // All receivers have one address, so the number of connections to it is not limited: with a limit, the receiver that
  // never responds would take all of them.
  const agent = new Agent({ headersTimeout: timeout, bodyTimeout: timeout });
  try {
    return await load({ queue, urls, sink, bad: bad.length, start: () => startWorker(name, agent) });
  } finally {
    sink.stop();
    await agent.destroy();
    await queue.obliterate({ force: true });
    await queue.close();
  }
}

const job = (url) => ({ name: "send", data: { url, data: { published: Date.now() } }, opts: options });

/** Returns the deliveries a second to good receivers, until their results are stored. */
async function throughput(withBad) {
  return run(withBad, async ({ queue, urls, sink, bad, start }) => {
    for (let index = 0; index < messages; index += 1) await queue.addBulk(urls.map(job));
    const count = (endpoints - bad) * messages;
    const began = performance.now();
    const worker = start();
    await sink.wait(count);
    await worker.stored(count);
    const seconds = (performance.now() - began) / 1000;
    await worker.close();
    return count / seconds;
  });
}

/** Returns the times from publishing a message to its arrival at a good receiver, in milliseconds, the shortest first. */
async function latencies(withBad) {
  return run(withBad, async ({ queue, urls, sink, bad, start }) => {
    const worker = start();
    const began = performance.now();
    let count = 0;
    const adding = [];
    for (let index = 0; index < paced; index += 1) {
      const early = began + (index * 1000) / rate - performance.now();
      if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
      const { name, data, opts } = job(urls[index % endpoints]);
      adding.push(queue.add(name, data, opts));
      if (index % endpoints >= bad) count += 1;
    }
    await Promise.all(adding);
    const waits = await sink.wait(count);
    await worker.close();
    return waits.sort((one, other) => one - other);
  });
}

const best = [0, 0];
for (let index = 0; index < runs; index += 1) {
  best[0] = Math.max(best[0], await throughput(false));
  best[1] = Math.max(best[1], await throughput(true));
}
const waits = [await latencies(false), await latencies(true)];
const quantile = (of) => waits.map((all) => all[Math.min(all.length - 1, Math.floor(all.length * of))].toFixed(1));
console.log([...best.map(Math.round), ...quantile(0.5), ...quantile(0.99)].join(" "));
process.exit(0);
