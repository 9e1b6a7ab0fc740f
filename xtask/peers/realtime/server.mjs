// A WebSocket server as apps without OmniStack build it: npm's ws, with Redis between the processes. It has no history,
// no presence and no sign-in. The clients of `omnistack-realtime/benches/realtime.rs` connect to it. It prints its
// address, and publishes what it reads: a channel on each line.

import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Redis } from "ioredis";
import { WebSocketServer } from "ws";

const heartbeat = 25_000;
const channels = new Map();
const [publisher, subscriber] = [new Redis(process.env.REDIS_URL), new Redis(process.env.REDIS_URL)];
const server = createServer();
const sockets = new WebSocketServer({ server });

function answer(socket, { id, connect, subscribe }) {
  if (connect) socket.send(JSON.stringify({ id, connect: { client: String(id) } }));
  if (!subscribe) return;
  const { channel } = subscribe;
  if (!channels.has(channel)) {
    channels.set(channel, new Set());
    subscriber.subscribe(channel);
  }
  channels.get(channel).add(socket);
  socket.on("close", () => channels.get(channel).delete(socket));
  socket.send(JSON.stringify({ id, subscribe: {} }));
}

sockets.on("connection", (socket) => {
  socket.isAlive = true;
  socket.on("pong", () => {
    socket.isAlive = true;
  });
  socket.on("message", (frame) => {
    for (const line of String(frame).split("\n")) if (line) answer(socket, JSON.parse(line));
  });
  socket.on("error", () => {});
});

subscriber.on("message", (channel, data) => {
  const frame = `{"push":{"channel":${JSON.stringify(channel)},"pub":{"data":${data}}}}`;
  for (const socket of channels.get(channel) ?? []) socket.send(frame);
});

setInterval(() => {
  for (const socket of sockets.clients) {
    if (!socket.isAlive) {
      socket.terminate();
      continue;
    }
    socket.isAlive = false;
    socket.ping();
  }
}, heartbeat);

server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
for await (const channel of createInterface({ input: process.stdin })) {
  const at = Math.round((performance.timeOrigin + performance.now()) * 1000);
  await publisher.publish(channel, JSON.stringify({ at }));
}
process.exit(0);
