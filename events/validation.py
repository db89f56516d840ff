"""Which rows may enter: the invariants of each input row, checked in one order, so that the first failing check names the reason.

Reasons 1 to 6 are faults of a row by itself; the others depend on what came before and are found where rows enter the graph.
"""

from __future__ import annotations

import math
from typing import Final

import numba
import numpy as np

from events.frames import Array
from events.schema import BOOK_SNAPSHOT
from events.schema import MALFORMED as MALFORMED_FLAG

REASONS: Final = (
    "",
    "MALFORMED",
    "UNKNOWN_KEY",
    "NON_FINITE",
    "NON_POSITIVE",
    "OUT_OF_RANGE",
    "BAD_SIDE",
    "OHLC_INCONSISTENT",
    "MISALIGNED",
    "NOT_CLOSED",
    "CROSSED",
    "DUPLICATE",
    "LATE",
    "BOOK_SEQ",
)
ACCEPTED: Final = 0
MALFORMED: Final = 1
NON_FINITE: Final = 3
NON_POSITIVE: Final = 4
OUT_OF_RANGE: Final = 5
BAD_SIDE: Final = 6
OHLC_INCONSISTENT: Final = 7
MISALIGNED: Final = 8
NOT_CLOSED: Final = 9
CROSSED: Final = 10
DUPLICATE: Final = 11
LATE: Final = 12

COUNTED: Final = (NOT_CLOSED, DUPLICATE)
"""Reasons that are no loss: such rows are counted, nothing more."""

PRICE_MIN: Final = 1e-12
PRICE_MAX: Final = 1e12
QTY_MAX: Final = 1e12


@numba.njit(cache=True)
def trade_fault(price: float, qty: float, side: int, flags: int) -> int:
    """The reason why a trade is refused by itself, ACCEPTED (0) if it is not."""
    if flags & MALFORMED_FLAG:
        return MALFORMED
    if not (math.isfinite(price) and math.isfinite(qty)):
        return NON_FINITE
    if price <= 0.0 or qty <= 0.0:
        return NON_POSITIVE
    if price < PRICE_MIN or price > PRICE_MAX or qty > QTY_MAX:
        return OUT_OF_RANGE
    if side < -1 or side > 1:
        return BAD_SIDE
    return ACCEPTED


@numba.njit(cache=True)
def funding_fault(rate: float, interval_h: float, flags: int) -> int:
    """The reason why a funding row is refused by itself, ACCEPTED (0) if it is not."""
    if flags & MALFORMED_FLAG:
        return MALFORMED
    if not (math.isfinite(rate) and math.isfinite(interval_h)):
        return NON_FINITE
    if abs(rate) >= 0.1 or interval_h <= 0.0:
        return OUT_OF_RANGE
    return ACCEPTED


@numba.njit(cache=True)
def book_fault(price: float, qty: float, side: int, kind: int, flags: int) -> int:
    """The reason why a row of a book is refused by itself, ACCEPTED (0) if it is not; one with side 0 has no level to judge."""
    if flags & MALFORMED_FLAG:
        return MALFORMED
    if side == 0:
        return ACCEPTED
    if not (math.isfinite(price) and math.isfinite(qty)):
        return NON_FINITE
    if price <= 0.0 or qty < 0.0 or (qty == 0.0 and kind == BOOK_SNAPSHOT):
        return NON_POSITIVE
    if price < PRICE_MIN or price > PRICE_MAX or qty > QTY_MAX:
        return OUT_OF_RANGE
    if side < -1 or side > 1:
        return BAD_SIDE
    return ACCEPTED


@numba.njit(cache=True)
def books_at_fault(rows, reasons):  # type: ignore[no-untyped-def]
    """Fill in the reason of each row of a book."""
    for i in range(len(rows)):
        reasons[i] = book_fault(rows[i].price, rows[i].qty, rows[i].side, rows[i].kind, rows[i].flags)


@numba.njit(cache=True)
def kline_fault(  # type: ignore[no-untyped-def]
    ts_open, opened, high, low, close, volume, quote_volume, closed, flags, length_ns
):
    """The reason why a kline of this length is refused by itself, ACCEPTED (0) if it is not."""
    if flags & MALFORMED_FLAG:
        return MALFORMED
    if not (math.isfinite(opened) and math.isfinite(high) and math.isfinite(low) and math.isfinite(close)):
        return NON_FINITE
    if not math.isfinite(volume):
        return NON_FINITE
    if opened <= 0.0 or high <= 0.0 or low <= 0.0 or close <= 0.0:
        return NON_POSITIVE
    if min(opened, high, low, close) < PRICE_MIN or max(opened, high, low, close) > PRICE_MAX:
        return OUT_OF_RANGE
    if volume < 0.0 or quote_volume < 0.0 or math.isinf(quote_volume):
        return OUT_OF_RANGE
    if low > min(opened, close) or high < max(opened, close):
        return OHLC_INCONSISTENT
    if ts_open % length_ns != 0:
        return MISALIGNED
    return ACCEPTED if closed else NOT_CLOSED


@numba.njit(cache=True)
def klines_at_fault(rows, length_ns, reasons):  # type: ignore[no-untyped-def]
    """Write the reason of each kline of this length into `reasons`."""
    for i in range(len(rows)):
        r = rows[i]
        reasons[i] = kline_fault(
            r.ts_open, r.open, r.high, r.low, r.close, r.volume, r.quote_volume, r.closed, r.flags, length_ns
        )


@numba.njit(cache=True)
def _funding_at_fault(rows, reasons):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        reasons[i] = funding_fault(rows[i].rate, rows[i].interval_h, rows[i].flags)


def first_faulty_kline(rows: Array, length_ns: int) -> tuple[int, str] | None:
    """Index and reason of the first row of an OHLCV array that is refused by itself; klines still forming are not.

    >>> import numpy as np
    >>> from events.rows import OHLCV
    >>> first_faulty_kline(np.array([(60, 60, 0, 0, 2.0, 3.0, 2.5, 3.0, 1.0, 2.0, 1, 0)], OHLCV), 60)
    (0, 'OHLC_INCONSISTENT')
    """
    reasons = np.zeros(len(rows), np.uint8)
    klines_at_fault(rows, length_ns, reasons)
    reasons[reasons == NOT_CLOSED] = ACCEPTED
    return _first(reasons)


def first_faulty_funding(rows: Array) -> tuple[int, str] | None:
    """Index and reason of the first row of a FUNDING array that is refused by itself."""
    reasons = np.zeros(len(rows), np.uint8)
    _funding_at_fault(rows, reasons)
    return _first(reasons)


def _first(reasons: Array) -> tuple[int, str] | None:
    i = int(np.argmax(reasons != ACCEPTED)) if len(reasons) else 0
    return (i, REASONS[reasons[i]]) if len(reasons) and reasons[i] else None


@numba.njit(cache=True)
def _first_faulty_trade(rows):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        if trade_fault(rows[i].price, rows[i].qty, rows[i].side, rows[i].flags):
            return i
    return -1


def first_faulty_trade(rows: Array) -> tuple[int, str] | None:
    """Index and reason of the first row of a TRADE array that is refused by itself.

    >>> import numpy as np
    >>> from events.rows import TRADE
    >>> first_faulty_trade(np.array([(0, 0, 0, 0, 1.0, 2.0, 1, 0), (0, 0, 0, 0, -1.0, 2.0, 1, 0)], TRADE))
    (1, 'NON_POSITIVE')
    """
    i = int(_first_faulty_trade(rows))
    if i < 0:
        return None
    row = rows[i]
    return i, REASONS[trade_fault(row["price"], row["qty"], row["side"], row["flags"])]
