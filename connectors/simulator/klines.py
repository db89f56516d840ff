"""Trades folded to klines: rows of a minute or longer, only where there were trades; `filled` adds the empty ones."""

from __future__ import annotations

from typing import Final

import numpy as np

from events.frames import Array

KLINE: Final = np.dtype(
    [
        ("ts_open", "i8"),
        ("open", "f8"),
        ("high", "f8"),
        ("low", "f8"),
        ("close", "f8"),
        ("volume", "f8"),
        ("quote_volume", "f8"),
        ("buy_volume", "f8"),  # of takers who bought
        ("buy_quote_volume", "f8"),
        ("trades", "i8"),
        ("first_id", "i8"),
        ("last_id", "i8"),
    ]
)
_SUMS: Final = ("volume", "quote_volume", "buy_volume", "buy_quote_volume", "trades")


def of_trades(rows: Array, interval_ns: int) -> Array:
    """KLINE rows of TRADE rows, by time.

    >>> from events.rows import TRADE
    >>> rows = np.zeros(3, TRADE)
    >>> rows["available_at"], rows["price"], rows["qty"], rows["side"] = [0, 1, 60], [10.0, 11.0, 12.0], 2.0, [1, -1, 1]
    >>> made = of_trades(rows, 60)
    >>> made["ts_open"].tolist(), made["close"].tolist(), made["volume"].tolist(), made["buy_volume"].tolist()
    ([0, 60], [11.0, 12.0], [4.0, 2.0], [2.0, 2.0])
    """
    price, qty, bought = rows["price"].copy(), rows["qty"].copy(), rows["side"] > 0
    ids, quote = rows["trade_id"], price * qty
    sums = (qty, quote, qty * bought, quote * bought, np.ones(len(rows), np.int64))
    return _fold(rows["available_at"], (price, price, price, price), sums, (ids, ids), interval_ns)


def folded(rows: Array, interval_ns: int) -> Array:
    """KLINE rows of shorter KLINE rows."""
    prices = tuple(rows[name] for name in ("open", "high", "low", "close"))
    sums = tuple(rows[name] for name in _SUMS)
    return _fold(rows["ts_open"], prices, sums, (rows["first_id"], rows["last_id"]), interval_ns)


def _fold(
    times: Array, prices: tuple[Array, ...], sums: tuple[Array, ...], ids: tuple[Array, Array], interval_ns: int
) -> Array:
    """KLINE rows of columns by time; prices are open, high, low and close, ids the first and the last."""
    if not len(times):
        return np.zeros(0, KLINE)
    opens = times // interval_ns * interval_ns
    starts = np.flatnonzero(np.diff(opens, prepend=opens[0] - 1))
    ends = np.append(starts[1:], len(times)) - 1
    out = np.zeros(len(starts), KLINE)
    opened, high, low, close = prices
    out["ts_open"], out["open"], out["close"] = opens[starts], opened[starts], close[ends]
    out["first_id"], out["last_id"] = ids[0][starts], ids[1][ends]
    out["high"], out["low"] = np.maximum.reduceat(high, starts), np.minimum.reduceat(low, starts)
    for name, values in zip(_SUMS, sums):
        out[name] = np.add.reduceat(values, starts)
    return out


def filled(rows: Array, first_open: int, end: int, interval_ns: int, before: float) -> Array:
    """Every interval that opens in `[first_open, end)`: an empty one is flat at the last price, which was `before` at first."""
    opens = np.arange(first_open, end, interval_ns)
    out = np.zeros(len(opens), KLINE)
    out["ts_open"] = opens
    out[(rows["ts_open"] - first_open) // interval_ns] = rows
    there = out["trades"] > 0
    last = np.maximum.accumulate(np.where(there, np.arange(len(out)), -1)) if len(out) else there
    flat = np.where(last >= 0, out["close"][last], before)
    for column in ("open", "high", "low", "close"):
        out[column] = np.where(there, out[column], flat)
    out["first_id"][~there] = out["last_id"][~there] = -1
    return out
