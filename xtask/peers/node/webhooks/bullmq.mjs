// Measures the delivery of webhooks by BullMQ, undici and standardwebhooks on the Redis at REDIS_URL, with the load of
// `omnistack-webhooks/benches/webhooks.rs`: ENDPOINTS endpoints and MESSAGES messages to each for the throughput, RATE
// messages a second and PACED_MESSAGES in total for the latency. Prints
// `<deliveries/s, all good> <deliveries/s, two bad> <p99 in ms, all good> <p99 in ms, two bad>`.

import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Queue, Worker } from "bullmq";
import { Webhook } from "standardwebhooks";
import { Agent, request } from "undici";

const number = (name) => Number(process.env[name]);
const [endpoints, messages] = [number("ENDPOINTS"), number("MESSAGES")];
const [rate, paced] = [number("RATE"), number("PACED_MESSAGES")];
const timeout = 15_000;
const maxBody = 16 * 1024;

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
  const signal = AbortSignal.timeout(timeout);
  const response = await request(data.url, {
    method: "POST",
    dispatcher: agent,
    signal,
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

/** Runs `load` with a worker, and returns the waits of all messages at good receivers, in milliseconds. */
async function run(withBad, load) {
  const sink = startSink();
  const port = await sink.port();
  const name = `webhooks-${process.pid}-${Date.now()}`;
  const queue = new Queue(name, { connection });
  const bad = withBad ? ["hung", "endless"] : [];
  const urls = Array.from({ length: endpoints }, (_, index) => `http://127.0.0.1:${port}/${bad[index] ?? "good"}`);
  const agent = new Agent({ connections: 16, headersTimeout: timeout, bodyTimeout: timeout });
  const start = () => {
    const worker = new Worker(name, (job) => deliver(job, agent), { connection, concurrency: 256 });
    worker.on("error", () => {});
    return worker;
  };
  try {
    return await load({ queue, urls, start, wait: sink.wait, bad: bad.length });
  } finally {
    sink.stop();
    await queue.obliterate({ force: true }).catch(() => {});
    await queue.close();
    await agent.destroy();
  }
}

const job = (url) => ({ name: "send", data: { url, data: { published: Date.now() } }, opts: options });

async function throughput(withBad) {
  return run(withBad, async ({ queue, urls, start, wait, bad }) => {
    for (let index = 0; index < messages; index += 1) await queue.addBulk(urls.map(job));
    const count = (endpoints - bad) * messages;
    const began = performance.now();
    const worker = start();
    await wait(count);
    const seconds = (performance.now() - began) / 1000;
    await worker.close(true);
    return count / seconds;
  });
}

async function latency(withBad) {
  return run(withBad, async ({ queue, urls, start, wait, bad }) => {
    const worker = start();
    const began = performance.now();
    let count = 0;
    for (let index = 0; index < paced; index += 1) {
      const due = began + (index * 1000) / rate;
      const early = due - performance.now();
      if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
      const { name, data, opts } = job(urls[index % endpoints]);
      await queue.add(name, data, opts);
      if (index % endpoints >= bad) count += 1;
    }
    const waits = await wait(count);
    await worker.close(true);
    waits.sort((one, other) => one - other);
    return waits[Math.min(waits.length - 1, Math.floor(waits.length * 0.99))];
  });
}

const results = [await throughput(false), await throughput(true), await latency(false), await latency(true)];
console.log(`${Math.round(results[0])} ${Math.round(results[1])} ${results[2].toFixed(1)} ${results[3].toFixed(1)}`);
process.exit(0);
