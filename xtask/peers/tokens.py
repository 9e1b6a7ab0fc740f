"""Creates tokens and verifies OmniStack's, with joserfc. Reads one JSON object per line and writes one for each."""

import json
import sys

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

KEYS = {
    "RS256": lambda: RSAKey.generate_key(2048),
    "ES256": lambda: ECKey.generate_key("P-256"),
    "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
    "Ed25519": lambda: OKPKey.generate_key("Ed25519"),
}


def make(alg, header, claims):
    key = KEYS[alg]()
    token = jwt.encode({"alg": alg, "kid": "joserfc", **header}, claims, key, algorithms=[alg])
    return {"jwk": {**key.as_dict(private=False), "kid": "joserfc", "use": "sig"}, "token": token}


def shared(secret, claims):
    return {"token": jwt.encode({"alg": "HS256", "typ": "JWT"}, claims, OctKey.import_key(secret))}


def verify(keys, token, issuer, now):
    decoded = jwt.decode(token, KeySet.import_key_set(keys), algorithms=["ES256"])
    rules = {name: {"essential": True, "value": issuer} for name in ("iss", "aud")}
    jwt.JWTClaimsRegistry(now=now, exp={"essential": True}, **rules).validate(decoded.claims)
    return {"claims": decoded.claims}


COMMANDS = {"make": make, "shared": shared, "verify": verify}

for line in sys.stdin:
    asked = json.loads(line)
    try:
        answer = COMMANDS[asked.pop("command")](**asked)
    except Exception as error:
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
