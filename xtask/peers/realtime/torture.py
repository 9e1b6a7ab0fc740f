"""Sends what no well-behaved client sends, with frames of wsproto, and what PyPI's websockets sends. Arguments: the
URL, an access token, and the largest message of the server in bytes. Prints a JSON object with the outcome of each
case: the code of the close frame, or what the server has replied."""

import asyncio
import json
import socket
import sys
from urllib.parse import urlsplit

import websockets
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.frame_protocol import CloseReason

URL, TOKEN, LIMIT = sys.argv[1], sys.argv[2], int(sys.argv[3])
PATIENCE = 20
CONNECT = json.dumps({"id": 1, "connect": {"token": TOKEN}})
HISTORY = json.dumps({"id": 2, "history": {"channel": "room:1"}})


class Peer:
    """A connection that sends any bytes."""

    def __init__(self, subprotocols=(), sign_in=True):
        address = urlsplit(URL)
        self.socket = socket.create_connection((address.hostname, address.port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = WSConnection(ConnectionType.CLIENT)
        self.text = ""
        request = Request(host=address.netloc, target=address.path, subprotocols=list(subprotocols))
        self.send_event(request)
        first = self.next()
        self.status = getattr(first, "status_code", 101)
        assert isinstance(first, (AcceptConnection, RejectConnection)), first
        if sign_in and self.status == 101:
            self.send_event(TextMessage(CONNECT))
            assert "connect" in json.loads(self.line()), "the sign-in"

    def send_event(self, event):
        self.socket.sendall(self.connection.send(event))

    def send_bytes(self, data):
        self.socket.sendall(data)

    def next(self):
        """Returns the next event of wsproto."""
        while True:
            for event in self.connection.events():
                return event
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self.connection.receive_data(data)

    def line(self):
        """Returns the next line that is no ping, or the code of the close frame."""
        while True:
            while "\n" in self.text:
                line, self.text = self.text.split("\n", 1)
                if line and line != "{}":
                    return line
            event = self.next()
            if event is None:
                return "closed without a frame"
            if isinstance(event, CloseConnection):
                return str(int(event.code))
            if isinstance(event, TextMessage):
                self.text += event.data + ("\n" if event.message_finished else "")

    def code(self):
        """Returns the code of the close frame."""
        while True:
            line = self.line()
            if not line.startswith("{"):
                return int(line) if line.isdigit() else line


def frame(first, payload, mask=b"\x01\x02\x03\x04", is_masked=True):
    """A frame whose first byte has any flags and opcode."""
    mark = 0x80 if is_masked else 0
    length = len(payload)
    if length < 126:
        head = bytes([first, mark | length])
    elif length < 65536:
        head = bytes([first, mark | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([first, mark | 127]) + length.to_bytes(8, "big")
    if not is_masked:
        return head + payload
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def raw(data):
    """Sends bytes after the sign-in, and returns the code of the close frame."""

    def case():
        peer = Peer()
        peer.send_bytes(data)
        return peer.code()

    return case


def text(data, **options):
    def case():
        peer = Peer(**options)
        peer.send_event(TextMessage(data))
        return peer.code()

    return case


def fragments():
    """A command in fragments of one byte, with a ping between them."""
    peer = Peer()
    for index, letter in enumerate(HISTORY):
        peer.send_event(TextMessage(data=letter, message_finished=index == len(HISTORY) - 1))
        if index == 5:
            peer.send_event(Ping(payload=b"between"))
    pong, reply = None, None
    while pong is None or reply is None:
        event = peer.next()
        if isinstance(event, Pong):
            pong = bytes(event.payload)
        elif isinstance(event, TextMessage):
            reply = json.loads(event.data)
        else:
            return f"{event}"
    return [pong.decode(), "history" in reply]


def characters_in_two_fragments():
    """A character of which each fragment has a part."""
    peer = Peer()
    command = HISTORY.replace("room:1", "room:\N{SNOWMAN}").encode()
    middle = command.index("\N{SNOWMAN}".encode()) + 1
    peer.send_bytes(frame(0x01, command[:middle]) + frame(0x80, command[middle:]))
    reply = json.loads(peer.line())
    return "error" in reply or "history" in reply


def second_connect():
    peer = Peer()
    peer.send_event(TextMessage(json.dumps({"id": 2, "connect": {"token": TOKEN}})))
    return json.loads(peer.line())["error"]["code"]


def half_close():
    """The client says that it sends no more, and still reads."""
    peer = Peer()
    peer.socket.shutdown(socket.SHUT_WR)
    while peer.next() is not None:
        pass
    return "ended"


def close_with(code):
    def case():
        peer = Peer()
        peer.send_event(CloseConnection(code=code, reason="done"))
        return peer.code()

    return case


def refused_subprotocol():
    return Peer(subprotocols=["centrifuge-protobuf"], sign_in=False).status


def accepted_subprotocol():
    peer = Peer(subprotocols=["other", "centrifuge-json"])
    return peer.status


CASES = {
    "fragments": fragments,
    "a character in two fragments": characters_in_two_fragments,
    "second connect": second_connect,
    "half-closed": half_close,
    "closed by the client": close_with(CloseReason.NORMAL_CLOSURE),
    "protobuf": refused_subprotocol,
    "json": accepted_subprotocol,
    "bad UTF-8": raw(frame(0x81, b"\xff\xfe\xfd")),
    "cut UTF-8": raw(frame(0x81, "\N{SNOWMAN}".encode()[:2])),
    "reserved bit 1": raw(frame(0xC1, b"{}")),
    "reserved bit 2": raw(frame(0xA1, b"{}")),
    "reserved opcode": raw(frame(0x83, b"{}")),
    "reserved control opcode": raw(frame(0x8B, b"")),
    "continuation of nothing": raw(frame(0x80, b"{}")),
    "message in a message": raw(frame(0x01, b"{") + frame(0x81, b"{}")),
    "fragmented ping": raw(frame(0x09, b"")),
    "large ping": raw(frame(0x89, bytes(126))),
    "not masked": raw(frame(0x81, b"{}", is_masked=False)),
    "large message": raw(frame(0x81, b" " * (LIMIT + 1))),
    "large message in fragments": raw(frame(0x01, b" " * (LIMIT // 2 + 1)) + frame(0x80, b" " * (LIMIT // 2 + 1))),
    "a length of 2^63": raw(bytes([0x81, 0xFF]) + (1 << 63).to_bytes(8, "big") + bytes(4)),
    "binary": raw(frame(0x82, b"{}")),
    "id 0": text(json.dumps({"id": 0, "subscribe": {"channel": "room:1"}})),
    "unasked pong": text("{}"),
    "no JSON": text("hello"),
    "an array": text("[]"),
    "two methods": text(json.dumps({"id": 2, "publish": {}, "history": {}})),
    "a command before connect": text(HISTORY, sign_in=False),
    "deep JSON": text("[" * 5_000),
}


async def stock_client():
    """PyPI's websockets: the token in a header, a command in fragments, and commands in one frame."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with websockets.connect(URL, additional_headers=headers) as client:
        assert not client.protocol.extensions, "no compression was negotiated"
        subscribe = json.dumps({"id": 2, "subscribe": {"channel": "room:1"}})
        await client.send(json.dumps({"id": 1, "connect": {}}) + "\n" + subscribe)
        lines = []
        while len(lines) < 2:
            lines += [json.loads(line) for line in (await client.recv()).splitlines() if line != "{}"]
        assert "connect" in lines[0] and "subscribe" in lines[1], lines
        publish = json.dumps({"id": 3, "publish": {"channel": "room:1", "data": {"number": 7}}})
        await client.send([publish[:10], publish[10:20], publish[20:]])
        lines = []
        while len([line for line in lines if "id" in line or "pub" in line.get("push", {})]) < 2:
            lines += [json.loads(line) for line in (await client.recv()).splitlines() if line != "{}"]
        await asyncio.wait_for(await client.ping(), PATIENCE)
        return [line["push"]["pub"]["data"]["number"] for line in lines if "pub" in line.get("push", {})]


def outcome(case):
    try:
        return case()
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"


outcomes = {name: outcome(case) for name, case in CASES.items()}
outcomes["websockets"] = outcome(lambda: asyncio.run(asyncio.wait_for(stock_client(), PATIENCE)))
print(json.dumps(outcomes))
