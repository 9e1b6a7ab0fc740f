// Calls PayPal's and Razorpay's APIs with their own clients, at the base URLs of OmniStack's wire fakes.
//
// Usage: payment_sdks.mjs PAYPAL_URL PAYPAL_ID PAYPAL_SECRET RAZORPAY_URL RAZORPAY_ID RAZORPAY_SECRET
//
// Reads one JSON object per line, {"call": name, ...arguments}, and writes one for each: {"result"} or {"error"}.

import { createInterface } from "node:readline";

import {
  Client,
  Environment,
  OrdersController,
  PaymentsController,
  SubscriptionsController,
} from "@paypal/paypal-server-sdk";
import Razorpay from "razorpay";
import {
  validatePaymentVerification,
  validateWebhookSignature,
} from "razorpay/dist/utils/razorpay-utils.js";

const [paypalUrl, paypalId, paypalSecret, razorpayUrl, razorpayId, razorpaySecret] = process.argv.slice(2);

// PayPal's client has no setting for its base URL, but takes the adapter of its HTTP client.
async function adapter(config) {
  const asked = new URL(config.url);
  const headers = { ...config.headers.toJSON() };
  for (const name of Object.keys(headers)) {
    if (name.toLowerCase() === "content-length") delete headers[name];
  }
  const response = await fetch(new URL(asked.pathname + asked.search, paypalUrl), {
    method: config.method.toUpperCase(),
    headers,
    body: config.data,
  });
  return {
    data: await response.text(),
    status: response.status,
    statusText: response.statusText,
    headers: Object.fromEntries(response.headers),
    config,
    request: {},
  };
}

const client = new Client({
  environment: Environment.Sandbox,
  clientCredentialsAuthCredentials: { oAuthClientId: paypalId, oAuthClientSecret: paypalSecret },
  unstable_httpClientOptions: { adapter },
});
const orders = new OrdersController(client);
const payments = new PaymentsController(client);
const subscriptions = new SubscriptionsController(client);
const razorpay = new Razorpay({ key_id: razorpayId, key_secret: razorpaySecret });
razorpay.api.rq.defaults.baseURL = razorpayUrl;

const prefer = "return=representation";

// Returns the JSON that the client has parsed, with the id as the client's own type has it.
function parsed(answer) {
  if (!answer.body) return null;
  const result = JSON.parse(answer.body);
  if (result.id !== answer.result?.id) throw new Error("the client has read another id");
  return result;
}

function verified(isVerified) {
  if (!isVerified) throw new Error("SignatureVerificationError");
  return true;
}

// The types of PayPal's client have names in camel case.
function camel(value) {
  if (Array.isArray(value)) return value.map(camel);
  if (value === null || typeof value !== "object") return value;
  const name = (text) => text.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [name(key), camel(item)]));
}

const calls = {
  "paypal.create_order": async ({ body, key }) =>
    parsed(await orders.createOrder({ body: camel(body), paypalRequestId: key, prefer })),
  "paypal.get_order": async ({ id }) => parsed(await orders.getOrder({ id })),
  "paypal.capture_order": async ({ id, key }) =>
    parsed(await orders.captureOrder({ id, paypalRequestId: key, prefer })),
  "paypal.refund": async ({ id, body, key }) =>
    parsed(await payments.refundCapturedPayment({ captureId: id, body: camel(body), paypalRequestId: key, prefer })),
  "paypal.create_subscription": async ({ body }) =>
    parsed(await subscriptions.createSubscription({ body: camel(body), prefer })),
  "paypal.get_subscription": async ({ id }) => parsed(await subscriptions.getSubscription({ id })),
  "paypal.suspend_subscription": async ({ id }) => {
    await subscriptions.suspendSubscription({ id, body: { reason: "test" } });
    return null;
  },
  "razorpay.create_customer": ({ body }) => razorpay.customers.create(body),
  "razorpay.create_order": ({ body }) => razorpay.orders.create(body),
  "razorpay.order_payments": ({ id }) => razorpay.orders.fetchPayments(id),
  "razorpay.capture": ({ id, amount, currency }) => razorpay.payments.capture(id, amount, currency),
  "razorpay.refund": ({ id, body }) => razorpay.payments.refund(id, body),
  "razorpay.create_link": ({ body }) => razorpay.paymentLink.create(body),
  "razorpay.cancel_link": ({ id }) => razorpay.paymentLink.cancel(id),
  "razorpay.create_subscription": ({ body }) => razorpay.subscriptions.create(body),
  "razorpay.get_subscription": ({ id }) => razorpay.subscriptions.fetch(id),
  "razorpay.verify_order": ({ order, payment, signature }) =>
    verified(validatePaymentVerification({ order_id: order, payment_id: payment }, signature, razorpaySecret)),
  "razorpay.verify_subscription": ({ payment, subscription, signature }) =>
    verified(
      validatePaymentVerification({ subscription_id: subscription, payment_id: payment }, signature, razorpaySecret),
    ),
  "razorpay.verify_link": ({ link, reference, status, payment, signature }) =>
    verified(
      validatePaymentVerification(
        {
          payment_link_id: link,
          payment_link_reference_id: reference,
          payment_link_status: status,
          payment_id: payment,
        },
        signature,
        razorpaySecret,
      ),
    ),
  "razorpay.verify_webhook": ({ body, signature, secret }) =>
    verified(validateWebhookSignature(body, signature, secret)),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { call, ...parameters } = JSON.parse(line);
  let answer;
  try {
    answer = { result: (await calls[call](parameters)) ?? null };
  } catch (error) {
    answer = { error: error instanceof Error ? `${error.name}: ${error.message}` : JSON.stringify(error) };
  }
  console.log(JSON.stringify(answer));
}
