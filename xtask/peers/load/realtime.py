"""A connection of realtime: the JSON protocol of the book's chapter "Realtime", over a WebSocket."""

import itertools
import json

from websocket import create_connection

CHANNEL = "room:load"
# Longest wait for a message, in seconds.
PATIENCE = 20


class Connection:
    """A connection that publishes in a channel, and checks that no message of the channel is missing."""

    def __init__(self, host, token, address):
        self.url = host.replace("http", "ws", 1) + "/api/v1/app/ws"
        self.token = token
        self.headers = [f"X-Forwarded-For: {address}"]
        self.socket = None
        self.ids = itertools.count(1)
        # The position in the channel: its epoch, and the offset of the last message.
        self.epoch = None
        self.offset = 0
        self.seen = set()

    @property
    def is_open(self):
        return self.socket is not None

    def open(self):
        """Connects and subscribes. A client that was there before recovers what it has missed."""
        self.socket = create_connection(self.url, header=self.headers, timeout=PATIENCE, suppress_origin=True)
        self.call("connect", {"token": self.token, "name": "load"})
        position = {} if self.epoch is None else {"recover": True, "epoch": self.epoch, "offset": self.offset}
        self.call("subscribe", {"channel": CHANNEL, **position})

    def close(self):
        """Closes the connection, if it is open."""
        if self.socket:
            socket, self.socket = self.socket, None
            try:
                socket.close(timeout=1)
            except Exception:
                pass

    def publish(self):
        """Publishes a message and waits until it comes back."""
        text = f"{id(self)} {next(self.ids)}"
        self.seen.clear()
        self.call("publish", {"channel": CHANNEL, "data": {"text": text}})
        while text not in self.seen:
            self.read()

    def call(self, method, parameters):
        """Sends a command and returns its result."""
        number = next(self.ids)
        self.socket.send(json.dumps({"id": number, method: parameters}))
        replies = {}
        while number not in replies:
            self.read(replies)
        reply = replies[number]
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        return reply.get(method, {})

    def read(self, replies=None):
        """Reads one frame, which has one or more messages."""
        frame = self.socket.recv()
        if not frame:
            raise RuntimeError("the server has closed the connection")
        for line in frame.splitlines():
            message = json.loads(line)
            if not message:
                self.socket.send("{}")
            elif "id" in message:
                if replies is None:
                    raise RuntimeError(f"a reply that was not asked for: {message}")
                replies[message["id"]] = message
                # Messages of the channel may follow in the same frame.
                if "subscribe" in message:
                    self.subscribed(message["subscribe"])
            elif publication := message.get("push", {}).get("pub"):
                if message["push"].get("channel") == CHANNEL:
                    self.receive(publication)
            elif "unsubscribe" in message.get("push", {}) or "disconnect" in message.get("push", {}):
                raise RuntimeError(f"the server has ended it: {message['push']}")

    def subscribed(self, result):
        """Takes the position in the channel, and what was missed since the last one."""
        if self.epoch is not None:
            if not result.get("recovered"):
                self.epoch = None
                raise RuntimeError(f"messages after the offset {self.offset} can't be recovered: {result}")
            for publication in result.get("publications", []):
                self.receive(publication)
        self.epoch, self.offset = result["epoch"], result.get("offset", 0)

    def receive(self, publication):
        """Takes the next message of the channel."""
        if publication["offset"] != self.offset + 1:
            raise RuntimeError(f"message {publication['offset']} follows message {self.offset}")
        self.offset = publication["offset"]
        self.seen.add(publication["data"]["text"])
