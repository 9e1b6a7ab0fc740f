// Signs and verifies webhooks with the providers' own libraries: stripe, standardwebhooks, svix and @octokit/webhooks.
// Reads one JSON object per line and writes one for each.

import { createInterface } from "node:readline";
import { Webhooks } from "@octokit/webhooks";
import { Webhook as Standard } from "standardwebhooks";
import Stripe from "stripe";
import { Webhook as Svix } from "svix";

const stripe = new Stripe("sk_test_unused");

async function sign({ library, secret, body, seconds, id = "msg_1" }) {
  switch (library) {
    case "stripe":
      return {
        "stripe-signature": stripe.webhooks.generateTestHeaderString({ payload: body, secret, timestamp: seconds }),
      };
    case "standardwebhooks":
    case "svix": {
      const [webhook, prefix] = library === "svix" ? [new Svix(secret), "svix"] : [new Standard(secret), "webhook"];
      return {
        [`${prefix}-id`]: id,
        [`${prefix}-timestamp`]: String(seconds),
        [`${prefix}-signature`]: webhook.sign(id, new Date(seconds * 1000), body),
      };
    }
    case "octokit":
      return {
        "x-github-event": "push",
        "x-github-delivery": id,
        "x-hub-signature-256": await new Webhooks({ secret }).sign(body),
      };
    default:
      throw new Error(library);
  }
}

function verify({ library, secret, body, headers }) {
  const webhook = library === "svix" ? new Svix(secret) : new Standard(secret);
  webhook.verify(body, headers);
  return { verified: true };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...asked } = JSON.parse(line);
  let answer;
  try {
    answer = await { sign, verify }[command](asked);
  } catch (error) {
    answer = { error: String(error) };
  }
  console.log(JSON.stringify(answer));
}
