"""Passes over rows that numpy would make once per field."""

from __future__ import annotations

import numba
import numpy as np

from connectors.files.values import Integers, Mask
from events.frames import Array
from events.rows import TRADE
from events.validation import trade_fault


@numba.njit(cache=True)
def _fill(rows, keys, last, time_ns, recv_ns, trade_id, seq, price, qty, side, flags):  # type: ignore[no-untyped-def]
    fault = -1
    for i in range(len(rows)):
        rows[i].available_at = time_ns[i]
        rows[i].ts_recv = recv_ns[i] if recv_ns[i] >= 0 else time_ns[i]
        rows[i].seq = seq[i]
        rows[i].trade_id = trade_id[i]
        rows[i].price = price[i]
        rows[i].qty = qty[i]
        rows[i].side = side[i]
        rows[i].flags = flags[i]
        last = max(last, time_ns[i])
        keys[i] = last
        if fault < 0 and trade_fault(price[i], qty[i], side[i], flags[i]):
            fault = i
    return fault


@numba.njit(cache=True)
def _in_order(rows, keys):  # type: ignore[no-untyped-def]
    for i in range(1, len(rows)):
        if keys[i] < keys[i - 1]:
            return False
        if keys[i] == keys[i - 1]:
            late, late_before = rows[i].available_at < keys[i], rows[i - 1].available_at < keys[i]
            if late < late_before or (not late and not late_before and rows[i].seq < rows[i - 1].seq):
                return False
    return True


def fill(
    last_ns: int,
    time_ns: Integers,
    recv_ns: Integers,
    trade_id: Integers,
    seq: Integers,
    *,
    price: Array,
    qty: Array,
    side: Array,
    flags: Array,
) -> tuple[Array, Integers, int]:
    """TRADE rows of these columns; their keys; the position of the first that is refused by itself, -1 if none is.

    Args:
        last_ns: the key of the row before.
        time_ns: times of the trades.
        recv_ns: times of reading, negative where there is none.
        trade_id: ids.
        seq: what breaks ties.
        price: prices.
        qty: quantities.
        side: taker sides.
        flags: flags.
    """
    rows, keys = np.empty(len(time_ns), TRADE), np.empty(len(time_ns), np.int64)
    columns = (time_ns, recv_ns, trade_id, seq, price, qty, side, flags)
    fault = _fill(rows, keys, last_ns, *map(_read_only, columns))
    return rows, keys, int(fault)


def in_order(rows: Array, keys: Integers) -> Array:
    """Rows by key; those of one key by `seq`, then those that are late in their file (below the key), as they come."""
    if _in_order(_read_only(rows), _read_only(keys)):
        return rows
    late: Mask = rows["available_at"] < keys
    ordered: Array = rows[np.lexsort((np.where(late, 0, rows["seq"]), late, keys))]
    return ordered


def _read_only(array: Array) -> Array:
    """A view that cannot be written: kernels are compiled once for each kind of array, and so there is one kind."""
    view = np.ascontiguousarray(array)[:]
    view.flags.writeable = False
    return view
