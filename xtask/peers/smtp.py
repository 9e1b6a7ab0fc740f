"""A mail server (aiosmtpd) that parses received mails with Python's `email` package and prints each as a line of JSON.

The first line has the port and, with TLS, the certificate of the authority to trust. Arguments: --auth NAME PASSWORD, --tls
starttls|wrapped. It ends at the end of its standard input.
"""

import argparse
import base64
import email
import email.policy
import json
import socket
import ssl
import sys

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult


def parts(message):
    return [
        {
            "type": part.get_content_type(),
            "disposition": part.get_content_disposition(),
            "name": part.get_filename(),
            "id": part["content-id"],
            "text": part.get_content() if part.get_content_maintype() == "text" and not part.get_filename() else None,
            "bytes": base64.b64encode(part.get_payload(decode=True) or b"").decode(),
        }
        for part in message.walk()
    ]


class Handler:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        line = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "encrypted": session.ssl is not None or server.transport.get_extra_info("ssl_object") is not None,
            "user": session.auth_data.login.decode() if session.authenticated else None,
            "headers": [[name, str(value)] for name, value in message.items()],
            "defects": [repr(defect) for part in message.walk() for defect in part.defects],
            "parts": parts(message),
        }
        print(json.dumps(line), flush=True)
        return "250 2.0.0 taken"


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--auth", nargs=2)
    arguments.add_argument("--tls", choices=["starttls", "wrapped"])
    given = arguments.parse_args()
    options = {}
    if given.auth:
        name, password = (part.encode() for part in given.auth)
        options["authenticator"] = lambda server, session, envelope, mechanism, data: AuthResult(
            success=(data.login, data.password) == (name, password), auth_data=data, handled=False
        )
        options["auth_required"] = True
        options["auth_require_tls"] = given.tls == "starttls"
    context = authority = None
    if given.tls:
        issuer = trustme.CA()
        authority = issuer.cert_pem.bytes().decode()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        issuer.issue_cert("localhost").configure_cert(context)
        if given.tls == "starttls":
            options["tls_context"] = context
            options["require_starttls"] = True
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(
        Handler(), hostname="127.0.0.1", port=port, ssl_context=context if given.tls == "wrapped" else None, **options
    )
    controller.start()
    print(json.dumps({"port": port, "authority": authority}), flush=True)
    sys.stdin.read()
    controller.stop()


main()
