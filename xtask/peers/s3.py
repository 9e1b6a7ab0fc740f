"""A bucket (moto), and signatures by botocore to compare ours with.

`s3.py serve` prints one line of JSON with the port, and ends when its standard input does. Buckets are `files` and one more a
name given. `s3.py sign` reads one JSON object a line and answers each with one:

    {"method", "key", "endpoint", "bucket", "region", "id", "secret", "token", "expires", "at", "headers", "query"}
        -> {"url"}, a link
    {"policy": base64, "date", "region", "secret"} -> {"signature"} of a form
"""

import datetime
import hashlib
import hmac
import json
import sys
from unittest import mock


def serve(names):
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
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
    server.stop()


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
    if sys.argv[1] == "serve":
        serve(sys.argv[2:])
    else:
        sign()
