"""Signs requests as Twilio does, by Twilio's own SDK: reads a JSON list of {token, url, params}, writes a list of signatures."""

import json
import sys

from twilio.request_validator import RequestValidator

requests = json.load(sys.stdin)
json.dump([RequestValidator(one["token"]).compute_signature(one["url"], one["params"]) for one in requests], sys.stdout)
