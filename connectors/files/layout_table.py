"""The layouts of files: for each role (`time`, `price`, ...) the column names that it may have, best first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connectors.files.layout_beside import OTHERS, SPECIFIC
from connectors.files.layout_names import (
    BAR,
    ID,
    MAKER,
    OPENED,
    PRICE,
    PRICES,
    QTY,
    QUOTE_VOLUME,
    RECV,
    SIDE,
    TIME,
    VOLUME,
    WHOSE,
    Layout,
)
from events.feeds import KLINES, RATES

LAYOUTS: Final[Mapping[str, Layout]] = {
    "binance-aggtrades": Layout(
        "official Binance dump of aggregate trades",
        {
            "id": ("agg_trade_id", "aggregate_trade_id", "agg_id", "a", "id", "trade_id"),
            "price": PRICE,
            "qty": QTY,
            "first": ("first_trade_id", "first_id", "first"),
            "last": ("last_trade_id", "last_id", "last"),
            "time": ("transact_time", "timestamp", "time"),
            "maker": MAKER,
        },
        ("id", "price", "qty", "first", "last", "time", "maker"),
        ("id", "price", "qty", "first", "last", "time", "maker"),
        "aggregate",
    ),
    "binance-trades": Layout(
        "official Binance dump of trades",
        {
            "id": ("id", "trade_id"),
            "price": PRICE,
            "qty": QTY,
            "quote": ("quote_qty", "quote_quantity", "quoteqty"),
            "time": ("time", "timestamp"),
            "maker": MAKER,
        },
        ("id", "price", "qty", "quote", "time", "maker"),
        ("id", "price", "qty", "quote", "time", "maker"),
        "trade",
    ),
    "binance-stream": Layout(
        "recorded Binance websocket messages, a line each, with or without a local time; one file is of all streams in it",
        {},
        (),
        (),
        "trade",
    ),
    **SPECIFIC,
    "ccxt": Layout(
        "ccxt's unified trades",
        {
            "time": ("timestamp",),
            "symbol": ("symbol",),
            "price": ("price",),
            "qty": ("amount",),
            "side": ("side",),
            "id": ("id",),
            "exchange": ("exchange",),
            "recv": RECV,
        },
        ("time", "symbol", "price", "qty", "side"),
    ),
    "freqtrade": Layout(
        "trades as freqtrade stores them",
        {
            "time": ("timestamp",),
            "id": ("id",),
            "type": ("type",),
            "side": ("side",),
            "price": ("price",),
            "qty": ("amount",),
            "cost": ("cost",),
        },
        ("time", "id", "type", "side", "price", "qty", "cost"),
    ),
    "kraken-dump": Layout(
        "Kraken's downloadable trade history: time in seconds, price, qty, without a header; no ids, no sides",
        {"time": TIME, "price": PRICE, "qty": QTY},
        ("time", "price", "qty", "headerless"),  # never a file with a header
        ("time", "price", "qty"),
    ),
    "tidewax": Layout(
        "named columns: a time, price, qty; optionally instrument, ts_recv, trade_id, side",
        {
            "time": TIME,
            "price": PRICE,
            "qty": QTY,
            "side": SIDE,
            "maker": MAKER,
            "id": ID,
            "recv": RECV,
            "instrument": ("instrument",),
            "symbol": ("symbol", "pair", "market", "instrument_name"),
        },
        ("time", "price", "qty"),
    ),
    "binance-klines": Layout(
        "official Binance dump of klines",
        {
            "time": ("open_time",),
            **PRICES,
            "volume": ("volume",),
            "close_time": ("close_time",),
            "quote_volume": QUOTE_VOLUME,
        },
        (*BAR, "close_time", "quote_volume"),
        (*BAR, "close_time", "quote_volume", "count", "buy", "buy_quote", "ignore"),
        feed=KLINES,
    ),
    "freqtrade-funding": Layout(
        "funding rates as freqtrade stores them: columns of bars, the rate in the column `open`",
        {"time": ("date",), "rate": ("open",), **{name: (name,) for name in ("high", "low", "close", "volume")}},
        ("time", "rate", "high", "low", "close", "volume"),
        feed=RATES,
        named="-funding_rate",
        alone=True,
    ),
    "freqtrade-bars": Layout(
        "bars as freqtrade stores them",
        {"time": ("date",), **{name: (name,) for name in BAR[1:]}},
        BAR,
        feed=KLINES,
        alone=True,
    ),
    "lean-bars": Layout(
        "bars as LEAN stores them: without a header, times in ms since the midnight of the day in the file's name",
        {"time": (), **PRICES, "volume": VOLUME},
        (*BAR, "headerless"),
        BAR,
        feed=KLINES,
    ),
    "tidewax-bars": Layout(
        "named columns: a time (of the open), open, high, low, close, volume; optionally quote_volume, closed, instrument",
        {
            "time": OPENED,
            **PRICES,
            "volume": VOLUME,
            "quote_volume": QUOTE_VOLUME,
            "closed": ("closed", "is_closed"),
            "recv": RECV,
            "instrument": ("instrument",),
            "symbol": ("symbol", "pair", "market", "instrument_name"),
        },
        BAR,
        BAR,
        feed=KLINES,
    ),
    "binance-funding": Layout(
        "official Binance dump of funding rates",
        {"time": ("calc_time",), "interval_h": ("funding_interval_hours",), "rate": ("last_funding_rate",)},
        ("time", "interval_h", "rate"),
        feed=RATES,
    ),
    "tidewax-funding": Layout(
        "named columns: a time, rate; optionally interval_h, mark, index, predicted (1: not settled yet), ts_next (ns), instrument",
        {
            "time": ("funding_time", "calc_time", *TIME),
            "rate": ("rate", "funding_rate", "last_funding_rate"),
            "interval_h": ("interval_h", "interval_hours", "funding_interval_hours"),
            "mark": ("mark", "mark_price"),
            "index": ("index", "index_price"),
            "predicted": ("predicted",),
            "ts_next": ("ts_next",),
            "available": ("available_at",),
            **WHOSE,
        },
        ("time", "rate"),
        ("time", "rate"),
        feed=RATES,
    ),
    **OTHERS,
}
"""The layouts by name, in the order in which a file is held against them."""


_FIRST: Final = ("tidewax", "tidewax-bars", "tidewax-funding")
GENERAL: Final = (*_FIRST, *(name for name in LAYOUTS if name.startswith("tidewax") and name not in _FIRST))
"""The layouts of one's own files, by whose roles columns can be named."""
NUMBERS: Final = frozenset(
    {"price", "qty", "open", "high", "low", "close", "volume", "quote_volume", "rate", "interval_h", "mark", "index"}
    | {"bid", "bid_qty", "ask", "ask_qty", "oi_base", "oi_usd", "long_frac", "ratio", "value"}
    | {"high_24h", "low_24h", "volume_24h", "quote_volume_24h", "pct_24h"}
)
"""The roles whose values are numbers."""
