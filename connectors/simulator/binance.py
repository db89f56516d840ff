"""Binance spot and USD-M: what REST answers, and which streams a connection may have."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from aiohttp import web

from connectors.simulator import binance_frames as made
from connectors.simulator.binance_books import DEPTH_MS, BookStreams, snapshot
from connectors.simulator.books import BookModel
from connectors.simulator.ledger import Ledger
from connectors.simulator.quotes import funding_rate, liquidations
from connectors.simulator.session import Session
from connectors.simulator.venue import Refused, Venue
from events.frames import Array
from events.times import SECOND_NS, timeframe_ns

_MS: Final = 1_000_000
_BOOK_KINDS: Final = frozenset({"bookTicker", *DEPTH_MS[False], *DEPTH_MS[True]})


class Binance(Venue):
    """Spot under `/api/v3` and `/stream/ws`, USD-M under `/fapi/v1` and `/fws/.../ws`."""

    name = "binance"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._by_id = {(ledger.listing.linear, ledger.listing.market_id): ledger for ledger in self.ledgers.values()}
        self._streams: dict[str, tuple[Ledger, str]] = {}
        for ledger in self.ledgers.values():
            forced = ("forceOrder",) * ledger.listing.linear
            depths = DEPTH_MS[ledger.listing.linear]
            klines = (f"kline_{name}" for name in made.INTERVALS)
            for kind in ("aggTrade", "trade", "bookTicker", *depths, *forced, *klines):
                self._streams[_stream(ledger, kind)] = ledger, kind
        self._models = {key: BookModel(ledger, self.world.seed) for key, ledger in self.ledgers.items()}
        self._books: dict[str, BookStreams] = {}
        self._told_ns: dict[str, int] = {}

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the paths of both segments."""
        for base in ("/api/v3", "/fapi/v1"):
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
        return _stream(ledger, "aggTrade"), _stream(ledger, "trade")

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
                self._follow(names)
        elif message.get("method") == "UNSUBSCRIBE":
            for name in names:
                session.streams.pop(name, None)
        session.send([json.dumps({"result": None, "id": message.get("id")}, separators=(",", ":"))])

    def frames(self, wanted: Mapping[str, None], fresh: Mapping[str, Array]) -> dict[str, list[str]]:
        """The frames of each of these streams."""
        out = self._book_frames(wanted, fresh)
        if not wanted:
            return out
        now, event_ms = self.world.now_ns, self.client_now_ns // _MS
        for stream in wanted:
            if stream not in self._streams or stream in out:
                continue
            ledger, kind = self._streams[stream]
            rows = fresh.get(ledger.listing.instrument)
            if kind.startswith("kline_"):
                since = self._told_ns.get(stream, now)
                self._told_ns[stream] = now
                out[stream] = list(made.kline_frames(ledger, kind[6:], since, now, rows is not None, event_ms))
            elif kind == "forceOrder":
                closed = () if rows is None else liquidations(rows, self.world.seed).tolist()
                if closed and now - self._told_ns.get(stream, 0) >= SECOND_NS:  # the newest in a second, no more
                    self._told_ns[stream] = now
                    out[stream] = [made.liquidation_frame(ledger.listing, closed[-1], event_ms)]
            elif rows is not None and kind in ("aggTrade", "trade"):
                make = made.aggregate_frames if kind == "aggTrade" else made.trade_frames
                out[stream] = make(ledger.listing, rows, event_ms)
        return out

    def _follow(self, streams: Iterable[str]) -> None:
        """Follow the books of these streams from now on."""
        for stream in streams:
            ledger, kind = self._streams.get(stream, (None, ""))
            if ledger is not None and kind in _BOOK_KINDS:
                instrument = ledger.listing.instrument
                if instrument not in self._books:
                    self._books[instrument] = BookStreams(ledger, self._models[instrument], self.world.now_ns)
                self._books[instrument].add(kind)

    def _book_frames(self, wanted: Mapping[str, None], fresh: Mapping[str, Array]) -> dict[str, list[str]]:
        """Those of all that is followed; what nobody wants any more is followed no longer."""
        out: dict[str, list[str]] = {}
        skew_ns = self.faults.ns("clock-skew")
        for instrument, streams in list(self._books.items()):
            names = {kind: _stream(self.ledgers[instrument], kind) for kind in streams.kinds}
            for kind, name in names.items():
                if name not in wanted:
                    streams.remove(kind)
            if not streams.kinds:
                del self._books[instrument]
                continue
            for kind, frame in streams.advance(self.world.now_ns, fresh.get(instrument), skew_ns):
                out.setdefault(names[kind], []).append(frame)
        return out

    # --- REST

    def is_history(self, path: str) -> bool:
        """Whether that path gives trades or klines."""
        return path.rsplit("/", 1)[1] in ("aggTrades", "trades", "klines")

    def answer(self, path: str, query: Mapping[str, str]) -> Any:
        """What a REST request gets, as JSON."""
        linear, name = path.startswith("/fapi"), path.rsplit("/", 1)[1]
        if name == "ping":
            return {}
        if name == "time":
            return {"serverTime": self.client_now_ns // _MS}
        if name == "exchangeInfo":
            listed = [ledger.listing for (is_linear, _), ledger in self._by_id.items() if is_linear is linear]
            return made.exchange_info(listed, linear, self.client_now_ns // _MS)
        if linear and name in ("premiumIndex", "fundingInfo") and "symbol" not in query:
            return [self._of(name, linear, {**query, "symbol": key}) for is_linear, key in self._by_id if is_linear]
        return self._of(name, linear, query)

    def _of(self, name: str, linear: bool, query: Mapping[str, str]) -> Any:
        if "symbol" not in query:
            raise _refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        ledger = self._by_id.get((linear, query["symbol"]))
        if ledger is None or self.faults.met("bad-symbol"):
            raise _refused(-1121, "Invalid symbol.")
        if name == "depth":
            return self._depth(ledger, _number(query, "limit", 500 if linear else 100))
        if name == "aggTrades":
            return [made.aggregate(ledger.listing, row) for row in self._aggregates(ledger, query).tolist()]
        if name == "trades":
            limit, end = min(_number(query, "limit", 500), 1_000), self.history_end(ledger)
            rows = ledger.rows(end - limit, end).tolist()
            return [trade for row in rows for trade in made.raw_trades(ledger.listing, row)][-limit:]
        if name == "klines":
            return self._klines(ledger, query, 1_500 if linear else 1_000)
        if linear and name in ("premiumIndex", "fundingRate", "fundingInfo"):
            return self._funding(name, ledger, query)
        raise Refused(404, {"code": -1000, "msg": f"{name} is not simulated."})

    def _depth(self, ledger: Ledger, limit: int) -> dict[str, Any]:
        listing, model = ledger.listing, self._models[ledger.listing.instrument]
        limit = min(limit, 1_000 if listing.linear else 5_000)
        answer = snapshot(model, listing, self.world.now_ns, ledger.next_id, limit)
        event_ms = self.client_now_ns // _MS
        return answer | ({"E": event_ms, "T": event_ms} if listing.linear else {})

    def _aggregates(self, ledger: Ledger, query: Mapping[str, str]) -> Array:
        limit, end = min(_number(query, "limit", 500), 1_000), self.history_end(ledger)
        timed = "startTime" in query or "endTime" in query
        if "fromId" in query:
            if timed:
                raise _refused(-1128, "Combination of optional parameters invalid.")
            first = _number(query, "fromId", 0)
            return ledger.rows(first, min(first + limit, end))
        if timed:
            end = min(end, ledger.id_at((_number(query, "endTime", 1 << 42) + 1) * _MS))
            first = ledger.id_at(_number(query, "startTime", 0) * _MS)
            return ledger.rows(first, min(first + limit, end))
        return ledger.rows(end - limit, end)

    def _klines(self, ledger: Ledger, query: Mapping[str, str], most: int) -> list[Any]:
        try:
            interval_ns = timeframe_ns(query.get("interval", ""))
        except ValueError:
            raise _refused(-1120, "Invalid interval.") from None
        limit = min(_number(query, "limit", 500), most)
        until = min(self.history_ns, _number(query, "endTime", 1 << 42) * _MS) + 1
        since = _number(query, "startTime", 0) * _MS
        if "startTime" in query:
            first = max(-(-since // interval_ns), -(-ledger.origin_ns // interval_ns)) * interval_ns
            until = min(until, first + limit * interval_ns)
        else:
            since = (-(-until // interval_ns) - limit) * interval_ns
        rows = ledger.klines(interval_ns, since, until, self.history_end(ledger))
        return [made.kline_row(ledger.listing, row, interval_ns) for row in rows]

    def _funding(self, name: str, ledger: Ledger, query: Mapping[str, str]) -> Any:
        listing, every = ledger.listing, self.world.funding_ns
        current = self.world.now_ns // every
        if name == "fundingInfo":
            return made.funding_info(listing, every)
        if name == "premiumIndex":
            rate = funding_rate(ledger, self.world.seed, current + 1)
            return made.premium_index(listing, ledger.last_price, rate, (current + 1) * every, self.client_now_ns)
        first = max(-(-_number(query, "startTime", 0) * _MS // every), -(-ledger.origin_ns // every))
        last = min(current, _number(query, "endTime", 1 << 42) * _MS // every)
        limit = min(_number(query, "limit", 100), 1_000)
        numbers = range(first, last + 1)
        chosen = numbers[:limit] if "startTime" in query else numbers[max(len(numbers) - limit, 0) :]
        return list(self._settled(ledger, chosen))

    def _settled(self, ledger: Ledger, numbers: range) -> Iterator[dict[str, Any]]:
        for number in numbers:
            time_ns = number * self.world.funding_ns
            mark = ledger.price_before(ledger.id_at(time_ns))
            yield made.funding_row(ledger.listing, funding_rate(ledger, self.world.seed, number), mark, time_ns)


def _stream(ledger: Ledger, kind: str) -> str:
    segment = "linear" if ledger.listing.linear else "spot"
    return f"{segment} {ledger.listing.market_id.lower()}@{kind}"


def _refused(code: int, message: str) -> Refused:
    return Refused(400, {"code": code, "msg": message})


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isascii() or not text.isdigit():
        raise _refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(text)
