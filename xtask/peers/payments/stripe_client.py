"""Drives a fake of Stripe with Stripe's own library for Python, and verifies a webhook that the fake has signed.

Arguments: the base URL, the secret, the header and the body of a webhook.
"""

import sys

import stripe

url, secret, header, body = sys.argv[1:]
client = stripe.StripeClient("sk_test_python", base_addresses={"api": url}, max_network_retries=0)
api = client.v1

customer = api.customers.create({"name": "Ada", "email": "ada@example.com", "metadata": {"team": "t1"}})
assert customer.metadata["team"] == "t1"
assert api.customers.retrieve(customer.id).email == "ada@example.com"

# Idempotency.
form = {"amount": 1200, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
first = api.payment_intents.create(form, {"idempotency_key": "key-1"})
again = api.payment_intents.create(form, {"idempotency_key": "key-1"})
assert (first.id, first.status) == (again.id, "succeeded")
try:
    api.payment_intents.create({**form, "amount": 1300}, {"idempotency_key": "key-1"})
    raise AssertionError("a key was used for two requests")
except stripe.IdempotencyError:
    pass

# Expansion, refunds and errors.
paid = api.payment_intents.retrieve(first.id, {"expand": ["latest_charge.balance_transaction"]})
assert paid.latest_charge.balance_transaction.fee == 65
refund = api.refunds.create({"payment_intent": first.id, "amount": 200})
assert (refund.status, refund.amount) == ("succeeded", 200)
try:
    api.payment_intents.create({**form, "payment_method": "pm_card_visa_chargeDeclinedInsufficientFunds"})
    raise AssertionError("the card was not declined")
except stripe.CardError as error:
    assert error.error.decline_code == "insufficient_funds"
    assert error.error.payment_intent.status == "requires_payment_method"
try:
    api.customers.retrieve("cus_missing")
    raise AssertionError("the customer exists")
except stripe.InvalidRequestError as error:
    assert (error.http_status, error.code) == (404, "resource_missing")

# Subscriptions and their invoices.
product = api.products.create({"name": "Team"})
recurring = {"interval": "month"}
price = api.prices.create({"product": product.id, "unit_amount": 2900, "currency": "usd", "recurring": recurring})
api.payment_methods.attach("pm_card_visa", {"customer": customer.id})
items = [{"price": price.id, "quantity": 2}]
subscription = api.subscriptions.create({"customer": customer.id, "items": items, "metadata": {"team": "t1"}})
assert (subscription.status, subscription["items"].data[0].quantity) == ("active", 2)
invoice = api.invoices.retrieve(subscription.latest_invoice)
assert (invoice.status, invoice.total) == ("paid", 5800)
assert invoice.parent.subscription_details.subscription == subscription.id
assert [item.id for item in api.invoices.list({"customer": customer.id}).data] == [invoice.id]
assert api.subscriptions.update(subscription.id, {"cancel_at_period_end": True}).cancel_at
assert api.subscriptions.cancel(subscription.id).status == "canceled"

# Checkout, portal and meters.
session = api.checkout.sessions.create(
    {"mode": "subscription", "customer": customer.id, "line_items": items, "success_url": "https://app.example.com"}
)
assert session.status == "open" and session.url
assert api.checkout.sessions.expire(session.id).status == "expired"
assert api.billing_portal.sessions.create({"customer": customer.id, "return_url": "https://app.example.com"}).url
usage = {"event_name": "calls", "payload": {"value": "1", "stripe_customer_id": customer.id}, "identifier": "id-1"}
api.billing.meter_events.create(usage)
try:
    api.billing.meter_events.create(usage)
    raise AssertionError("a report was counted twice")
except stripe.InvalidRequestError as error:
    assert "already exists" in str(error)

# Lists have pages.
for number in range(12):
    api.customers.create({"name": str(number)})
assert len(list(api.customers.list({"limit": 5}).auto_paging_iter())) == 13

event = stripe.Webhook.construct_event(body, header, secret)
assert event.type
try:
    stripe.Webhook.construct_event(body + " ", header, secret)
    raise AssertionError("a forged webhook was accepted")
except stripe.SignatureVerificationError:
    pass
print("ok")
