// Drives a fake of Stripe with Stripe's own library for Node, and verifies a webhook that the fake has signed.
// Arguments: the base URL, the secret, the header and the body of a webhook.

import assert from "node:assert/strict";
import Stripe from "stripe";

const [url, secret, header, body] = process.argv.slice(2);
const { hostname, port } = new URL(url);
const stripe = new Stripe("sk_test_node", { host: hostname, port, protocol: "http", maxNetworkRetries: 0 });

const customer = await stripe.customers.create({ name: "Ada", metadata: { team: "t1" } });
assert.equal((await stripe.customers.retrieve(customer.id)).metadata.team, "t1");

const form = { amount: 1200, currency: "usd", payment_method: "pm_card_visa", confirm: true };
const first = await stripe.paymentIntents.create(form, { idempotencyKey: "key-1" });
const again = await stripe.paymentIntents.create(form, { idempotencyKey: "key-1" });
assert.deepEqual([first.id, first.status], [again.id, "succeeded"]);
await assert.rejects(
  stripe.paymentIntents.create({ ...form, amount: 1300 }, { idempotencyKey: "key-1" }),
  Stripe.errors.StripeIdempotencyError,
);
await assert.rejects(
  stripe.paymentIntents.create({ ...form, payment_method: "pm_card_visa_chargeDeclined" }),
  (error) => error instanceof Stripe.errors.StripeCardError && error.decline_code === "generic_decline",
);

const reserved = await stripe.paymentIntents.create({ ...form, capture_method: "manual" });
assert.equal(reserved.status, "requires_capture");
assert.equal((await stripe.paymentIntents.capture(reserved.id, { amount_to_capture: 700 })).amount_received, 700);
assert.equal((await stripe.refunds.create({ payment_intent: reserved.id })).amount, 700);

const product = await stripe.products.create({ name: "Team" });
const recurring = { interval: "month" };
const price = await stripe.prices.create({ product: product.id, unit_amount: 2900, currency: "usd", recurring });
const items = [{ price: price.id, quantity: 2 }];
await stripe.paymentMethods.attach("pm_card_visa", { customer: customer.id });
const subscription = await stripe.subscriptions.create({ customer: customer.id, items });
assert.equal(subscription.status, "active");
const invoice = await stripe.invoices.retrieve(subscription.latest_invoice);
assert.deepEqual([invoice.status, invoice.total], ["paid", 5800]);
const preview = await stripe.invoices.createPreview({
  subscription: subscription.id,
  preview_mode: "recurring",
  subscription_details: { items: [{ id: subscription.items.data[0].id, quantity: 3 }] },
});
assert.equal(preview.amount_due, 8700);
assert.equal((await stripe.subscriptions.cancel(subscription.id)).status, "canceled");

const session = await stripe.checkout.sessions.create({
  mode: "subscription",
  customer: customer.id,
  line_items: items,
  success_url: "https://app.example.com",
});
assert.equal(session.status, "open");

assert.ok(stripe.webhooks.constructEvent(body, header, secret).type);
assert.throws(() => stripe.webhooks.constructEvent(`${body} `, header, secret));
console.log("ok");
