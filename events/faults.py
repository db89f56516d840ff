"""Faults of rows by themselves, of the streams that stand beside trades: a reason per row, of whole arrays at a time.

The checks run in the order of the specification; the first that fails decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from events.feeds import BOOKS, CONTEXT, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, TICKERS, TOPS, UNIVERSE
from events.frames import Array
from events.schema import CONTEXT_NAMES, LONG_SHORT_BASES
from events.validation import (
    ACCEPTED,
    BAD_SIDE,
    CROSSED,
    MALFORMED,
    NON_FINITE,
    NON_POSITIVE,
    OUT_OF_RANGE,
    PRICE_MAX,
    PRICE_MIN,
    QTY_MAX,
    REASONS,
    books_at_fault,
)


def faults(stream: str, rows: Array) -> Array:
    """The code of the reason why each row is refused by itself, ACCEPTED (0) where it is not.

    >>> from events.rows import TOP
    >>> quotes = np.array([(1, 1, 1, 100.0, 1.0, 101.0, 2.0, 0, 0), (2, 2, 2, 101.0, 1.0, 101.0, 2.0, 0, 0)], TOP)
    >>> [REASONS[code] for code in faults("top", quotes)]
    ['', 'CROSSED']
    """
    reasons = np.full(len(rows), ACCEPTED, np.uint8)
    if stream == BOOKS:  # row by row: many come, and few at a time
        books_at_fault(rows, reasons)
        return reasons
    for code, failed in _RULES[stream](rows):
        reasons[(reasons == ACCEPTED) & failed] = code
    return reasons


def first_fault(stream: str, rows: Array) -> tuple[int, str] | None:
    """Index and reason of the first row that is refused by itself, None if there is none."""
    reasons = faults(stream, rows)
    at = np.flatnonzero(reasons)
    return (int(at[0]), REASONS[reasons[at[0]]]) if len(at) else None


_Checks = list[tuple[int, Any]]


def _finite(rows: Array, *fields: str) -> Any:
    return np.logical_and.reduce([np.isfinite(rows[field]) for field in fields])


def _price_out(price: Array) -> Any:
    return (price < PRICE_MIN) | (price > PRICE_MAX)


def _top(rows: Array) -> _Checks:
    bid, ask = rows["bid"], rows["ask"]
    return [
        (MALFORMED, rows["flags"] != 0),
        (NON_FINITE, ~_finite(rows, "bid", "bid_qty", "ask", "ask_qty")),
        (NON_POSITIVE, (bid <= 0.0) | (ask <= 0.0) | (rows["bid_qty"] <= 0.0) | (rows["ask_qty"] <= 0.0)),
        (OUT_OF_RANGE, _price_out(bid) | _price_out(ask) | (rows["bid_qty"] > QTY_MAX) | (rows["ask_qty"] > QTY_MAX)),
        (CROSSED, bid >= ask),
    ]


def _ticker(rows: Array) -> _Checks:
    fields = ("last", "high_24h", "low_24h", "volume_24h", "quote_volume_24h", "pct_24h", "mark", "index")
    prices = [rows[field] for field in ("last", "high_24h", "low_24h", "mark", "index")]
    volumes = (rows["volume_24h"] < 0.0) | (rows["quote_volume_24h"] < 0.0)
    outside = (rows["last"] < rows["low_24h"]) | (
        rows["last"] > rows["high_24h"]
    )  # False beside a NaN, as it should be
    return [
        (MALFORMED, rows["flags"] != 0),
        (NON_FINITE, np.logical_or.reduce([np.isinf(rows[field]) for field in fields])),
        (NON_POSITIVE, np.logical_or.reduce([price <= 0.0 for price in prices])),
        (OUT_OF_RANGE, np.logical_or.reduce([_price_out(price) for price in prices]) | volumes | outside),
    ]


def _open_interest(rows: Array) -> _Checks:
    return [
        (MALFORMED, rows["flags"] != 0),
        (NON_FINITE, ~np.isfinite(rows["oi_base"]) | np.isinf(rows["oi_usd"])),
        (OUT_OF_RANGE, (rows["oi_base"] < 0.0) | (rows["oi_usd"] < 0.0)),
    ]


def _long_short(rows: Array) -> _Checks:
    share, basis = rows["long_frac"], rows["basis"]
    return [
        (MALFORMED, (rows["flags"] != 0) | (basis < 0) | (basis >= len(LONG_SHORT_BASES))),
        (NON_FINITE, ~np.isfinite(share)),
        (OUT_OF_RANGE, (share <= 0.0) | (share >= 1.0)),
    ]


def _liquidation(rows: Array) -> _Checks:
    price, qty = rows["price"], rows["qty"]
    return [
        (MALFORMED, rows["flags"] != 0),
        (NON_FINITE, ~_finite(rows, "price", "qty")),
        (NON_POSITIVE, (price <= 0.0) | (qty <= 0.0)),
        (OUT_OF_RANGE, _price_out(price) | (qty > QTY_MAX)),
        (BAD_SIDE, np.abs(rows["pos"]) != 1),
    ]


def _context(rows: Array) -> _Checks:
    value, name = rows["value"], rows["name"]
    fear = name == CONTEXT_NAMES.index("fear_greed")
    return [
        (MALFORMED, (rows["flags"] != 0) | (name < 0) | (name >= len(CONTEXT_NAMES))),
        (NON_FINITE, ~np.isfinite(value)),
        (OUT_OF_RANGE, fear & ((value < 0.0) | (value > 100.0))),
    ]


def _universe(rows: Array) -> _Checks:
    return [(MALFORMED, (rows["flags"] != 0) | (np.abs(rows["change"]) != 1))]


_RULES: Final[Mapping[str, Callable[[Array], _Checks]]] = {
    TOPS: _top,
    TICKERS: _ticker,
    OPEN_INTEREST: _open_interest,
    LONG_SHORT: _long_short,
    LIQUIDATIONS: _liquidation,
    CONTEXT: _context,
    UNIVERSE: _universe,
}
