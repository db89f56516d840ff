"""The layouts of files: for each role (`time`, `price`, ...) the column names that it may have, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from events.feeds import (
    BOOKS,
    CONTEXT,
    KLINES,
    LIQUIDATIONS,
    LONG_SHORT,
    OPEN_INTEREST,
    RATES,
    TICKERS,
    TOPS,
    TRADES,
)

_TIME: Final = (
    *(
        "ts_event",
        "timestamp_ns",
        "timestamp_us",
        "timestamp_ms",
        "timestamp_s",
        "unix_timestamp_ns",
        "unix_timestamp_us",
    ),
    *(
        "unix_timestamp_ms",
        "unix_timestamp_s",
        "unix_timestamp",
        "timestamp",
        "time_ns",
        "time_us",
        "time_ms",
        "time",
    ),
    *(
        "ts_ns",
        "ts_us",
        "ts_ms",
        "ts",
        "trade_time",
        "transact_time",
        "event_time",
        "exchange_time",
        "datetime",
        "date_time",
    ),
    *("date", "created_at", "created_time"),
)
_RECV: Final = (
    "ts_recv",
    "received_at",
    "recv_time",
    "receive_timestamp",
    "received_time",
    "local_timestamp",
    "local_ts",
)
_ID: Final = ("trade_id", "id", "tid", "trade_no", "trade_number", "match_id", "exec_id")
_OPENED: Final = ("ts_open", "open_time", "time_open", *_TIME)
_PRICES: Final = {"open": ("open", "o"), "high": ("high", "h"), "low": ("low", "l"), "close": ("close", "c")}
_VOLUME: Final = ("volume", "vol", "v", "base_volume")
_QUOTE_VOLUME: Final = ("quote_volume", "quote_asset_volume", "quote_vol")
_BAR: Final = ("time", "open", "high", "low", "close", "volume")
_PRICE: Final = ("price", "px", "trade_price")
_QTY: Final = ("qty", "quantity", "amount", "size", "base_qty", "base_quantity", "trade_size", "volume", "vol")
_SIDE: Final = ("side", "taker_side", "aggressor_side")
_MAKER: Final = ("is_buyer_maker", "buyer_maker", "buyer_is_maker", "was_buyer_maker", "isbuyermaker")
_WHOSE: Final = {
    "recv": _RECV,
    "instrument": ("instrument",),
    "symbol": ("symbol", "pair", "market", "instrument_name"),
}
_WHEN: Final = {"time": (*_TIME, "available_at"), "available": ("available_at",)}


@dataclass(frozen=True)
class Layout:
    """One way in which rows of one kind are stored.

    Attributes:
        about: what it is, in words.
        roles: for each role the names its column may have, best first.
        required: the roles without which a file is not of this layout.
        headerless: the roles of the columns of a file without a header, in order.
        id_space: `trade` or `aggregate` if the layout promises consecutive integer ids, else empty.
        feed: the stream of its rows.
        named: what a file's name must contain for the file to be taken for this layout.
        alone: whether a file of it has no other columns.
        with_it: the layout of what a file of this one holds beside it.
    """

    about: str
    roles: Mapping[str, Sequence[str]]
    required: Sequence[str]
    headerless: Sequence[str] = ()
    id_space: str = ""
    feed: str = TRADES
    named: str = ""
    alone: bool = False
    with_it: str = ""


LAYOUTS: Final[Mapping[str, Layout]] = {
    "binance-aggtrades": Layout(
        "official Binance dump of aggregate trades",
        {
            "id": ("agg_trade_id", "aggregate_trade_id", "agg_id", "a", "id", "trade_id"),
            "price": _PRICE,
            "qty": _QTY,
            "first": ("first_trade_id", "first_id", "first"),
            "last": ("last_trade_id", "last_id", "last"),
            "time": ("transact_time", "timestamp", "time"),
            "maker": _MAKER,
        },
        ("id", "price", "qty", "first", "last", "time", "maker"),
        ("id", "price", "qty", "first", "last", "time", "maker"),
        "aggregate",
    ),
    "binance-trades": Layout(
        "official Binance dump of trades",
        {
            "id": ("id", "trade_id"),
            "price": _PRICE,
            "qty": _QTY,
            "quote": ("quote_qty", "quote_quantity", "quoteqty"),
            "time": ("time", "timestamp"),
            "maker": _MAKER,
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
    "binance-liquidations": Layout(
        "official Binance dump of liquidation orders",
        {
            "time": ("time",),
            "symbol": ("symbol",),
            "order_side": ("side",),
            "price": ("average_price",),
            "qty": ("accumulated_fill_quantity",),
        },
        ("time", "order_side", "price", "qty"),
        feed=LIQUIDATIONS,
    ),
    "binance-metrics": Layout(
        "official Binance dump of open interest and ratios: open interest, and the ratio of all accounts",
        {
            "time": ("create_time",),
            "symbol": ("symbol",),
            "oi_base": ("sum_open_interest",),
            "oi_usd": ("sum_open_interest_value",),
        },
        ("time", "oi_base", "oi_usd"),
        feed=OPEN_INTEREST,
        with_it="binance-ratios",
    ),
    "binance-ratios": Layout(
        "the long/short ratio of all accounts in that dump",
        {"time": ("create_time",), "symbol": ("symbol",), "ratio": ("count_long_short_ratio",)},
        ("time", "ratio"),
        feed=LONG_SHORT,
    ),
    "tidewax-book": Layout(
        "named columns: a time, price, qty, side, kind (delta or snapshot), u_last, last (1 at the end of an update); optionally "
        "u_first, u_prev, instrument",
        {
            **_WHEN,
            "u_first": ("u_first",),
            "u_last": ("u_last",),
            "u_prev": ("u_prev",),
            "price": ("price",),
            "qty": ("qty",),
            "side": ("side",),
            "kind": ("kind",),
            "last": ("last",),
            **_WHOSE,
        },
        ("time", "u_last", "price", "qty", "side", "kind", "last"),
        feed=BOOKS,
    ),
    "tidewax-liquidations": Layout(
        "named columns: a time, price, qty, pos (long or short: what was liquidated); optionally liq_id, complete, instrument",
        {
            **_WHEN,
            "price": _PRICE,
            "qty": _QTY,
            "pos": ("pos", "position"),
            "liq_id": ("liq_id",),
            "complete": ("complete",),
            **_WHOSE,
        },
        ("time", "price", "qty", "pos"),
        feed=LIQUIDATIONS,
    ),
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
            "recv": _RECV,
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
        {"time": _TIME, "price": _PRICE, "qty": _QTY},
        ("time", "price", "qty", "headerless"),  # never a file with a header
        ("time", "price", "qty"),
    ),
    "tidewax": Layout(
        "named columns: a time, price, qty; optionally instrument, ts_recv, trade_id, side",
        {
            "time": _TIME,
            "price": _PRICE,
            "qty": _QTY,
            "side": _SIDE,
            "maker": _MAKER,
            "id": _ID,
            "recv": _RECV,
            "instrument": ("instrument",),
            "symbol": ("symbol", "pair", "market", "instrument_name"),
        },
        ("time", "price", "qty"),
    ),
    "binance-klines": Layout(
        "official Binance dump of klines",
        {
            "time": ("open_time",),
            **_PRICES,
            "volume": ("volume",),
            "close_time": ("close_time",),
            "quote_volume": _QUOTE_VOLUME,
        },
        (*_BAR, "close_time", "quote_volume"),
        (*_BAR, "close_time", "quote_volume", "count", "buy", "buy_quote", "ignore"),
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
        {"time": ("date",), **{name: (name,) for name in _BAR[1:]}},
        _BAR,
        feed=KLINES,
        alone=True,
    ),
    "lean-bars": Layout(
        "bars as LEAN stores them: without a header, times in ms since the midnight of the day in the file's name",
        {"time": (), **_PRICES, "volume": _VOLUME},
        (*_BAR, "headerless"),
        _BAR,
        feed=KLINES,
    ),
    "tidewax-bars": Layout(
        "named columns: a time (of the open), open, high, low, close, volume; optionally quote_volume, closed, instrument",
        {
            "time": _OPENED,
            **_PRICES,
            "volume": _VOLUME,
            "quote_volume": _QUOTE_VOLUME,
            "closed": ("closed", "is_closed"),
            "recv": _RECV,
            "instrument": ("instrument",),
            "symbol": ("symbol", "pair", "market", "instrument_name"),
        },
        _BAR,
        _BAR,
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
            "time": ("funding_time", "calc_time", *_TIME),
            "rate": ("rate", "funding_rate", "last_funding_rate"),
            "interval_h": ("interval_h", "interval_hours", "funding_interval_hours"),
            "mark": ("mark", "mark_price"),
            "index": ("index", "index_price"),
            "predicted": ("predicted",),
            "ts_next": ("ts_next",),
            "available": ("available_at",),
            **_WHOSE,
        },
        ("time", "rate"),
        ("time", "rate"),
        feed=RATES,
    ),
    "tidewax-top": Layout(
        "named columns: a time, bid, ask, bid_qty, ask_qty; optionally seq, no_event_time, instrument",
        {
            **_WHEN,
            "bid": ("bid", "bid_price", "best_bid_price"),
            "bid_qty": ("bid_qty", "bid_size", "bid_amount", "best_bid_qty"),
            "ask": ("ask", "ask_price", "best_ask_price"),
            "ask_qty": ("ask_qty", "ask_size", "ask_amount", "best_ask_qty"),
            "seq": ("seq", "update_id"),
            "no_event_time": ("no_event_time",),
            **_WHOSE,
        },
        ("time", "bid", "bid_qty", "ask", "ask_qty"),
        feed=TOPS,
    ),
    "tidewax-ticker": Layout(
        "named columns: a time, mark; optionally index, last, high_24h, low_24h, volume_24h, quote_volume_24h, pct_24h, instrument",
        {
            **_WHEN,
            "mark": ("mark", "mark_price"),
            "index": ("index", "index_price"),
            **{name: (name,) for name in ("last", "high_24h", "low_24h", "volume_24h", "quote_volume_24h", "pct_24h")},
            **_WHOSE,
        },
        ("time", "mark"),
        feed=TICKERS,
    ),
    "tidewax-open-interest": Layout(
        "named columns: a time, oi_base; optionally oi_usd, instrument",
        {
            **_WHEN,
            "oi_base": ("oi_base", "open_interest", "sum_open_interest"),
            "oi_usd": ("oi_usd", "open_interest_value", "sum_open_interest_value"),
            **_WHOSE,
        },
        ("time", "oi_base"),
        feed=OPEN_INTEREST,
    ),
    "tidewax-long-short": Layout(
        "named columns: a time, long_frac (above 0, below 1); optionally basis (accounts, positions, taker), period_s, instrument",
        {
            **_WHEN,
            "long_frac": ("long_frac", "long_account"),
            "basis": ("basis",),
            "period_s": ("period_s",),
            **_WHOSE,
        },
        ("time", "long_frac"),
        feed=LONG_SHORT,
    ),
    "tidewax-ratios": Layout(
        "named columns: a time, long_short_ratio (longs to shorts); optionally basis, period_s, instrument",
        {**_WHEN, "ratio": ("long_short_ratio",), "basis": ("basis",), "period_s": ("period_s",), **_WHOSE},
        ("time", "ratio"),
        feed=LONG_SHORT,
    ),
    "tidewax-context": Layout(
        "named columns: a time, value; optionally name (fear_greed, btc_dominance, custom), instrument; of every instrument where "
        "it names none",
        {**_WHEN, "value": ("value", "fear_greed"), "name": ("name",), **_WHOSE},
        ("time", "value"),
        feed=CONTEXT,
    ),
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
