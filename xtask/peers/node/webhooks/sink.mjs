// The receivers of webhooks: `/good` responds 204, `/hung` never responds, and `/endless` responds with a body that never
// ends. Answers `{ port }` with its port, and `{ wait }` with the waits of all messages at `/good`, in milliseconds, when
// that many have arrived.

import { createServer } from "node:http";

const waits = [];
let wanted;

function report() {
  if (wanted !== undefined && waits.length >= wanted) {
    wanted = undefined;
    process.send(waits);
  }
}

const server = createServer((request, response) => {
  if (request.url === "/hung") return;
  if (request.url === "/endless") {
    const chunk = Buffer.alloc(1024, "x");
    const more = () => {
      while (!response.destroyed && response.write(chunk));
    };
    response.writeHead(200);
    response.on("drain", more);
    more();
    return;
  }
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    waits.push(Date.now() - JSON.parse(Buffer.concat(chunks)).data.published);
    response.writeHead(204).end();
    report();
  });
});

server.listen(0, "127.0.0.1", () => {
  process.on("message", ({ port, wait }) => {
    if (port) process.send(server.address().port);
    if (wait !== undefined) {
      wanted = wait;
      report();
    }
  });
});
