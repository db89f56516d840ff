"""A venue in a process of its own that pushes trades as fast as they are read, or so many a second: Binance spot or Kraken; and
books of Binance.

The trades are a function of their number, so REST serves any of them without a store. The rest of what REST says, and how frames
look, is that of the local exchange.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

from aiohttp import WSMsgType, web

from connectors.simulator import binance_frames, kraken_frames
from connectors.simulator.listings import Listing
from events.times import SECOND_NS

FIRST_ID: Final = 1_000
_MS: Final = 1_000_000
_AHEAD_BYTES: Final = 4 << 20  # what waits in the buffer of the socket
_STEP_S: Final = 0.002
_PIECE: Final = 2_000
_CYCLE: Final = 20_000


@dataclass(frozen=True)
class Plan:
    """What is traded and pushed.

    Attributes:
        venue: binance or kraken.
        symbols: what is listed; trades go round them, one frame each.
        count: trades pushed, at most.
        rate: trades a second, from the start on, with `at_once` from the first subscription on; 0 is as fast as they are read, on
            each connection from the first trade on.
        step_ns: time of the market from one trade to the next.
        together: trades of one symbol in a frame, of Kraken.
        trading: only so many of the symbols trade; all of them, if it is 0. The others have traded once, before.
        begin_ns: when the first trade was made; with 0, when it was started.
        behind: REST knows the very trade that it is asked for and none after it, so that it never serves what the stream is about
            to push, however far ahead of its reader that is; otherwise it knows all that was pushed.
        at_once: with a rate, so many trades are pushed as fast as they are read, before those of the rate.
        quotes: updates of its book a second that each symbol gets, with a rate of trades; of Binance.
        uneven: they do not go round: the second symbol trades half as often as the first, the third a third, and so on, by chance.
    """

    venue: str
    symbols: tuple[str, ...]
    count: int
    rate: float = 0.0
    step_ns: int = _MS
    together: int = 1
    trading: int = 0
    begin_ns: int = 0
    behind: bool = False
    at_once: int = 0
    uneven: bool = False
    quotes: float = 0.0


class Made:
    """The trades of a plan. Which symbol a frame is of repeats after a cycle of frames."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.listings = {name: Listing.of(f"{plan.venue}:{name}") for name in plan.symbols}
        self.symbols = plan.symbols[: plan.trading or None]
        many = len(self.symbols)
        chances = [1 / (k + 1) for k in range(many)]
        drawn = random.Random(1).choices(range(many), chances, k=_CYCLE) if plan.uneven else []
        self.cycle = [*drawn, *range(many)]  # each symbol at least once
        self.frames: list[list[int]] = [[] for _ in range(many)]
        for frame, place in enumerate(self.cycle):
            self.frames[place].append(frame)
        self.before = [bisect_left(self.frames[place], frame) for frame, place in enumerate(self.cycle)]
        self.places = {name: place for place, name in enumerate(self.symbols)}

    def row(self, symbol: str, trade_id: int) -> tuple[Any, ...]:
        """A TRADE row. The price goes up and down over an hour of trades of its symbol, and a little by itself."""
        n, place, together = trade_id - FIRST_ID, self.places.get(symbol, 0), self.plan.together
        frame, within = divmod(n, together)
        mine = self.frames[place]
        k = (frame // len(mine) * len(self.cycle) + mine[frame % len(mine)]) * together + within
        at = self.plan.begin_ns + k * self.plan.step_ns
        swing = math.sin(at / 3.6e12 + place) + 0.3 * math.sin(at / 3e11 + 2 * place)
        price = 100.0 * (1 + 0.02 * swing) + (n * 7919 % 100) / 1000
        asset = self.listings[symbol].asset
        qty = round((n * 104_729 % 9_973 + 1) / 100, asset.qty_decimals) or 10.0**-asset.qty_decimals
        side = 1 if n * 31 % 97 < 48 + 20 * math.sin(at / 1e12 + place) else -1
        return at, at, trade_id, trade_id, round(price, asset.price_decimals), qty, side, 0

    def ids(self, symbol: str, pushed: int) -> int:
        """How many trades a symbol has, once `pushed` were pushed of all, a multiple of `together`; none has less than one."""
        place = self.places.get(symbol)
        if place is None:
            return 1
        whole, rest = divmod(pushed // self.plan.together, len(self.cycle))
        mine = self.frames[place]
        return max(1, (whole * len(mine) + bisect_left(mine, rest)) * self.plan.together)

    def texts(self, since: int, until: int) -> Iterator[tuple[str, str]]:
        """(symbol, frame) of the trades from number `since` up to `until`, both multiples of `together`."""
        together = self.plan.together
        for frame in range(since // together, until // together):
            whole, at = divmod(frame, len(self.cycle))
            place = self.cycle[at]
            symbol, first = self.symbols[place], whole * len(self.frames[place]) + self.before[at]
            rows = [self.row(symbol, FIRST_ID + first * together + k) for k in range(together)]
            yield symbol, self.text(self.listings[symbol], rows)

    def text(self, listing: Listing, rows: Sequence[tuple[Any, ...]]) -> str:
        """The frame of these trades."""
        if self.plan.venue == "kraken":
            return kraken_frames.trades_frame(listing, rows, "update")
        head = {"e": "aggTrade", "E": rows[0][0] // _MS, "s": listing.market_id}
        return json.dumps(head | binance_frames.aggregate(listing, rows[0]), separators=(",", ":"))


class Quoted:
    """The books of a plan: which levels an update changes, and to what, is a function of its number."""

    LEVELS: Final = 200
    CHANGED: Final = 5  # a side and update
    TICK: Final = 0.01

    def __init__(self, listings: Mapping[str, Listing]) -> None:
        self.listings = listings
        self.updates = dict.fromkeys(listings, 0)

    def level(self, side: int, place: int, update: int) -> tuple[str, str]:
        """Price and quantity of a level as of an update."""
        changed = update - (update * self.CHANGED - place) % self.LEVELS // self.CHANGED  # when it was changed last
        return (
            f"{100 - side * self.TICK * (place + 1):.2f}",
            f"{(changed * 7919 + place * 104_729) % 997 / 100 + 0.01:.2f}",
        )

    def update(self, symbol: str, now_ms: int) -> str:
        """The frame of the next update of a symbol."""
        self.updates[symbol] = n = self.updates[symbol] + 1
        places = [(n * self.CHANGED - k) % self.LEVELS for k in range(self.CHANGED)]
        bids, asks = ([self.level(side, place, n) for place in places] for side in (1, -1))
        frame = {
            "e": "depthUpdate",
            "E": now_ms,
            "s": self.listings[symbol].market_id,
            "U": n,
            "u": n,
            "b": bids,
            "a": asks,
        }
        return json.dumps(frame, separators=(",", ":"))

    def depth(self, symbol: str) -> dict[str, Any]:
        """What REST says."""
        n = self.updates[symbol]
        bids, asks = ([self.level(side, place, n) for place in range(self.LEVELS)] for side in (1, -1))
        return {"lastUpdateId": n, "bids": bids, "asks": asks}


def framed(text: str) -> bytes:
    """A text message of a websocket, as a server sends it."""
    data = text.encode()
    if len(data) < 126:
        return bytes((0x81, len(data))) + data
    return b"\x81\x7e" + len(data).to_bytes(2, "big") + data


class Server:
    """The venue."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.made = plan, Made(plan)
        self.pieces: list[bytes] = []
        self.pushed = 0
        self.quoted = Quoted(self.made.listings)
        self.heard: dict[asyncio.Transport, set[str]] = {}
        self.looking: dict[asyncio.Transport, set[str]] = {}  # at books
        self.going: asyncio.Task[None] | None = None
        self.quoting: asyncio.Task[None] | None = None
        if not plan.rate and plan.count <= 1_000_000:
            self.pieces = list(self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        for at in range(0, self.plan.count, _PIECE):
            texts = self.made.texts(at, min(at + _PIECE, self.plan.count))
            yield b"".join(framed(text) for _, text in texts)

    async def serve(self) -> None:
        """Serve until standard input ends; the port is the first line of standard output."""
        app = web.Application()
        for path in ("/stream/ws/{n}", "/v2"):
            app.router.add_get(path, self.socket)
        for path in ("/api/v3/{name}", "/0/public/{name}"):
            app.router.add_get(path, self.rest)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        if self.plan.rate and not self.plan.at_once:  # so that its clock does not stand still until somebody listens
            self.going = asyncio.create_task(self.trade())
        print(runner.addresses[0][1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await runner.cleanup()

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """A connection: trades come once it has subscribed."""
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        transport = request.transport
        assert transport is not None
        self.heard[transport], self.looking[transport] = set(), set()
        tasks = []
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    begins = not self.heard[transport]
                    await self.hear(transport, socket, json.loads(message.data))
                    if begins and self.heard[transport]:
                        tasks.append(asyncio.create_task(self.push(transport)))
        finally:
            del self.heard[transport], self.looking[transport]
            for task in tasks:
                task.cancel()
        return socket

    async def hear(self, transport: asyncio.Transport, socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
        """Answer a request on a connection."""
        heard = self.heard[transport]
        if message["method"] == "ping":
            await socket.send_json({"method": "pong", "req_id": message.get("req_id")})
        elif self.plan.venue == "kraken":
            for symbol in message["params"]["symbol"]:
                result = {"channel": "trade", "symbol": symbol, "snapshot": True}
                await socket.send_json({"method": "subscribe", "result": result, "success": True})
                heard.add(symbol)
        else:
            await socket.send_json({"result": None, "id": message["id"]})
            names = {listing.market_id.lower(): name for name, listing in self.made.listings.items()}
            for stream in message["params"]:
                market, _, kind = stream.partition("@")
                (self.looking[transport] if kind.startswith("depth") else heard).add(names[market])
            if self.looking[transport] and self.plan.quotes:
                self.quoting = self.quoting or asyncio.create_task(self.quote())

    async def push(self, transport: asyncio.Transport) -> None:
        """Push to a connection, or see to it that all are pushed to."""
        if self.plan.rate:
            self.going = self.going or asyncio.create_task(self.trade())
            return
        self.pushed = 0  # each connection begins anew
        for piece in self.pieces or self._pieces():
            while transport.get_write_buffer_size() > _AHEAD_BYTES:
                await asyncio.sleep(0.001)
            if transport.is_closing():
                return
            transport.write(piece)
            self.pushed = min(self.pushed + _PIECE, self.plan.count)
            await asyncio.sleep(0)

    async def trade(self) -> None:
        """Trade from now on, and push each trade to whoever has subscribed to its symbol."""
        while self.pushed < self.plan.at_once:
            while any(transport.get_write_buffer_size() > _AHEAD_BYTES for transport in self.heard):
                await asyncio.sleep(0.001)
            self._trade_until(min(self.pushed + _PIECE, self.plan.at_once))
            await asyncio.sleep(0)
        began = time.monotonic()
        while self.pushed < self.plan.count:
            due = self.plan.at_once + round((time.monotonic() - began) * self.plan.rate)
            self._trade_until(min(due - due % self.plan.together, self.plan.count))
            await asyncio.sleep(_STEP_S)

    async def quote(self) -> None:
        """Push updates of the books round the symbols."""
        began, done, symbols = time.monotonic(), 0, self.plan.symbols
        while True:
            due = round((time.monotonic() - began) * self.plan.quotes * len(symbols))
            now_ms = self.now_ns() // _MS
            for k in range(done, due):
                symbol = symbols[k % len(symbols)]
                frame = framed(self.quoted.update(symbol, now_ms))
                for transport, looking in self.looking.items():
                    if symbol in looking and not transport.is_closing():
                        transport.write(frame)
            done = due
            await asyncio.sleep(_STEP_S)

    def now_ns(self) -> int:
        """The time of the market."""
        return self.plan.begin_ns + self.pushed * self.plan.step_ns

    def _trade_until(self, pushed: int) -> None:
        since, self.pushed = self.pushed, pushed
        for symbol, text in self.made.texts(since, pushed):
            frame = framed(text)
            for transport, heard in self.heard.items():
                if symbol in heard and not transport.is_closing():
                    transport.write(frame)

    async def rest(self, request: web.Request) -> web.Response:
        """A REST request."""
        return web.json_response(self.answer(request.match_info["name"], request.query))

    def answer(self, name: str, query: Mapping[str, str]) -> Any:
        """What it is answered."""
        listings = list(self.made.listings.values())
        now_ns = self.now_ns()
        if name == "time":
            return {"serverTime": now_ns // _MS}
        if name == "exchangeInfo":
            return binance_frames.exchange_info(listings, False, now_ns // _MS)
        if name in ("aggTrades", "depth"):
            listing = next(listing for listing in listings if listing.market_id == query["symbol"])
            if name == "depth":
                return self.quoted.depth(listing.symbol)
            return [binance_frames.aggregate(listing, row) for row in self.page(listing, query.get("fromId"))]
        result: dict[str, Any]
        if name == "Time":
            result = {"unixtime": now_ns // SECOND_NS}
        elif name == "AssetPairs":
            result = {listing.market_id: kraken_frames.pair(listing) for listing in listings}
        else:
            listing = next(one for one in listings if query["pair"] in kraken_frames.aliases(one))
            first = self._first_after(listing, int(query["since"])) if "since" in query else None
            rows = self.page(listing, first)
            last = str(rows[-1][0]) if rows else query.get("since", "0")
            result = {listing.market_id: [kraken_frames.trade_row(listing, row) for row in rows], "last": last}
        return {"error": [], "result": result}

    def page(self, listing: Listing, first: str | int | None) -> list[tuple[Any, ...]]:
        """Trades from an id on, or the newest ten."""
        if self.plan.behind:
            return [self.made.row(listing.symbol, FIRST_ID if first is None else int(first))]
        end = FIRST_ID + self.made.ids(listing.symbol, self.pushed)
        start = max(FIRST_ID, end - 10 if first is None else int(first))
        return [self.made.row(listing.symbol, trade_id) for trade_id in range(start, min(start + 1_000, end))]

    def _first_after(self, listing: Listing, since_ns: int) -> int:
        low, high = (
            FIRST_ID,
            FIRST_ID + self.made.ids(listing.symbol, self.plan.count if self.plan.behind else self.pushed),
        )
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.made.row(listing.symbol, middle)[0] > since_ns else (middle + 1, high)
        return low


@contextmanager
def pushing(plan: Plan) -> Iterator[str]:
    """The venue of a plan in a process of its own; its address, host and port."""
    command = [sys.executable, "-m", "benchmarks.pushing", json.dumps(asdict(plan))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()
            process.wait(10)


def main() -> None:
    """Serve the plan of the command line."""
    given = json.loads(sys.argv[1])
    given["begin_ns"] = given["begin_ns"] or time.time_ns() // _MS * _MS
    plan = Plan(**given | {"symbols": tuple(given["symbols"])})
    asyncio.run(Server(plan).serve())


if __name__ == "__main__":
    main()
