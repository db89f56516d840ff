"""Rows of the streams beside trades, made of what ccxt parses, in the units of rows: base units, fractions, ns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isnan, nan
from typing import Any, Final, NamedTuple

from connectors.exchange.line import Row
from connectors.exchange.taps import TradeReader, iso_ns
from events.identity import id_hash, id_of
from events.schema import LONG_SHORT_BASES, NEVER
from events.times import HOUR_NS

Parsed = Mapping[str, Any]
"""A unified structure of ccxt, with the venue's own words in `info`."""

_MS: Final = 1_000_000
_SIGNS: Final = {"buy": 1, "sell": -1}
QUOTE_FIELDS: Final = ("bid", "bidVolume", "ask", "askVolume")
"""What ccxt calls the columns of a best quote, in their order."""
TICKER_FIELDS: Final = {
    "last": "last",
    "high": "high_24h",
    "low": "low_24h",
    "baseVolume": "volume_24h",
    "quoteVolume": "quote_volume_24h",
    "percentage": "pct_24h",
    "markPrice": "mark",
    "indexPrice": "index",
}
"""What ccxt calls the columns of a ticker row, in their order."""


class Sample(NamedTuple):
    """A row that is still to be given its number: all of its columns but `seq`, which stands behind `ts_recv`.

    Attributes:
        at_ns: by which repeats are known, the venue's time where it states one.
        before, after: the columns before and behind `seq`.
    """

    at_ns: int
    before: Row
    after: Row

    def row(self, seq: int) -> Row:
        """The whole row."""
        return (*self.before, seq, *self.after)


def number(value: Any) -> float:
    """A number as a float, NaN for none.

    >>> number("0.5"), number(None), number("")
    (0.5, nan, nan)
    """
    return nan if value is None or value == "" else float(value)


def stamp(parsed: Parsed) -> int:
    """The venue's time of a quote or ticker in ns, that of its matching where it tells it; NEVER where it states none."""
    info = parsed.get("info")
    if isinstance(info, Mapping):
        if info.get("e") == "bookTicker":
            return int(info["T"]) * _MS
        if isinstance(info.get("time"), str):
            return iso_ns(info["time"])
        if "E" in info or "ts" in info:
            return int(info.get("E") or info["ts"]) * _MS
    return NEVER if parsed.get("timestamp") is None else int(parsed["timestamp"]) * _MS


def top_row(parsed: Parsed, read: TradeReader, received_ns: int) -> Sample | None:
    """The best bid and ask; None where a side is empty.

    >>> quote = {"bid": 9.0, "bidVolume": 2.0, "ask": 10.0, "askVolume": 1.0, "timestamp": 5, "info": {}}
    >>> top_row(quote, TradeReader(int, int), 7).row(1)
    (5000000, 7, 1, 9.0, 2.0, 10.0, 1.0, 0, 0)
    """
    bid, bid_qty, ask, ask_qty = (number(parsed[name]) for name in QUOTE_FIELDS)
    return quote_row(stamp(parsed), bid, bid_qty, ask, ask_qty, read, received_ns)


def quote_row(
    at_ns: int, bid: float, bid_qty: float, ask: float, ask_qty: float, read: TradeReader, received_ns: int
) -> Sample | None:
    """The best bid and ask of a time, NEVER where the venue states none; None where a side is empty."""
    if not (bid > 0.0 and bid_qty > 0.0 and ask > 0.0 and ask_qty > 0.0):  # NaN is not, either
        return None
    known = at_ns != NEVER
    at = at_ns if known else received_ns
    return Sample(
        at, (at, received_ns), (bid, read.base(bid_qty, bid), ask, read.base(ask_qty, ask), int(not known), 0)
    )


def update_ticker(state: dict[str, float], parsed: Parsed, read: TradeReader) -> None:
    """Take over what a ticker says; what it does not say stays.

    >>> state = {}
    >>> update_ticker(state, {"last": 9.0, "percentage": 50.0, "markPrice": None}, TradeReader(int, int))
    >>> state
    {'last': 9.0, 'pct_24h': 0.5}
    """
    index_alone = "idxPx" in parsed.get("info", ())  # of OKX, with the extremes of the index
    for name, column in TICKER_FIELDS.items():
        value = parsed.get(name) if name == "indexPrice" or not index_alone else None
        if value is not None:
            state[column] = float(value)
            if name == "percentage":
                state[column] /= 100.0
            elif name == "baseVolume":
                state[column] = read.base(state[column], state.get("last", nan))


def ticker_row(state: Mapping[str, float], at_ns: int, received_ns: int) -> Sample:
    """All that tickers of an instrument have said."""
    at = received_ns if at_ns == NEVER else at_ns
    columns = (state.get(column, nan) for column in TICKER_FIELDS.values())
    return Sample(at, (at, at, received_ns), (*columns, 0))


class Predicted(NamedTuple):
    """A predicted funding rate: per interval, whose hours are None where the venue does not say; NaN and NEVER for unknown."""

    rate: float
    interval_h: float | None
    next_ns: int
    mark: float = nan
    index_price: float = nan


def rate_of(parsed: Parsed) -> Predicted | None:
    """The funding rate that a ticker, mark price or funding rate says is to come; None if it says none.

    >>> rate_of({"info": {"e": "markPriceUpdate", "p": "9", "i": "8", "r": "0.0001", "T": 5}})
    Predicted(rate=0.0001, interval_h=None, next_ns=5000000, mark=9.0, index_price=8.0)
    """
    info = parsed["info"]
    if info.get("e") == "markPriceUpdate" and info.get("r"):
        return Predicted(float(info["r"]), None, int(info["T"]) * _MS, number(info.get("p")), number(info.get("i")))
    if "fundingTime" in info:  # OKX: the next settlement, and the one behind it
        at, then = int(info["fundingTime"]) * _MS, int(info.get("nextFundingTime") or 0) * _MS
        return Predicted(float(info["fundingRate"]), (then - at) / HOUR_NS if then > at else None, at)
    if info.get("fundingRate") and "nextFundingTime" in info:  # Bybit
        hours = info.get("fundingIntervalHour")
        marks = number(info.get("markPrice")), number(info.get("indexPrice"))
        return Predicted(
            float(info["fundingRate"]), float(hours) if hours else None, int(info["nextFundingTime"]) * _MS, *marks
        )
    return None


def rate_row(rate: Predicted, interval_h: float, at_ns: int, received_ns: int) -> Sample:
    """A predicted funding rate as a row."""
    at = received_ns if at_ns == NEVER else at_ns
    after = (rate.rate, rate.interval_h or interval_h, rate.next_ns, rate.mark, rate.index_price, 1, 0)
    return Sample(at, (at, at, received_ns), after)


def open_interest_row(parsed: Parsed, read: TradeReader, received_ns: int, available_ns: int) -> Sample:
    """Open interest in base units.

    Raises:
        ValueError: it is not stated.
    """
    base = number(parsed.get("baseVolume"))
    if isnan(base):
        base = read.base(number(parsed.get("openInterestAmount")), nan)
    if isnan(base):
        raise ValueError("it does not say the open interest")
    at = received_ns if parsed.get("timestamp") is None else int(parsed["timestamp"]) * _MS
    return Sample(at, (available_ns, at, received_ns), (base, number(parsed.get("openInterestValue")), 0))


def pushed_open_interest(parsed: Parsed, at_ns: int, received_ns: int) -> Sample | None:
    """Open interest of a ticker of Bybit, which counts it in base units; None if it says none."""
    info = parsed["info"]
    if not info.get("openInterest"):
        return None
    return Sample(
        at_ns, (at_ns, at_ns, received_ns), (float(info["openInterest"]), number(info.get("openInterestValue")), 0)
    )


def long_short_row(parsed: Parsed, period_s: int, received_ns: int, available_ns: int) -> Sample:
    """The share of accounts that are long, of the ratio of long to short ones.

    >>> long_short_row({"longShortRatio": 1.5, "timestamp": 5}, 300, 7, 8).row(1)
    (8, 5000000, 7, 1, 0.6, 300, 0, 0)
    """
    ratio, at = float(parsed["longShortRatio"]), int(parsed["timestamp"]) * _MS
    return Sample(
        at, (available_ns, at, received_ns), (ratio / (1.0 + ratio), period_s, LONG_SHORT_BASES.index("accounts"), 0)
    )


def liquidation_rows(exchange: str, key: str, parsed: Parsed, read: TradeReader, received_ns: int) -> Iterator[Sample]:
    """Liquidations, with the position that was liquidated as `pos`: Binance and OKX state the side of the order that closed it,
    Bybit that of the position.

    >>> told = {"s": "BTCUSDT", "S": "SELL", "q": "2", "p": "9", "T": 5}
    >>> [row.after[3] for row in liquidation_rows("binance", "x", {"info": told}, TradeReader(int, int), 7)]
    [1]

    Source: file 01 section 7.
    """
    info = parsed["info"]
    if exchange == "okx":  # ccxt reads the first of them
        for told in info["details"]:
            long = {"long": 1, "short": -1}.get(told.get("posSide", ""))
            pos = long if long is not None else -_SIGNS[told["side"]]
            yield _liquidation(key, int(told["ts"]), float(told["bkPx"]), float(told["sz"]), pos, 1, read, received_ns)
    elif exchange == "bybit":
        pos = _SIGNS[info["S"].lower()]
        yield _liquidation(key, int(info["T"]), float(info["p"]), float(info["v"]), pos, 1, read, received_ns)
    else:
        pos, price = -_SIGNS[info["S"].lower()], float(info.get("ap") or 0) or float(info["p"])
        yield _liquidation(key, int(info["T"]), price, float(info["q"]), pos, 0, read, received_ns)


def _liquidation(
    key: str, at_ms: int, price: float, size: float, pos: int, complete: int, read: TradeReader, received_ns: int
) -> Sample:
    at, qty = at_ms * _MS, read.base(size, price)
    liq_id = id_hash(id_of("liq", key, at, price, qty, pos))  # venues number none
    return Sample(at, (at, received_ns), (liq_id, price, qty, pos, complete, 0))
