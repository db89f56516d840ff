"""Layouts: which columns of a file mean what.

A layout gives each role (`time`, `price`, ...) the column names that it may have, best first. Names are compared in
lower snake case, so that `tradeId`, `Trade ID` and `trade_id` are one name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from events.errors import InputError

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
    *("date", "created_at"),
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
_PRICE: Final = ("price", "px", "trade_price")
_QTY: Final = ("qty", "quantity", "amount", "size", "base_qty", "base_quantity", "trade_size")
_SIDE: Final = ("side", "taker_side", "aggressor_side")
_MAKER: Final = ("is_buyer_maker", "buyer_maker", "buyer_is_maker", "was_buyer_maker", "isbuyermaker")


@dataclass(frozen=True)
class Layout:
    """One way in which trades are stored.

    Attributes:
        about: what it is, in words.
        roles: for each role the names its column may have, best first.
        required: the roles without which a file is not of this layout.
        headerless: the roles of the columns of a file without a header, in order.
        id_space: `trade` or `aggregate` if the layout promises consecutive integer ids, else empty.
    """

    about: str
    roles: Mapping[str, Sequence[str]]
    required: Sequence[str]
    headerless: Sequence[str] = ()
    id_space: str = ""


@dataclass(frozen=True)
class Binding:
    """A layout as found in one file: its name, and for each role the column of the file."""

    layout: str
    columns: Mapping[str, str] = field(default_factory=dict)


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
        "recorded Binance websocket messages, a line each, with or without a local time", {}, (), (), "trade"
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
            "symbol": ("symbol", "pair", "market"),
        },
        ("time", "price", "qty"),
    ),
}
"""The layouts by name, in the order in which a file is held against them."""


def snake(name: str) -> str:
    """A column name in lower snake case.

    >>> snake("tradeId"), snake(" Trade ID"), snake("isBuyerMaker"), snake("UnixTimestampMS")
    ('trade_id', 'trade_id', 'is_buyer_maker', 'unix_timestamp_ms')
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip().strip('"').strip())
    return re.sub(r"[\s\-./]+", "_", spaced).lower()


def check_layout(name: str) -> str:
    """The name itself, if a layout has it.

    Raises:
        InputError: no layout has it; the message names the nearest.
    """
    if name not in LAYOUTS:
        near = difflib.get_close_matches(name, LAYOUTS, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise InputError(f"--layout {name!r} is not known.{hint} The layouts are {', '.join(LAYOUTS)}.")
    return name


def bind(names: Sequence[str], layout: str | None, label: str) -> Binding:
    """The layout of a file with these columns.

    Args:
        names: the names of the columns, as they stand in the file.
        layout: the layout that it must have; None: the first that fits.
        label: the file, as messages name it.

    >>> bind(["id", "unix_timestamp_ms", "side", "price", "quantity"], None, "f").columns["qty"]
    'quantity'

    Raises:
        InputError: the columns fit no layout, or not this one.
    """
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(snake(name), name)
    for candidate in (layout,) if layout is not None else tuple(LAYOUTS):
        columns = _roles(LAYOUTS[candidate], found)
        if candidate == "ccxt" and layout is None and "instrument" in found:
            continue
        if columns and all(role in columns for role in LAYOUTS[candidate].required):
            return Binding(candidate, columns)
    if layout is not None:
        lacks = [role for role in LAYOUTS[layout].required if role not in _roles(LAYOUTS[layout], found)]
        wanted = "; ".join(f"{role} ({' or '.join(LAYOUTS[layout].roles[role][:4])})" for role in lacks)
        what = f"it lacks {wanted}" if lacks else "it is a table, not lines of messages"
        raise InputError(
            f"{label} does not fit --layout {layout}: {what}. {_columns(names)} Leave --layout out to have it found."
        )
    raise InputError(
        f"{label} fits no layout of trades. {_columns(names)} The layouts are {', '.join(LAYOUTS)}; the most "
        "general, tidewax, needs columns for time, price and qty under common names: rename the columns."
    )


def bind_headerless(first: Sequence[str], layout: str | None, label: str) -> Binding:
    """The layout of a file without a header, by its first row; columns are called `0`, `1`, ...

    >>> bind_headerless("1,9.5,2,19,1700000000000,True".split(","), None, "f").layout
    'binance-trades'

    Raises:
        InputError: the row fits no layout that exists without a header, or not this one.
    """
    flags = [i for i, text in enumerate(first) if text.strip().lower() in ("true", "false")]
    for name, kind in LAYOUTS.items():
        width = len(kind.headerless)  # a second flag, whether it was the best match, may follow
        if kind.headerless[-1:] == ("maker",):
            fits = len(first) in (width, width + 1) and flags == list(range(width - 1, len(first)))
        else:
            seconds = (
                re.fullmatch(r"\s*[1-4]\d{9}(\.\d*)?\s*", first[0]) is not None
            )  # without a unit to go by, the size must do
            fits = len(first) == width > 0 and seconds and all(map(_is_plain_number, first))
        if fits and (layout or name) == name:
            return Binding(name, {role: str(i) for i, role in enumerate(kind.headerless)})
    asked = (
        f"--layout {layout}" if layout else "any layout without one (binance-trades, binance-aggtrades, kraken-dump)"
    )
    raise InputError(
        f"{label} has no header and does not fit {asked}; its first row is {','.join(first)[:200]!r}. "
        "Put a first line with the names of the columns into it, such as timestamp,price,qty,side,trade_id."
    )


def _roles(layout: Layout, found: Mapping[str, str]) -> dict[str, str]:
    return {
        role: found[name]
        for role, names in layout.roles.items()
        for name in [next((name for name in names if name in found), None)]
        if name is not None
    }


def _is_plain_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d*)?", text.strip()) is not None


def _columns(names: Sequence[str]) -> str:
    return f"Its columns are {', '.join(names)[:400] or 'none'}."
