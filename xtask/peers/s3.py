"""Serves buckets with moto, and computes signatures with botocore, to compare OmniStack's with them.

`s3.py serve` prints one line of JSON with the port, and ends at the end of its standard input. The buckets are `files`
and those given as arguments. `s3.py serve-google` is the same with the header names of Google Cloud Storage.
`s3.py sign` reads one JSON object per line and writes one for each:

    {"method", "key", "endpoint", "bucket", "region", "id", "secret", "token", "expires", "at", "headers", "query"}
        -> {"url"}, a presigned URL
    {"policy": base64, "date", "region", "secret"} -> {"signature"} of a form
"""

import datetime
import hashlib
import hmac
import json
import re
import sys
import threading
from unittest import mock


def serve(names, as_google):
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, google(app) if as_google else app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.port
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="secret",
    )
    for name in ["files", *names]:
        client.create_bucket(Bucket=name)
    print(json.dumps({"port": port}), flush=True)
    sys.stdin.read()
    server.shutdown()


def google(app):
    """The XML API of Google Cloud Storage, which is S3's with other header names."""

    def translated(environ, start):
        for name in [name for name in environ if name.startswith("HTTP_X_GOOG_")]:
            environ["HTTP_X_AMZ_" + name.removeprefix("HTTP_X_GOOG_")] = environ.pop(name)
        if environ.pop("HTTP_X_AMZ_IF_GENERATION_MATCH", None) == "0":
            environ["HTTP_IF_NONE_MATCH"] = "*"

        # moto reads only the region from it.
        scope = "id/20300101/us-east-1/s3/aws4_request"
        environ["HTTP_AUTHORIZATION"] = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"

        def answer(status, headers, *rest):
            headers = [(re.sub("(?i)^x-amz-", "x-goog-", name), value) for name, value in headers]
            return start(status, [*headers, ("x-goog-generation", "1")], *rest)

        return app(environ, answer)

    return translated


def link(request):
    from botocore.auth import S3SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
    from urllib.parse import quote

    moment = datetime.datetime.fromisoformat(request["at"])
    path = quote(request["key"], safe="/~")
    aws = AWSRequest(
        method=request["method"],
        url=f"{request['endpoint']}/{request['bucket']}/{path}",
        headers=request["headers"],
        params=request["query"] or None,
    )
    credentials = Credentials(request["id"], request["secret"], request["token"])
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment.replace(tzinfo=None)):
        S3SigV4QueryAuth(credentials, "s3", request["region"], expires=request["expires"]).add_auth(aws)
    return {"url": aws.url}


def form(request):
    from botocore.auth import S3SigV4PostAuth
    from botocore.credentials import Credentials

    auth = S3SigV4PostAuth(Credentials("id", request["secret"]), "s3", request["region"])
    signed = mock.Mock(context={"timestamp": request["date"]})
    return {"signature": auth.signature(request["policy"], signed)}


def sign():
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(form(request) if "policy" in request else link(request)), flush=True)


if __name__ == "__main__":
    if sys.argv[1] in ("serve", "serve-google"):
        serve(sys.argv[2:], sys.argv[1] == "serve-google")
    else:
        sign()
