"""Kraken spot: what REST answers, and version 2 of its websocket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from connectors.simulator import kraken_frames as made
from connectors.simulator.ledger import Ledger
from connectors.simulator.quotes import book
from connectors.simulator.session import Session
from connectors.simulator.venue import Refused, Venue
from events.frames import Array
from events.times import MINUTE_NS, SECOND_NS

_SNAPSHOT: Final = 50
_PAGE: Final = 1_000
_KLINES: Final = 720
_INTERVALS: Final = (1, 5, 15, 30, 60, 240, 1440)


class Kraken(Venue):
    """REST under `/0/public`, the websocket under `/v2`."""

    name = "kraken"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._by_name: dict[str, Ledger] = {}
        for ledger in self.ledgers.values():
            for alias in made.aliases(ledger.listing):
                self._by_name[alias] = ledger
        self._by_symbol = {ledger.listing.symbol: ledger for ledger in self.ledgers.values()}

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the paths; REST is asked by GET and by POST."""
        for method in ("GET", "POST"):
            router.add_route(method, "/0/public/{name}", self.rest)
        router.add_get("/v2", self.dial)

    def config(self, url: str, client: str) -> dict[str, Any]:
        """REST, and the websocket under a URL with `v2` in it, by which ccxt chooses the kind of ping."""
        return {"urls": {"api": {"public": url, "ws": {"publicV2": url.replace("http", "ws", 1) + "/v2"}}}}

    def streams_of(self, ledger: Ledger) -> tuple[str, ...]:
        """The stream of its trades."""
        return ("trade " + ledger.listing.symbol,)

    # --- streams

    def opened(self, request: web.Request, websocket: web.WebSocketResponse) -> Session:
        """The session of a new connection, which is told first that the system is online."""
        session = Session(request, websocket)
        session.send([made.STATUS])
        return session

    def received(self, session: Session, message: Any) -> None:
        """Answer pings and subscriptions; a new subscription to trades gets the last 50, unless it says otherwise."""
        method, request_id, now = message.get("method"), message.get("req_id"), self.client_now_ns
        if method == "ping":
            if not self.faults.met("no-pong"):
                session.send([made.reply("pong", request_id, now)])
            return
        if method not in ("subscribe", "unsubscribe"):
            session.send([made.failure(method, request_id, now, "Unknown method")])
            return
        given = message.get("params") or {}
        channel, snapshot = given.get("channel"), given.get("snapshot", True)
        for symbol in given.get("symbol") or ():
            ledger = None if self.faults.met("bad-symbol") else self._by_symbol.get(symbol)
            if channel != "trade":
                session.send([made.failure(method, request_id, now, f"Channel {channel} is not simulated", symbol)])
            elif ledger is None:
                error = f"Currency pair not supported {symbol}"
                session.send([made.failure(method, request_id, now, error, symbol)])
            else:
                result = {"channel": channel, "symbol": symbol}
                if method == "unsubscribe":
                    session.streams.pop("trade " + symbol, None)
                    session.send([made.reply(method, request_id, now, result)])
                    continue
                session.send([made.reply(method, request_id, now, result | {"snapshot": bool(snapshot)})])
                session.streams["trade " + symbol] = None
                rows = ledger.rows(ledger.next_id - _SNAPSHOT, ledger.next_id)
                if snapshot and len(rows):
                    self.tell(session, [made.trades_frame(ledger.listing, rows.tolist(), "snapshot")])

    def frames(self, wanted: Mapping[str, None], fresh: Mapping[str, Array]) -> dict[str, list[str]]:
        """Updates of each of these streams: what traded at one time is one message."""
        out = {}
        for instrument, rows in fresh.items():
            ledger = self.ledgers[instrument]
            (stream,) = self.streams_of(ledger)
            if stream in wanted:
                out[stream] = made.trade_frames(ledger.listing, rows)
        return out

    def publish(self, fresh: Mapping[str, Array]) -> None:
        """As every venue, and a heartbeat to subscribers that heard nothing for a second."""
        super().publish(fresh)
        for session in self.sessions:
            if session.streams and self.world.now_ns - session.heard_ns >= SECOND_NS:
                self.tell(session, [made.HEARTBEAT])

    # --- REST

    def is_history(self, path: str) -> bool:
        """Whether that path gives trades or klines."""
        return path.rsplit("/", 1)[1] in ("Trades", "OHLC")

    def answer(self, path: str, query: Mapping[str, str]) -> Any:
        """What a REST request gets, as JSON."""
        return {"error": [], "result": self._result(path.rsplit("/", 1)[1], query)}

    def _result(self, name: str, query: Mapping[str, str]) -> Any:
        listings = [ledger.listing for ledger in self.ledgers.values()]
        if name == "Time":
            return {"unixtime": self.client_now_ns // SECOND_NS, "rfc1123": ""}
        if name == "SystemStatus":
            return {"status": "online", "timestamp": made.iso_us(self.client_now_ns)}
        if name == "Assets":
            return made.assets(listings)
        if name == "AssetPairs":
            return {listing.market_id: made.pair(listing) for listing in listings}
        if name not in ("Trades", "OHLC", "Depth"):
            raise _refused("EGeneral:Unknown method")
        ledger = self._by_name.get(query.get("pair", ""))
        if ledger is None or self.faults.met("bad-symbol"):
            raise _refused("EQuery:Unknown asset pair")
        if name == "Depth":
            bids, asks = book(ledger, self.world.seed, ledger.next_id, min(_number(query, "count", 100), 500))
            seconds = self.client_now_ns // SECOND_NS
            return {ledger.listing.market_id: made.depth(ledger.listing, bids, asks, seconds)}
        return self._trades(ledger, query) if name == "Trades" else self._ohlc(ledger, query)

    def _trades(self, ledger: Ledger, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of trades strictly after `since`, with the time of its last one in ns as the cursor."""
        count, end = min(_number(query, "count", _PAGE), _PAGE), self.history_end(ledger)
        if "since" in query:
            first = ledger.id_at(_since_ns(query["since"]) + 1)
            rows = ledger.rows(first, min(first + count, end))
        else:
            rows = ledger.rows(end - count, end)
        last = str(int(rows["available_at"][-1])) if len(rows) else query.get("since", "0")
        return {ledger.listing.market_id: [made.trade_row(ledger.listing, row) for row in rows.tolist()], "last": last}

    def _ohlc(self, ledger: Ledger, query: Mapping[str, str]) -> dict[str, Any]:
        """The newest 720 klines at most, the last of them forming, that open after `since`."""
        minutes = _number(query, "interval", 1)
        if minutes not in _INTERVALS:
            raise _refused("EGeneral:Invalid arguments")
        interval_ns = minutes * MINUTE_NS
        until = self.history_ns + 1
        since = (-(-until // interval_ns) - _KLINES) * interval_ns
        if "since" in query:
            since = max(since, _since_ns(query["since"]) + 1)
        rows = ledger.klines(interval_ns, since, until, self.history_end(ledger))
        last = int(rows["ts_open"][-2 if len(rows) > 1 else -1]) // SECOND_NS if len(rows) else 0
        return {ledger.listing.market_id: [made.kline_row(ledger.listing, row) for row in rows], "last": last}


def _since_ns(text: str) -> int:
    """A cursor in ns: Kraken takes seconds, with a fraction or without, and ns.

    >>> _since_ns("1700000000"), _since_ns("1700000000000000001")
    (1700000000000000000, 1700000000000000001)
    """
    whole, _, fraction = text.partition(".")
    if not (whole + fraction).isdigit():
        raise _refused("EGeneral:Invalid arguments")
    if len(whole) > 11:
        return int(whole)
    return int(whole) * SECOND_NS + int(fraction[:9].ljust(9, "0") or 0)


def _refused(error: str) -> Refused:
    return Refused(200, {"error": [error]})


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isascii() or not text.isdigit():
        raise _refused("EGeneral:Invalid arguments")
    return int(text)
