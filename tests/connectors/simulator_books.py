"""Clients that keep books of the local exchange, by plain requests and frames."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from zlib import crc32

import aiohttp
from simulator_clients import KRAKEN, LINEAR, SPOT, get_json, heard, socket_to, symbol_of

SOCKETS = {SPOT: "/stream/ws/0", LINEAR: "/fws/public/ws/0", KRAKEN: "/v2"}
DEPTHS = {SPOT: "/api/v3/depth", LINEAR: "/fapi/v1/depth"}


@asynccontextmanager
async def listening(exchange, instrument, *streams):
    """A plain websocket with these streams of Binance; the answer to the subscription is read."""
    names = [f"btcusdt@{name}" for name in streams]
    async with socket_to(exchange, SOCKETS[instrument], {"method": "SUBSCRIBE", "params": names, "id": 1}) as ws:
        assert await heard(ws) == {"result": None, "id": 1}
        yield ws


@asynccontextmanager
async def listening_to_kraken(exchange, **params):
    """A plain websocket with a channel of Kraken; the answer to the subscription is read."""
    about = {"symbol": [symbol_of(KRAKEN)], **params}
    async with socket_to(exchange, SOCKETS[KRAKEN], {"method": "subscribe", "params": about}) as ws:
        assert (await heard(ws))["channel"] == "status"
        assert (await heard(ws))["success"]
        yield ws


async def told_since(ws):
    """All frames of streams that were sent until now; numbers of Kraken as they are written."""
    await ws.send_json({"method": "ping", "id": 77, "req_id": 77})
    frames = []
    while True:
        message = await asyncio.wait_for(ws.receive(), 60)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        frame = json.loads(message.data, parse_float=str, parse_int=int)
        if 77 in (frame.get("id"), frame.get("req_id")):
            return frames
        if frame.get("channel") != "heartbeat":
            frames.append(frame)


async def snapshot(exchange, instrument, limit=1_000):
    return await get_json(exchange, DEPTHS[instrument], symbol="BTCUSDT", limit=limit)


async def kraken_depth(exchange, count=500):
    """(bids, asks) of REST, as price and quantity."""
    told = await get_json(exchange, "/0/public/Depth", pair="XBTUSD", count=count)
    (sides,) = told["result"].values()
    return [[(price, qty) for price, qty, _ in sides[side]] for side in ("bids", "asks")]


class Levels:
    """Both sides of a book as a client keeps it: quantities by price, as texts."""

    def __init__(self, bids=(), asks=()):
        self.bids, self.asks = dict(bids), dict(asks)

    def change(self, bids, asks):
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            side.update(levels)
            for price in [price for price, qty in side.items() if not float(qty)]:
                del side[price]

    def sorted(self, depth=None):
        """Bids and asks, the best ones first."""
        bids = sorted(self.bids.items(), key=lambda level: -float(level[0]))
        return [bids[:depth], sorted(self.asks.items(), key=lambda level: float(level[0]))[:depth]]

    @property
    def best(self):
        bids, asks = self.sorted(1)
        return [*bids[0], *asks[0]]

    @property
    def crossed(self):
        bid, _, ask, _ = self.best
        return float(bid) >= float(ask)

    def update_all(self, frames):
        for frame in frames:
            self.update(frame)


class BinanceBook(Levels):
    """Begins with a snapshot of REST; every frame has to follow on what is there."""

    def __init__(self, told):
        super().__init__(told["bids"], told["asks"])
        self.id = told["lastUpdateId"]

    def update(self, frame):
        if frame["u"] > self.id:
            assert frame["U"] <= self.id + 1
            self.change(frame["b"], frame["a"])
            self.id = frame["u"]


class KrakenBook(Levels):
    """Begins with the snapshot of the channel; drops what is beyond its depth, and checks every message."""

    def __init__(self, depth):
        super().__init__()
        self._depth = depth

    def update(self, frame):
        (told,) = frame["data"]
        assert (frame["channel"], told["symbol"]) == ("book", symbol_of(KRAKEN))
        if frame["type"] == "snapshot":
            self.bids, self.asks = {}, {}
        self.change(*([(level["price"], level["qty"]) for level in told[side]] for side in ("bids", "asks")))
        self.bids, self.asks = (dict(side) for side in self.sorted(self._depth))
        bids, asks = self.sorted(10)
        texts = [text.replace(".", "").lstrip("0") for level in (*asks, *bids) for text in level]
        assert told["checksum"] == crc32("".join(texts).encode()), "checksum"


@asynccontextmanager
async def moving(exchange, seconds=0.05):
    """Time passes while other things happen."""

    async def move():
        while True:
            await asyncio.to_thread(exchange.advance, seconds)
            await asyncio.sleep(0.005)

    task = asyncio.create_task(move())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def numbers(levels):
    """Levels of texts as lists of numbers, as ccxt has them."""
    return [[float(price), float(qty)] for price, qty in levels]
