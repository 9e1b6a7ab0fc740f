"""Signs requests with Twilio's SDK: reads a JSON list of {token, url, params} and writes a list of signatures."""

import json
import sys

from multidict import MultiDict
from twilio.request_validator import RequestValidator


def signature(token, url, params):
    form = MultiDict()
    for name, value in params.items():
        for one in value if isinstance(value, list) else [value]:
            form.add(name, one)
    return RequestValidator(token).compute_signature(url, form)


json.dump([signature(**request) for request in json.load(sys.stdin)], sys.stdout)
