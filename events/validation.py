"""Which rows may enter: the invariants of each input row, checked in one order, so that the first failing check names the reason.

Reasons 1 to 6 are faults of a row by itself; the others depend on what came before and are found where rows enter the graph.
"""

from __future__ import annotations

import math
from typing import Final

import numba

from events.frames import Array
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
DUPLICATE: Final = 9
LATE: Final = 10

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
