"""Binance spot and USD-M: what REST answers, and which streams a connection may have."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from connectors.simulator import binance_frames as made
from connectors.simulator.binance_books import snapshot
from connectors.simulator.binance_futures import FUTURES, Futures
from connectors.simulator.binance_queries import MS, interval_ns, number, refused, since_ns, until_ns
from connectors.simulator.binance_streams import Streams, stream_name
from connectors.simulator.faults import STALE_NS
from connectors.simulator.ledger import Ledger
from connectors.simulator.quotes import day_figures
from connectors.simulator.session import Session
from connectors.simulator.venue import Refused, Venue
from events.frames import Array


class Binance(Venue):
    """Spot under `/api/v3` and `/stream/ws`, USD-M under `/fapi/v1` and `/fws/.../ws`."""

    name = "binance"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._by_id = {(ledger.listing.linear, ledger.listing.market_id): ledger for ledger in self.ledgers.values()}
        self._futures = Futures(self.world)
        self._streams = Streams(self.world, self.ledgers.values(), self.faults, self._futures)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the paths of both segments."""
        for base in ("/api/v3", "/fapi/v1", "/futures/data", "/api/v3/ticker", "/fapi/v1/ticker"):
            router.add_get(base + "/{name}", self.rest)
        router.add_get("/stream/ws/{n}", self.dial)
        router.add_get("/fws/{category}/ws/{n}", self.dial)

    def config(self, url: str, client: str) -> dict[str, Any]:
        """Both segments of it, and nothing that is not served."""
        socket = url.replace("http", "ws", 1)
        api = {
            "public": url + "/api/v3",
            "fapiPublic": url + "/fapi/v1",
            "fapiData": url + "/futures/data",
            # ccxt takes a stream for that of spot by "/stream" in its URL, and adds the category before the last "/ws"
            "ws": {"spot": socket + "/stream/ws", "linear": socket + "/fws/ws"},
        }
        lists = {False: "spot", True: "linear"}
        types = [lists[linear] for linear in lists if any(key[0] is linear for key in self._by_id)]
        if client == "binanceusdm":
            types = ["linear"]
        return {"urls": {"api": api}, "options": {"fetchMarkets": {"types": types}}}

    def streams_of(self, ledger: Ledger) -> tuple[str, ...]:
        """The streams of its trades."""
        return stream_name(ledger, "aggTrade"), stream_name(ledger, "trade")

    # --- streams

    def opened(self, request: web.Request, websocket: web.WebSocketResponse) -> Session:
        """The session of a new connection, which has streams of one segment."""
        return Session(request, websocket, "linear " if request.path.startswith("/fws") else "spot ")

    def received(self, session: Session, message: Any) -> None:
        """Subscribe and unsubscribe; Binance acknowledges streams that do not exist, too."""
        names = [session.prefix + str(name) for name in message.get("params") or ()]
        if message.get("method") == "SUBSCRIBE":
            if not self.faults.met("bad-symbol"):
                session.streams.update(dict.fromkeys(names))
                self._streams.begin(names)
        elif message.get("method") == "UNSUBSCRIBE":
            for name in names:
                session.streams.pop(name, None)
        session.send([json.dumps({"result": None, "id": message.get("id")}, separators=(",", ":"))])

    def frames(self, wanted: Mapping[str, None], fresh: Mapping[str, Array]) -> dict[str, list[str]]:
        """The frames of each of these streams."""
        if wanted:
            self.faults.met("clock-skew")
        return self._streams.frames(wanted, fresh)

    # --- REST

    def is_history(self, path: str) -> bool:
        """Whether that path gives trades or klines."""
        return path.rsplit("/", 1)[1] in ("aggTrades", "trades", "klines")

    def answer(self, path: str, query: Mapping[str, str]) -> Any:
        """What a REST request gets, as JSON."""
        linear, name = not path.startswith("/api"), path.rsplit("/", 1)[1]
        if name == "ping":
            return {}
        if name == "time":
            return {"serverTime": self.client_now_ns // MS}
        if name == "exchangeInfo":
            listed = [ledger.listing for (is_linear, _), ledger in self._by_id.items() if is_linear is linear]
            return made.exchange_info(listed, linear, self.client_now_ns // MS)
        if "symbol" not in query and (name == "24hr" or (linear and name in ("premiumIndex", "fundingInfo"))):
            return self._all(name, linear, query)
        return self._of(name, linear, query)

    async def _all(self, name: str, linear: bool, query: Mapping[str, str]) -> list[Any]:
        """The answer for every symbol, or for those that are named; the market goes on while it is made."""
        listed = [key for is_linear, key in self._by_id if is_linear is linear]
        asked = json.loads(query["symbols"]) if "symbols" in query else listed
        rows = []
        for key in asked:
            rows.append(self._of(name, linear, {**query, "symbol": key}))
            await asyncio.sleep(0)
        return rows

    def _of(self, name: str, linear: bool, query: Mapping[str, str]) -> Any:
        if "symbol" not in query:
            raise refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        ledger = self._by_id.get((linear, query["symbol"]))
        if ledger is None or self.faults.met("bad-symbol"):
            raise refused(-1121, "Invalid symbol.")
        if name == "depth":
            limit = number(query, "limit", 500 if linear else 100)
            return self._depth(ledger, limit, STALE_NS if self.faults.once("stale-depth") else 0)
        if name == "aggTrades":
            return [made.aggregate(ledger.listing, row) for row in self._aggregates(ledger, query).tolist()]
        if name == "trades":
            limit, end = min(number(query, "limit", 500), 1_000), self.history_end(ledger)
            rows = ledger.rows(end - limit, end).tolist()
            return [trade for row in rows for trade in made.raw_trades(ledger.listing, row)][-limit:]
        if name == "klines":
            return self._klines(ledger, query, 1_500 if linear else 1_000)
        if linear and name in FUTURES:
            return self._futures.answer(name, ledger, query, self.client_now_ns)
        if name == "24hr":
            return self._day(ledger)
        raise Refused(404, {"code": -1000, "msg": f"{name} is not simulated."})

    def _day(self, ledger: Ledger) -> dict[str, Any]:
        row = made.day(ledger.listing, day_figures(ledger, self.world.now_ns, self.history_end(ledger)))
        if ledger.listing.linear:
            return row
        book = self._depth(ledger, 1)
        ((bid, bid_qty),), ((ask, ask_qty),) = book["bids"], book["asks"]
        best = {"bidPrice": bid, "bidQty": bid_qty, "askPrice": ask, "askQty": ask_qty}
        return row | best | {"prevClosePrice": row["openPrice"]}

    def _depth(self, ledger: Ledger, limit: int, age_ns: int = 0) -> dict[str, Any]:
        """The book as it was so long ago."""
        listing, time_ns = ledger.listing, self.world.now_ns - age_ns
        next_id = ledger.id_at(time_ns) if age_ns else ledger.next_id
        books, most = self.world.books[listing.instrument], 1_000 if listing.linear else 5_000
        answer = snapshot(listing, books, time_ns, next_id, min(limit, most))
        event_ms = (self.client_now_ns - age_ns) // MS
        return answer | ({"E": event_ms, "T": event_ms} if listing.linear else {})

    def _aggregates(self, ledger: Ledger, query: Mapping[str, str]) -> Array:
        limit, end = min(number(query, "limit", 500), 1_000), self.history_end(ledger)
        timed = "startTime" in query or "endTime" in query
        if "fromId" in query:
            if timed:
                raise refused(-1128, "Combination of optional parameters invalid.")
            first = number(query, "fromId", 0)
            return ledger.rows(first, min(first + limit, end))
        if timed:
            end = min(end, ledger.id_at((number(query, "endTime", 1 << 42) + 1) * MS))
            first = ledger.id_at(number(query, "startTime", 0) * MS)
            return ledger.rows(first, min(first + limit, end))
        return ledger.rows(end - limit, end)

    def _klines(self, ledger: Ledger, query: Mapping[str, str], most: int) -> list[Any]:
        every_ns, since = interval_ns(query, "interval"), since_ns(query)
        limit, until = min(number(query, "limit", 500), most), min(self.history_ns, until_ns(query)) + 1
        if "startTime" in query:
            first = max(-(-since // every_ns), -(-ledger.origin_ns // every_ns)) * every_ns
            until = min(until, first + limit * every_ns)
        else:
            since = (-(-until // every_ns) - limit) * every_ns
        rows = ledger.klines(every_ns, since, until, self.history_end(ledger))
        return [made.kline_row(ledger.listing, row, every_ns) for row in rows]
