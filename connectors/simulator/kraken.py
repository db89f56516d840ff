"""Kraken spot: what REST answers, and version 2 of its websocket."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Mapping
from typing import Any, Final

from aiohttp import web

from connectors.simulator import kraken_frames as made
from connectors.simulator.books import Side
from connectors.simulator.faults import STALE_NS
from connectors.simulator.kraken_books import DEPTHS, TRIGGERS, BookChannels
from connectors.simulator.ledger import Ledger
from connectors.simulator.quotes import day_figures
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
        self._books: dict[str, BookChannels] = {}
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
        for symbol in given.get("symbol") or ():
            ledger = None if self.faults.met("bad-symbol") else self._by_symbol.get(symbol)
            channel = str(given.get("channel"))
            try:
                about = _about(channel, given)
            except ValueError as error:
                session.send([made.failure(method, request_id, now, str(error), symbol)])
                continue
            if ledger is None:
                unknown = f"Currency pair not supported {symbol}"
                session.send([made.failure(method, request_id, now, unknown, symbol)])
                continue
            stream = _stream(channel, about, symbol)
            result = {"channel": channel, "symbol": symbol} | about
            if method == "unsubscribe":
                session.streams.pop(stream, None)
                session.send([made.reply(method, request_id, now, result)])
                continue
            snapshot = bool(given.get("snapshot", True))
            session.send([made.reply(method, request_id, now, result | {"snapshot": snapshot})])
            session.streams[stream] = None
            first = self._first(ledger, channel, about, stream)
            if snapshot and first is not None:
                self.tell(session, [first])

    def _first(self, ledger: Ledger, channel: str, about: Mapping[str, Any], stream: str) -> str | None:
        """Begin with a stream; what a new subscriber is told first."""
        if channel == "trade":
            rows = ledger.rows(ledger.next_id - _SNAPSHOT, ledger.next_id)
            return made.trades_frame(ledger.listing, rows.tolist(), "snapshot") if len(rows) else None
        instrument = ledger.listing.instrument
        if instrument not in self._books:
            self._books[instrument] = BookChannels(ledger, self.world.books[instrument], self.world.now_ns, self.faults)
        (value,) = about.values()
        return self._books[instrument].add(stream, channel, value)

    def frames(self, wanted: Mapping[str, None], fresh: Mapping[str, Array]) -> dict[str, list[str]]:
        """Updates of each of these streams: what traded at one time is one message."""
        out: dict[str, list[str]] = {}
        for instrument, rows in fresh.items():
            ledger = self.ledgers[instrument]
            (stream,) = self.streams_of(ledger)
            if stream in wanted:
                out[stream] = made.trade_frames(ledger.listing, rows)
        for instrument, channels in list(self._books.items()):
            channels.keep(wanted)
            if not channels.names:
                del self._books[instrument]
            for name, frame in channels.advance(self.world.now_ns, fresh.get(instrument)):
                out.setdefault(name, []).append(frame)
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
        result = self._result(path.rsplit("/", 1)[1], query)
        if inspect.isawaitable(result):
            return _later(result)
        return {"error": [], "result": result}

    async def _tickers(self) -> dict[str, Any]:
        """Those of every pair; the market goes on while they are made."""
        rows = {}
        for ledger in self.ledgers.values():
            rows[ledger.listing.market_id] = self._ticker(ledger)
            await asyncio.sleep(0)
        return rows

    def _ticker(self, ledger: Ledger) -> dict[str, Any]:
        figures = day_figures(ledger, self.world.now_ns, self.history_end(ledger))
        bids, asks = self._book(ledger)
        best = (*next(iter(bids.items())), *next(iter(asks.items())))
        return made.ticker_row(ledger.listing, figures, best)

    def _depth(self, ledger: Ledger, limit: int) -> dict[str, Any]:
        age_ns = STALE_NS if self.faults.once("stale-depth") else 0
        seconds = (self.client_now_ns - age_ns) // SECOND_NS
        return made.depth(ledger.listing, *self._book(ledger, age_ns), limit, seconds)

    def _book(self, ledger: Ledger, age_ns: int = 0) -> tuple[Side, Side]:
        """The book as it was so long ago."""
        time_ns = self.world.now_ns - age_ns
        next_id = ledger.id_at(time_ns) if age_ns else ledger.next_id
        _, bids, asks = self.world.books[ledger.listing.instrument].at(time_ns, next_id)
        return bids, asks

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
        if name == "Ticker" and "pair" not in query:
            return self._tickers()
        if name not in ("Trades", "OHLC", "Depth", "Ticker"):
            raise _refused("EGeneral:Unknown method")
        ledger = self._by_name.get(query.get("pair", ""))
        if ledger is None or self.faults.met("bad-symbol"):
            raise _refused("EQuery:Unknown asset pair")
        if name == "Depth":
            return {ledger.listing.market_id: self._depth(ledger, min(_number(query, "count", 100), 500))}
        if name == "Ticker":
            return {ledger.listing.market_id: self._ticker(ledger)}
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


async def _later(result: Awaitable[Any]) -> dict[str, Any]:
    return {"error": [], "result": await result}


def _about(channel: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a subscription to a channel says beside the symbol.

    Raises:
        ValueError: what Kraken answers if that is nothing.
    """
    if channel == "trade":
        return {}
    name, allowed = {"book": ("depth", DEPTHS), "ticker": ("event_trigger", TRIGGERS)}.get(channel, ("", ()))
    if not name:
        raise ValueError(f"Channel {channel} is not simulated")
    value = given.get(name, allowed[0])
    if value not in allowed:
        raise ValueError(f"Subscription {name} not supported")
    return {name: value}


def _stream(channel: str, about: Mapping[str, Any], symbol: str) -> str:
    return " ".join([channel, *map(str, about.values()), symbol])


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
