"""Receives webhooks, and prints one JSON line for each: `{"id", "event"}`. The first line is its address.

Reads the secret from WEBHOOK_SECRET and the port from PORT, which is a free one by default. The part between the anchors
is in docs/src/verifying-webhooks.md.
"""

# ANCHOR: receiver
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))  # the raw bytes, as they were signed
        try:
            event = webhook.verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError):  # a signature that can't be decoded is a ValueError
            status = 400
        else:
            # Store the event under its id here, and process it after the response.
            print(json.dumps({"id": self.headers["webhook-id"], "event": event}), flush=True)
            status = 204
        self.send_response(status)
        self.end_headers()


# ANCHOR_END: receiver


class QuietReceiver(Receiver):
    def log_message(self, *_):
        """Logs nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), QuietReceiver)
    print(json.dumps({"address": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    server.serve_forever()
