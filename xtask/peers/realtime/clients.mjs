// Drives clients of npm's centrifuge over WebSocket and over SSE with its POST back-channel. Reads one JSON object per
// line, a question, and writes one for each, the answer. `clients.py` answers the same questions.

import { createInterface } from "node:readline";
import { Centrifuge } from "centrifuge";
import { EventSource } from "eventsource";
import { WebSocket } from "ws";

// Longest wait for an event.
const patience = 30_000;
const clients = new Map();

/** The events of a client that were not asked for yet, by kind and channel. */
class EventLog {
  #queues = new Map();
  #waiting = new Map();

  add(kind, channel, event) {
    const key = `${kind} ${channel ?? ""}`;
    const waiting = this.#waiting.get(key)?.shift();
    if (waiting) {
      waiting(event);
      return;
    }
    const queue = this.#queues.get(key);
    if (queue) queue.push(event);
    else this.#queues.set(key, [event]);
  }

  waitingEvents(kind, channel) {
    return this.#queues.get(`${kind} ${channel ?? ""}`) ?? [];
  }

  next(kind, channel) {
    const key = `${kind} ${channel ?? ""}`;
    const event = this.#queues.get(key)?.shift();
    if (event) return event;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no event ${key}`)), patience);
      const waiting = this.#waiting.get(key) ?? [];
      waiting.push((event) => {
        clearTimeout(timer);
        resolve(event);
      });
      this.#waiting.set(key, waiting);
    });
  }
}

/** A client with its events, and its open sockets. */
class Peer {
  log = new EventLog();
  sockets = new Set();
  subscriptions = new Map();

  constructor({ url, emulation, tokens }) {
    const { log, sockets } = this;
    class Socket extends WebSocket {
      constructor(url, protocols) {
        // As a browser does, emits each message in a task of its own. With all that it has read in one tick,
        // centrifuge-js 5.7 delivers messages of different frames out of order.
        super(url, protocols, { allowSynchronousEvents: false });
        sockets.add(this);
        this.on("close", () => sockets.delete(this));
      }
    }
    let asked = 0;
    const getToken = async () => {
      const token = tokens[Math.min(asked, tokens.length - 1)];
      asked += 1;
      log.add("token", undefined, { asked });
      return token;
    };
    const endpoint = emulation ? [{ transport: "sse", endpoint: url }] : url;
    this.client = new Centrifuge(endpoint, {
      getToken,
      websocket: Socket,
      eventsource: EventSource,
      fetch,
      emulationEndpoint: emulation,
      minReconnectDelay: 50,
      maxReconnectDelay: 500,
    });
    for (const kind of ["connecting", "disconnected"]) {
      this.client.on(kind, ({ code }) => log.add(kind, undefined, { code }));
    }
    this.client.on("connected", ({ transport }) => log.add("connected", undefined, { transport }));
    this.client.on("error", ({ error }) => log.add("error", undefined, { code: error.code }));
    this.#record(this.client, (context) => context.channel);
  }

  subscribe({ channel, since }) {
    const subscription = this.client.newSubscription(channel, { since, minResubscribeDelay: 50 });
    this.subscriptions.set(channel, subscription);
    this.#record(subscription, () => channel);
    subscription.on("error", ({ error }) => this.log.add("subscription_error", channel, { code: error.code }));
    subscription.subscribe();
  }

  /** Records the events of a subscription, or of the subscriptions that the server has made. */
  #record(emitter, channelOf) {
    const { log } = this;
    for (const kind of ["subscribing", "unsubscribed"]) {
      emitter.on(kind, (context) => log.add(kind, channelOf(context), { code: context.code }));
    }
    emitter.on("subscribed", (context) => {
      const { recovered, wasRecovering, recoverable } = context;
      log.add("subscribed", channelOf(context), { recovered, was_recovering: wasRecovering, recoverable });
    });
    emitter.on("publication", (context) => {
      const { data, offset, info } = context;
      log.add("publication", channelOf(context), { data, offset, user: info?.user });
    });
    for (const kind of ["join", "leave"]) {
      emitter.on(kind, (context) => log.add(kind, channelOf(context), { user: context.info.user }));
    }
  }
}

const publications = (result) => result.publications.map(({ data, offset }) => ({ data, offset }));

const answers = {
  async open({ client, url, emulation, tokens }) {
    const peer = new Peer({ url, emulation, tokens });
    clients.set(client, peer);
    peer.client.connect();
  },
  subscribe: async (question) => clients.get(question.client).subscribe(question),
  unsubscribe: async ({ client, channel }) => clients.get(client).subscriptions.get(channel).unsubscribe(),
  event: async ({ client, kind, channel }) => clients.get(client).log.next(kind, channel),
  /** The events of a kind that were not asked for, without waiting. */
  waiting: async ({ client, kind, channel }) => ({ events: clients.get(client).log.waitingEvents(kind, channel) }),
  async numbers({ client, channel, count }) {
    const numbers = [];
    while (numbers.length < count) {
      const { data } = await clients.get(client).log.next("publication", channel);
      numbers.push(data.number);
    }
    return { numbers };
  },
  publish: async ({ client, channel, data }) => clients.get(client).client.publish(channel, data),
  async history({ client, channel, options }) {
    const result = await clients.get(client).client.history(channel, options);
    return { publications: publications(result), offset: result.offset, epoch: result.epoch };
  },
  async presence({ client, channel }) {
    const { clients: present } = await clients.get(client).client.presence(channel);
    return { users: Object.values(present).map(({ user }) => user) };
  },
  async presence_stats({ client, channel }) {
    const { numClients, numUsers } = await clients.get(client).client.presenceStats(channel);
    return { clients: numClients, users: numUsers };
  },
  rpc: async ({ client, method }) => clients.get(client).client.rpc(method, {}),
  /** Stops and goes on reading from the client's sockets. */
  pause: async ({ client }) => clients.get(client).sockets.forEach((socket) => socket.pause()),
  resume: async ({ client }) => clients.get(client).sockets.forEach((socket) => socket.resume()),
  async close({ client }) {
    clients.get(client).client.disconnect();
    clients.delete(client);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  let answer;
  try {
    answer = (await answers[question.ask](question)) ?? {};
  } catch (error) {
    answer = { error: { code: error.code ?? 0, message: error.message ?? String(error) } };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
