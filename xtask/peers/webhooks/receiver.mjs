// Receives webhooks, and prints one JSON line for each: `{"id", "event"}`. The first line is its address. Reads the
// secret from WEBHOOK_SECRET and the port from PORT, which is a free one by default. The part between the anchors is in
// docs/src/verifying-webhooks.md; it is valid TypeScript as well.

// ANCHOR: receiver
import { createServer } from "node:http";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

const webhook = new Webhook(process.env.WEBHOOK_SECRET ?? "");
const HEADERS = ["webhook-id", "webhook-timestamp", "webhook-signature"];

const server = createServer(async (request, response) => {
  try {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks); // the raw bytes, as they were signed
    const headers = Object.fromEntries(HEADERS.map((name) => [name, String(request.headers[name])]));
    const event = webhook.verify(body, headers);
    // Store the event under its id here, and process it after the response.
    console.log(JSON.stringify({ id: headers["webhook-id"], event }));
    response.writeHead(204).end();
  } catch (error) {
    // After 500 the sender sends the event again.
    response.writeHead(error instanceof WebhookVerificationError ? 400 : 500).end();
  }
});
// ANCHOR_END: receiver

server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  console.log(JSON.stringify({ address: `http://127.0.0.1:${server.address().port}` }));
});
