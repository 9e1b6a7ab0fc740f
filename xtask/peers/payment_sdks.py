"""Calls PayPal's and Razorpay's APIs with their own clients, at the base URLs of OmniStack's wire fakes.

Usage: payment_sdks.py PAYPAL_URL PAYPAL_ID PAYPAL_SECRET RAZORPAY_URL RAZORPAY_ID RAZORPAY_SECRET

Reads one JSON object per line, {"call": name, ...arguments}, and writes one for each: {"result"} or {"error"}.
"""

import json
import sys

import razorpay
from paypalserversdk.configuration import Configuration, Environment, Server
from paypalserversdk.http.auth.o_auth_2 import ClientCredentialsAuthCredentials
from paypalserversdk.paypal_serversdk_client import PaypalServersdkClient

paypal_url, paypal_id, paypal_secret, razorpay_url, razorpay_id, razorpay_secret = sys.argv[1:]
Configuration.environments[Environment.SANDBOX][Server.DEFAULT] = paypal_url
paypal = PaypalServersdkClient(
    environment=Environment.SANDBOX,
    client_credentials_auth_credentials=ClientCredentialsAuthCredentials(
        o_auth_client_id=paypal_id, o_auth_client_secret=paypal_secret
    ),
)
razor = razorpay.Client(auth=(razorpay_id, razorpay_secret), base_url=razorpay_url)
FULL = "return=representation"


def parsed(answer):
    """Returns the JSON that the client has parsed, with the id as the client's own type has it."""
    if not answer.text:
        return None
    result = json.loads(answer.text)
    if "id" in result and getattr(answer.body, "id", result["id"]) != result["id"]:
        raise AssertionError("the client has read another id")
    return result


CALLS = {
    "paypal.create_order": lambda body, key: parsed(
        paypal.orders.create_order({"body": body, "paypal_request_id": key, "prefer": FULL})
    ),
    "paypal.get_order": lambda id: parsed(paypal.orders.get_order({"id": id})),
    "paypal.capture_order": lambda id, key: parsed(
        paypal.orders.capture_order({"id": id, "paypal_request_id": key, "prefer": FULL})
    ),
    "paypal.refund": lambda id, body, key: parsed(
        paypal.payments.refund_captured_payment(
            {"capture_id": id, "body": body, "paypal_request_id": key, "prefer": FULL}
        )
    ),
    "paypal.create_subscription": lambda body: parsed(
        paypal.subscriptions.create_subscription({"body": body, "prefer": FULL})
    ),
    "paypal.get_subscription": lambda id: parsed(paypal.subscriptions.get_subscription({"id": id})),
    "paypal.suspend_subscription": lambda id: parsed(
        paypal.subscriptions.suspend_subscription({"id": id, "body": {"reason": "test"}})
    ),
    "razorpay.create_customer": lambda body: razor.customer.create(body),
    "razorpay.create_order": lambda body: razor.order.create(body),
    "razorpay.order_payments": lambda id: razor.order.payments(id),
    "razorpay.capture": lambda id, amount, currency: razor.payment.capture(id, amount, {"currency": currency}),
    "razorpay.refund": lambda id, body: razor.payment.refund(id, body),
    "razorpay.create_link": lambda body: razor.payment_link.create(body),
    "razorpay.cancel_link": lambda id: razor.payment_link.cancel(id),
    "razorpay.create_subscription": lambda body: razor.subscription.create(body),
    "razorpay.get_subscription": lambda id: razor.subscription.fetch(id),
    "razorpay.verify_order": lambda order, payment, signature: razor.utility.verify_payment_signature(
        {"razorpay_order_id": order, "razorpay_payment_id": payment, "razorpay_signature": signature}
    ),
    "razorpay.verify_subscription": lambda payment, subscription, signature: (
        razor.utility.verify_subscription_payment_signature(
            {
                "razorpay_subscription_id": subscription,
                "razorpay_payment_id": payment,
                "razorpay_signature": signature,
            }
        )
    ),
    "razorpay.verify_link": lambda link, reference, status, payment, signature: (
        razor.utility.verify_payment_link_signature(
            {
                "payment_link_id": link,
                "payment_link_reference_id": reference,
                "payment_link_status": status,
                "razorpay_payment_id": payment,
                "razorpay_signature": signature,
            }
        )
    ),
    "razorpay.verify_webhook": lambda body, signature, secret: razor.utility.verify_webhook_signature(
        body, signature, secret
    ),
}

for line in sys.stdin:
    asked = json.loads(line)
    try:
        answer = {"result": CALLS[asked.pop("call")](**asked)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
