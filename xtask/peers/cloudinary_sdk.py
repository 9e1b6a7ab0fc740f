"""Computes signatures with Cloudinary's own package, to compare OmniStack's with them.

Reads one JSON object per line and writes one for each:

    {"sign": parameters, "secret"} -> {"signature"} of a request
    {"download": parameters, "secret", "cloud"} -> {"url"}, a download URL that expires
    {"deliver": public id, "version", "secret", "cloud"} -> {"url"}, the delivery URL
"""

import json
import sys
from unittest import mock

from cloudinary import utils

LEFT_OUT = {"file", "api_key", "signature", "cloud_name", "resource_type"}


def answer(request):
    secret = request["secret"]
    if "sign" in request:
        parameters = {name: value for name, value in request["sign"].items() if name not in LEFT_OUT}
        return {"signature": utils.api_sign_request(parameters, secret, utils.SIGNATURE_SHA256, signature_version=2)}
    if "download" in request:
        given = request["download"]
        with mock.patch("cloudinary.utils.now", return_value=given["timestamp"]):
            url = utils.private_download_url(
                given["public_id"],
                None,
                resource_type="raw",
                type=given["type"],
                attachment=given["attachment"],
                expires_at=given["expires_at"],
                cloud_name=request["cloud"],
                api_key=given["api_key"],
                api_secret=secret,
                signature_algorithm=utils.SIGNATURE_SHA256,
                signature_version=2,
            )
        return {"url": url}
    url, _ = utils.cloudinary_url(
        request["deliver"],
        cloud_name=request["cloud"],
        api_secret=secret,
        resource_type="raw",
        type="authenticated",
        version=request["version"],
        sign_url=True,
        long_url_signature=True,
    )
    return {"url": url}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
