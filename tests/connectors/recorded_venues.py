"""Venues that the project does not connect to: what their recorded sessions say, read by their documentation, without ccxt."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

from recorded_sessions import Session

SIDES = {"buy": 1, "sell": -1}
BOTH = ("bids", "asks")


@dataclass
class Trade:
    """One recorded trade, with the taker's side as the venue's documentation has it."""

    market: str
    id: str
    time_ms: int
    price: float
    qty: float
    side: int


@dataclass
class Update:
    """One recorded message of a book: its last update, the one that came before its first (None: not told), its levels."""

    market: str
    last: int
    before: int | None
    bids: list
    asks: list


@dataclass
class Levels:
    """A book by price."""

    last: int = -1
    bids: dict = field(default_factory=dict)
    asks: dict = field(default_factory=dict)

    def apply(self, update):
        self.last = update.last
        for side in BOTH:
            for price, qty in getattr(update, side):
                if qty:
                    getattr(self, side)[float(price)] = float(qty)
                else:
                    getattr(self, side).pop(float(price), None)

    def best(self, side, n=None):
        return sorted(getattr(self, side).items(), reverse=side == "bids")[:n]


def numbers(levels):
    return [(float(level[0]), float(level[1])) for level in levels]


class Venue:
    """What the venues have in common: one connection, frames that ccxt is given as they came, snapshots that are pushed."""

    rest: ClassVar = False
    early: ClassVar = ()  # markets of which ccxt has to have the snapshot before the first update

    def session(self, market_data):
        return Session(market_data / "cryptofeed" / "jsonl_zst" / f"{self.file}.jsonl.zst")

    def frame(self, frame):
        return frame

    def prepare(self, connection):
        """What the client would have noted when it subscribed to books."""

    def trades(self, frame):
        return ()

    def ticker(self, frame):
        return None


class Bitfinex(Venue):
    """Asked to number its messages: that number comes last in each of them."""

    client, file, path = "bitfinex", "BITFINEX", "/ws/2"
    symbols: ClassVar = {f"t{base}{quote}": f"{base}/{quote}" for base, quote in (
        ("BFT", "USD"), ("IOT", "ETH"), ("DOG", "USD"), ("MNA", "BTC"), ("ODE", "USD"), ("SNG", "USD"),
    )} | {"tTESTBTC:TESTUSD": "TESTBTC/TESTUSD"}  # fmt: skip
    counts: ClassVar = {"trades": 210, "books": 1_600, "tickers": 21}

    def __init__(self):
        self.channels: dict[int, tuple[str, str]] = {}

    def config(self, url):
        return {"urls": {"api": {"public": url, "ws": {"public": url.replace("http", "ws") + self.path}}}}

    def frame(self, frame):
        return frame[:-1] if isinstance(frame, list) else frame

    def _of(self, frame, channel):
        """(market, payload) of a message of a channel; None of others and of heartbeats."""
        if isinstance(frame, dict):
            if frame["event"] == "subscribed":
                self.channels[frame["chanId"]] = (frame["channel"], frame["symbol"])
            return None
        name, market = self.channels.get(
            frame[0], (None, None)
        )  # heartbeats of a channel may precede its acknowledgement
        return (market, frame[1]) if name == channel and frame[1] != "hb" else None

    def trades(self, frame):
        told = self._of(frame, "trades")
        for number, time_ms, amount, price in reversed(told[1]) if told else ():
            yield Trade(told[0], str(number), time_ms, float(price), float(abs(amount)), 1 if amount > 0 else -1)

    def book(self, frame):
        told = self._of(frame, "book")
        if told is None:
            return None
        levels = told[1] if isinstance(told[1][0], list) else [told[1]]
        sides: Any = {sign: [(p, abs(a) if n else 0) for p, n, a in levels if a * sign > 0] for sign in (1, -1)}
        return Update(told[0], frame[2], None, sides[1], sides[-1])

    def ticker(self, frame):
        told = self._of(frame, "ticker")
        if told is None:
            return None
        names = ("bid", "bidVolume", "ask", "askVolume", "change", None, "last", "baseVolume", "high", "low")
        return told[0], {name: value for name, value in zip(names, told[1]) if name}


class Bitstamp(Venue):
    client, file, path, rest = "bitstamp", "BITSTAMP", "/", True
    symbols: ClassVar = {name.replace("/", "").lower(): name for name in (
        "SGB/EUR", "ETH/USD", "XRP/EUR", "BAT/EUR", "USDT/EUR", "USDT/USD", "XLM/GBP", "ADA/EUR", "BAT/BTC", "GALA/EUR"
    )}  # fmt: skip
    counts: ClassVar = {"trades": 10, "books": 717, "tickers": 0}

    def config(self, url):
        api = {"public": url + "/api", "ws": url.replace("http", "ws") + self.path}
        return {"urls": {"api": api}, "options": {"watchOrderBook": {"snapshotDelay": 0}}}

    def trades(self, frame):
        if frame["event"] == "trade":
            t = frame["data"]
            market, time_ms = frame["channel"].removeprefix("live_trades_"), int(t["microtimestamp"]) // 1_000
            yield Trade(market, str(t["id"]), time_ms, float(t["price_str"]), float(t["amount_str"]), 1 - 2 * t["type"])

    def book(self, frame):
        if frame["event"] != "data":
            return None
        told = frame["data"]
        market = frame["channel"].removeprefix("diff_order_book_")
        return Update(market, int(told["microtimestamp"]), None, *(numbers(told[side]) for side in BOTH))

    def snapshot(self, session, market):
        told = json.loads(session.answer(f"/api/v2/order_book/{market}", {}))
        return Update(market, int(told["microtimestamp"]), None, *(numbers(told[side]) for side in BOTH))


class Deribit(Venue):
    client, file, path = "deribit", "DERIBIT", "/ws/api/v2"
    counts: ClassVar = {"trades": 0, "books": 46, "tickers": 89}
    symbols: ClassVar = {
        "BTC-24SEP21-8000-P": "BTC/USD:BTC-210924-8000-P",
        "BTC-30JUL21-24000-P": "BTC/USD:BTC-210730-24000-P",
        "ETH-30JUL21-2800-C": "ETH/USD:ETH-210730-2800-C",
        "BTC-31DEC21-34000-P": "BTC/USD:BTC-211231-34000-P",
        "BTC-24SEP21-34000-P": "BTC/USD:BTC-210924-34000-P",
        "BTC-24JUN22-15000-C": "BTC/USD:BTC-220624-15000-C",
        "BTC-31DEC21-300000-C": "BTC/USD:BTC-211231-300000-C",
        "ETH-27AUG21-4000-P": "ETH/USD:ETH-210827-4000-P",
        "BTC-25MAR22-30000-C": "BTC/USD:BTC-220325-30000-C",
        "ETH-23JUL21-2300-C": "ETH/USD:ETH-210723-2300-C",
    }

    def config(self, url):
        return {"urls": {"api": {"rest": url, "ws": url.replace("http", "ws") + self.path}}}

    def _of(self, frame, channel):
        told = frame.get("params", {})
        return told["data"] if told.get("channel", "").startswith(channel + ".") else None

    def trades(self, frame):
        for t in self._of(frame, "trades") or ():
            yield Trade(
                t["instrument_name"], t["trade_id"], t["timestamp"], t["price"], t["amount"], SIDES[t["direction"]]
            )

    def book(self, frame):
        told = self._of(frame, "book")
        if told is None:
            return None
        sides = ([(price, qty if action != "delete" else 0) for action, price, qty in told[side]] for side in BOTH)
        return Update(told["instrument_name"], told["change_id"], told.get("prev_change_id"), *sides)

    def ticker(self, frame):
        told = self._of(frame, "ticker")
        if told is None:
            return None
        names = {"best_bid_price": "bid", "best_bid_amount": "bidVolume", "best_ask_price": "ask"}
        names |= {"best_ask_amount": "askVolume", "last_price": "last", "timestamp": "timestamp"}
        said = {name: told[ours] for ours, name in names.items()}
        said |= {side: said[side] or None for side in ("bid", "ask")}  # of a side that is empty the price is 0
        return told["instrument_name"], said | {"high": told["stats"]["high"], "low": told["stats"]["low"]}


class Gate(Venue):
    client, file, path, rest = "gate", "GATEIO", "/ws/v4/", True
    early = ("DIS_USDT",)
    symbols: ClassVar = {name: name.replace("_", "/") for name in (
        "INK_USDT", "NEO_BTC", "OMG_USDT", "QTUM3S_USDT", "HAI_ETH", "DIS_USDT", "FAST_USDT", "BTC_USDC", "NANO_USDT",
        "ZKS_ETH",
    )}  # fmt: skip
    counts: ClassVar = {"trades": 9, "books": 172, "tickers": 22}

    def __init__(self):
        self.acknowledged = 0

    def session(self, market_data):
        """Books by REST had no `current` then, the time of the answer, without which ccxt refuses them: it is put in."""
        session = super().session(market_data)
        for number, (path, asked, text) in enumerate(session.answers):
            if path.endswith("order_book"):
                session.answers[number] = (path, asked, json.dumps(json.loads(text) | {"current": 1_619_093_532_978}))
        return session

    def config(self, url):
        api = {"public": {"spot": url + "/api/v4"}, "spot": url.replace("http", "ws") + self.path}
        return {"urls": {"api": api}, "options": {"watchOrderBook": {"snapshotDelay": 0}}}

    def prepare(self, connection):
        for number, symbol in enumerate(self.symbols.values(), 1):
            connection.subscriptions[str(number)] = f"orderbook:{symbol}"
            connection.subscriptions[f"orderbook:{symbol}"] = {"symbol": symbol, "limit": 100}

    def frame(self, frame):
        """Requests of the recording had no ids, so neither have their acknowledgements; ccxt gives ids and waits for them."""
        if frame["event"] != "subscribe" or frame["channel"] != "spot.order_book_update":
            return frame
        self.acknowledged += 1
        return frame | {"id": self.acknowledged}

    def _of(self, frame, channel):
        return frame["result"] if (frame["channel"], frame["event"]) == ("spot." + channel, "update") else None

    def trades(self, frame):
        if t := self._of(frame, "trades"):
            time_ms = int(t["create_time_ms"].partition(".")[0])
            yield Trade(
                t["currency_pair"], str(t["id"]), time_ms, float(t["price"]), float(t["amount"]), SIDES[t["side"]]
            )

    def book(self, frame):
        told = self._of(frame, "order_book_update")
        return told and Update(told["s"], told["u"], told["U"] - 1, numbers(told["b"]), numbers(told["a"]))

    def snapshot(self, session, market):
        told = json.loads(session.answer("/api/v4/spot/order_book", {"currency_pair": market}))
        return Update(market, told["id"], None, *(numbers(told[side]) for side in BOTH))

    def ticker(self, frame):
        told = self._of(frame, "tickers")
        names = {"last": "last", "lowest_ask": "ask", "highest_bid": "bid", "change_percentage": "percentage"}
        names |= {"base_volume": "baseVolume", "quote_volume": "quoteVolume", "high_24h": "high", "low_24h": "low"}
        return told and (told["currency_pair"], {name: float(told[ours]) for ours, name in names.items()})


class Kucoin(Venue):
    client, file, path, rest = "kucoin", "KUCOIN", "/endpoint", True
    symbols: ClassVar = {name: name.replace("-", "/").replace("BCHSV", "BSV") for name in (
        "ANKR-BTC", "NRG-BTC", "BCHSV-USDT", "CAPP-BTC", "FET-BTC", "SNX-BTC", "DAPPT-BTC", "COV-BTC", "EQZ-BTC"
    )}  # fmt: skip
    counts: ClassVar = {"trades": 18, "books": 3_853, "tickers": 830}

    def session(self, market_data):
        """The whole books were recorded, for which ccxt needs keys; it asks for a hundred levels where it has none."""
        session = super().session(market_data)
        old, new = "/api/v3/market/orderbook/level2", "/api/v1/market/orderbook/level2_100"
        session.answers = [(new if path == old else path, *rest) for path, *rest in session.answers]
        return session

    def config(self, url):
        server = {"endpoint": url.replace("http", "ws") + self.path, "pingInterval": 50_000}
        self.server = json.dumps({"code": "200000", "data": {"token": "none", "instanceServers": [server]}})
        return {"urls": {"api": {"public": url}}, "options": {"watchOrderBook": {"snapshotDelay": 0}}}

    def _of(self, frame, subject):
        return frame["data"] if frame.get("subject") == subject else None

    def trades(self, frame):
        if t := self._of(frame, "trade.l3match"):
            time_ms = int(t["time"]) // 1_000_000
            yield Trade(t["symbol"], t["tradeId"], time_ms, float(t["price"]), float(t["size"]), SIDES[t["side"]])

    def book(self, frame):
        told = self._of(frame, "trade.l2update")
        if told is None:
            return None
        # a price of 0 only counts the update
        sides = ([level for level in numbers(told["changes"][side]) if level[0]] for side in ("bids", "asks"))
        return Update(told["symbol"], told["sequenceEnd"], told["sequenceStart"] - 1, *sides)

    def snapshot(self, session, market):
        told = json.loads(session.answer("/api/v1/market/orderbook/level2_100", {"symbol": market}))["data"]
        return Update(market, int(told["sequence"]), None, *(numbers(told[side]) for side in BOTH))

    def ticker(self, frame):
        told = self._of(frame, "trade.ticker")
        names = {"bestBid": "bid", "bestBidSize": "bidVolume", "bestAsk": "ask", "bestAskSize": "askVolume"}
        names |= {"price": "last", "time": "timestamp"}
        said = told and {name: float(told[ours]) for ours, name in names.items()}
        return told and (frame["topic"].partition(":")[2], said)


VENUES = (Bitfinex, Bitstamp, Deribit, Gate, Kucoin)
