"""Signs and verifies webhooks with the providers' own libraries: stripe, standardwebhooks, svix, razorpay and twilio.

Reads one JSON object per line and writes one for each: the headers that `sign` returns, or what `verify` says.
"""

import hashlib
import hmac
import json
import sys
from datetime import datetime, timezone

import razorpay
import standardwebhooks
import stripe
import svix
from twilio.request_validator import RequestValidator


def moment(seconds):
    return datetime.fromtimestamp(seconds, tz=timezone.utc)


def sign(library, secret, body, seconds, id="msg_1", url=""):
    if library == "stripe":
        return {"stripe-signature": stripe.WebhookSignature.generate_signature_header(body, secret, timestamp=seconds)}
    if library in ("standardwebhooks", "svix"):
        names = {"standardwebhooks": "webhook", "svix": "svix"}
        webhook = {"standardwebhooks": standardwebhooks.Webhook, "svix": svix.Webhook}[library](secret)
        prefix = names[library]
        return {
            f"{prefix}-id": id,
            f"{prefix}-timestamp": str(seconds),
            f"{prefix}-signature": webhook.sign(id, moment(seconds), body),
        }
    if library == "razorpay":
        # The library only verifies: what it accepts is what the provider sends.
        signature = hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()
        razorpay.Utility(None).verify_webhook_signature(body, signature, secret)
        return {"x-razorpay-signature": signature, "x-razorpay-event-id": id}
    if library == "twilio":
        return {"x-twilio-signature": RequestValidator(secret).compute_signature(url, dict(json.loads(body)))}
    raise ValueError(library)


def verify(library, secret, body, headers):
    {"standardwebhooks": standardwebhooks.Webhook, "svix": svix.Webhook}[library](secret).verify(body, headers)
    return {"verified": True}


COMMANDS = {"sign": sign, "verify": verify}

for line in sys.stdin:
    asked = json.loads(line)
    try:
        answer = COMMANDS[asked.pop("command")](**asked)
    except Exception as error:
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
