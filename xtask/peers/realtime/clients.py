"""Drives clients of PyPI's centrifuge-python. Reads one JSON object per line, a question, and writes one for each, the
answer. `clients.mjs` answers the same questions."""

import asyncio
import json
import sys
from collections import defaultdict

from centrifuge import Client, StreamPosition

# Longest wait for an event, in seconds.
PATIENCE = 30


class Peer:
    """A client with its events that were not asked for yet, by kind and channel."""

    def __init__(self, url, tokens):
        self.queues = defaultdict(asyncio.Queue)
        self.subscriptions = {}
        self.tokens = tokens
        self.asked = 0
        self.client = Client(url, get_token=self.token, min_reconnect_delay=0.05, max_reconnect_delay=0.5)
        events = self.client.events
        events.on_connecting = self.recorder("connecting", code=lambda context: context.code)
        events.on_disconnected = self.recorder("disconnected", code=lambda context: context.code)
        events.on_connected = self.recorder("connected", transport=lambda _: "websocket")
        events.on_error = self.recorder("error", code=error_code)
        self.record(events, lambda context: context.channel)

    async def token(self):
        token = self.tokens[min(self.asked, len(self.tokens) - 1)]
        self.asked += 1
        self.add("token", None, {"asked": self.asked})
        return token

    def add(self, kind, channel, event):
        self.queues[kind, channel].put_nowait(event)

    def recorder(self, kind, channel_of=lambda _: None, **fields):
        async def handle(context):
            self.add(kind, channel_of(context), {name: read(context) for name, read in fields.items()})

        return handle

    def record(self, events, channel_of):
        """Records the events of a subscription, or of the subscriptions that the server has made."""
        code = lambda context: getattr(context, "code", None)
        events.on_subscribing = self.recorder("subscribing", channel_of, code=code)
        events.on_unsubscribed = self.recorder("unsubscribed", channel_of, code=code)
        events.on_subscribed = self.recorder(
            "subscribed",
            channel_of,
            recovered=lambda context: context.recovered,
            was_recovering=lambda context: context.was_recovering,
            recoverable=lambda context: context.recoverable,
        )
        events.on_publication = self.recorder(
            "publication",
            channel_of,
            data=lambda context: context.pub.data,
            offset=lambda context: context.pub.offset,
            user=lambda context: context.pub.info.user if context.pub.info else None,
        )
        for kind in ("join", "leave"):
            setattr(events, f"on_{kind}", self.recorder(kind, channel_of, user=lambda context: context.info.user))

    async def subscribe(self, channel):
        subscription = self.client.new_subscription(channel)
        self.subscriptions[channel] = subscription
        self.record(subscription.events, lambda _: channel)
        subscription.events.on_error = self.recorder("subscription_error", lambda _: channel, code=error_code)
        await subscription.subscribe()

    async def next(self, kind, channel):
        return await asyncio.wait_for(self.queues[kind, channel].get(), PATIENCE)


def error_code(context):
    """The code of the server's error, or else of the client's."""
    return getattr(context.error, "code", context.code)


peers = {}


async def answer(ask, client, channel=None, **question):
    if ask == "open":
        peers[client] = Peer(question["url"], question["tokens"])
        # It ends when the first attempt has ended.
        asyncio.ensure_future(peers[client].client.connect())
        return {}
    peer = peers[client]
    subscription = peer.subscriptions.get(channel)
    if ask == "subscribe":
        await peer.subscribe(channel)
        return {}
    if ask == "unsubscribe":
        await subscription.unsubscribe()
        return {}
    if ask == "event":
        return await peer.next(question["kind"], channel)
    if ask == "waiting":
        return {"events": list(peer.queues[question["kind"], channel]._queue)}
    if ask == "numbers":
        count = question["count"]
        return {"numbers": [(await peer.next("publication", channel))["data"]["number"] for _ in range(count)]}
    if ask == "publish":
        await peer.client.publish(channel, question["data"])
        return {}
    if ask == "history":
        options = dict(question["options"])
        if "since" in options:
            options["since"] = StreamPosition(**options["since"])
        result = await subscription.history(**options)
        publications = [{"data": one.data, "offset": one.offset} for one in result.publications]
        return {"publications": publications, "offset": result.offset, "epoch": result.epoch}
    if ask == "presence":
        result = await subscription.presence()
        return {"users": [info.user for info in result.clients.values()]}
    if ask == "presence_stats":
        result = await subscription.presence_stats()
        return {"clients": result.num_clients, "users": result.num_users}
    if ask == "rpc":
        result = await peer.client.rpc(question["method"], {})
        return {"data": result.data}
    if ask == "close":
        await peers.pop(client).client.disconnect()
        return {}
    raise ValueError(ask)


async def main():
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        question = json.loads(line)
        try:
            result = await answer(**question)
        except Exception as error:  # noqa: BLE001
            result = {"error": {"code": getattr(error, "code", 0), "message": f"{type(error).__name__}: {error}"}}
        print(json.dumps(result), flush=True)


asyncio.run(main())
