"""Signs and verifies webhooks with the providers' own libraries: stripe, standardwebhooks, svix, razorpay, twilio and
app-store-server-library. For the signatures `v1a`, which the libraries do not have, with PyNaCl.

Reads one JSON object per line and writes one for each: the headers that `sign` returns, or what `verify` says.
"""

import base64
import hashlib
import hmac
import json
import sys
from datetime import datetime, timezone

import razorpay
import standardwebhooks
import stripe
import svix
from appstoreserverlibrary.models.Environment import Environment
from appstoreserverlibrary.signed_data_verifier import SignedDataVerifier, VerificationException
from nacl.signing import SigningKey, VerifyKey
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


def sign_v1a(body, seconds, id="msg_1"):
    """Signs with a new key, and returns its private and its public form too."""
    key = SigningKey.generate()
    signature = key.sign(f"{id}.{seconds}.{body}".encode()).signature

    def encoded(*parts):
        return base64.b64encode(b"".join(bytes(part) for part in parts)).decode()

    return {
        "private_key": "whsk_" + encoded(key, key.verify_key),
        "public_key": "whpk_" + encoded(key.verify_key),
        "headers": {
            "webhook-id": id,
            "webhook-timestamp": str(seconds),
            "webhook-signature": "v1a," + encoded(signature),
        },
    }


def verify_v1a(public_key, body, headers):
    key = VerifyKey(base64.b64decode(public_key.removeprefix("whpk_"), validate=True))
    version, _, signature = headers["webhook-signature"].partition(",")
    if version != "v1a":
        raise ValueError(version)
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}"
    key.verify(signed.encode(), base64.b64decode(signature, validate=True))
    return {"verified": True}


def verify_checkout(secret, of, parameters):
    utility = razorpay.Client(auth=("rzp_test_unused", secret)).utility
    verify = {
        "order": utility.verify_payment_signature,
        "subscription": utility.verify_subscription_payment_signature,
    }[of]
    verify({f"razorpay_{name}": value for name, value in parameters.items()})
    return {"verified": True}


def verify_apple(root, bundle_id, app_id, kind, signed, strict):
    """Returns the environment for which Apple's library accepts a payload and the signed parts in it, or null.

    `strict` requires the key identifiers of certificates, as the library does except in its own tests.
    """
    for environment in (Environment.PRODUCTION, Environment.SANDBOX):
        verifier = SignedDataVerifier([base64.b64decode(root)], False, environment, bundle_id, app_id)
        verifier._chain_verifier.enable_strict_checks = strict
        verify = {
            "transaction": verifier.verify_and_decode_signed_transaction,
            "renewal": verifier.verify_and_decode_renewal_info,
            "notification": verifier.verify_and_decode_notification,
        }[kind]
        parts = {
            "signedTransactionInfo": verifier.verify_and_decode_signed_transaction,
            "signedRenewalInfo": verifier.verify_and_decode_renewal_info,
            "signedAppTransactionInfo": verifier.verify_and_decode_app_transaction,
        }
        try:
            verified = verify(signed)
            for subject in (getattr(verified, name, None) for name in ("data", "appData")):
                for name, verify_part in parts.items():
                    if part := getattr(subject, name, None):
                        verify_part(part)
            return {"verified": environment.value}
        except VerificationException:
            pass
    return {"verified": None}


COMMANDS = {
    "sign": sign,
    "verify": verify,
    "sign_v1a": sign_v1a,
    "verify_v1a": verify_v1a,
    "verify_checkout": verify_checkout,
    "verify_apple": verify_apple,
}

for line in sys.stdin:
    asked = json.loads(line)
    try:
        answer = COMMANDS[asked.pop("command")](**asked)
    except Exception as error:
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
