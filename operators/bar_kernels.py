"""Kernels of time bars: trades into base bars, base bars into longer ones. One open bar of state each; sums run in row order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from events.frames import Array
from events.schema import FOLD_MISSING, FROM_OHLCV, GAP, NEVER, PARTIAL, SYNTHETIC, UNVERIFIED
from operators.maths import kernel

EXTRA = np.dtype(
    [
        ("active", "i8"),  # 1: there is an open bar
        ("begun", "i8"),  # 1: there has been a bar, so a previous close exists
        ("fills", "i8"),  # synthetic bars in a row
        ("jump", "i8"),  # the bar that follows the open one begins here: a hole lies between
        ("coverage", "i8"),  # the stream is complete from here, NEVER if nobody said
        ("parent_ts", "i8"),  # the taker order that the last trade belongs to
        ("parent_side", "i8"),
        ("parent_notional", "f8"),
        ("members", "i8"),  # of a fold: base bars so far
    ]
)
PAUSE = np.dtype([("since", "i8"), ("until", "i8")])


@kernel
def build(
    trades: Array,
    boundary: int,
    base_ns: int,
    max_fill: int,
    open_bar: Array,
    extra: Array,
    out: Array,
    pauses: Array,
) -> tuple[int, int]:
    """Feed trades, all of them certain, into the open bar; write every bar that closes by `boundary` to `out`.

    Gives (bars written, pauses written): a pause begins (until NEVER) after `max_fill` synthetic bars and ends with a trade.
    """
    bar, x = open_bar[0], extra[0]
    n, n_pauses, i, count = 0, 0, 0, len(trades)
    while True:
        now = trades[i].available_at if i < count else boundary
        while x.active and now >= bar.ts_close:
            if bar.n_trades == 0:
                bar.flags |= SYNTHETIC
            bar.signed_volume = bar.buy_volume - bar.sell_volume
            bar.vwap = bar.quote_volume / bar.volume if bar.volume > 0.0 else math.nan
            out[n] = bar
            n += 1
            x.fills = 0 if bar.n_trades else x.fills + 1
            ts_open, flags = bar.ts_close, 0
            if x.jump >= ts_open:
                ts_open, flags = x.jump, GAP
            x.jump = 0
            if ts_open < x.coverage:  # NEVER, where nobody said, is before all
                flags |= PARTIAL
            if x.fills >= max_fill:
                x.active, x.fills = 0, 0
                pauses[n_pauses].since, pauses[n_pauses].until = ts_open, NEVER
                n_pauses += 1
                bar.ts_open = ts_open  # where the pause began
            else:
                begin(bar, x, ts_open, base_ns, flags)
                bar.open = bar.high = bar.low = bar.close
        if i == count:
            return n, n_pauses
        if not x.active:
            ts_open = now // base_ns * base_ns
            if x.begun:
                pauses[n_pauses].since, pauses[n_pauses].until = bar.ts_open, ts_open
                n_pauses += 1
            partial = ts_open < x.coverage if x.coverage != NEVER else not x.begun
            begin(bar, x, ts_open, base_ns, PARTIAL if partial else 0)
            x.active = x.begun = 1
        if bar.n_trades == 0:
            bar.open = bar.high = bar.low = trades[i].price
            bar.ts_first = now
        high, low, close = bar.high, bar.low, bar.close
        volume, quote_volume, buy, sell = bar.volume, bar.quote_volume, bar.buy_volume, bar.sell_volume
        n_trades, n_buy, n_sell, largest = bar.n_trades, bar.n_buy, bar.n_sell, bar.max_trade
        parent_ts, parent_side, parent_notional = x.parent_ts, x.parent_side, x.parent_notional
        ts_close = bar.ts_close
        while i < count and trades[i].available_at < ts_close:
            at, price, qty, side = trades[i].available_at, trades[i].price, trades[i].qty, trades[i].side
            notional = price * qty
            high, low, close = max(high, price), min(low, price), price
            volume += qty
            quote_volume += notional
            if side > 0:
                buy += qty
                n_buy += 1
            elif side < 0:
                sell += qty
                n_sell += 1
            n_trades += 1
            parent_notional = parent_notional + notional if at == parent_ts and side == parent_side else notional
            parent_ts, parent_side = at, side
            if not largest >= parent_notional:  # also where it is NaN
                largest = parent_notional
            i += 1
        bar.high, bar.low, bar.close, bar.ts_last = high, low, close, trades[i - 1].available_at
        bar.volume, bar.quote_volume, bar.buy_volume, bar.sell_volume = volume, quote_volume, buy, sell
        bar.n_trades, bar.n_buy, bar.n_sell, bar.max_trade = n_trades, n_buy, n_sell, largest
        x.parent_ts, x.parent_side, x.parent_notional = parent_ts, parent_side, parent_notional


@kernel
def begin(bar: Any, x: Any, ts_open: int, length_ns: int, flags: int) -> None:
    """An empty bar at `ts_open`; prices are left as they were."""
    bar.ts_open, bar.ts_close, bar.available_at = ts_open, ts_open + length_ns, ts_open + length_ns
    bar.g, bar.flags = ts_open // length_ns, flags
    bar.volume = bar.quote_volume = bar.buy_volume = bar.sell_volume = bar.signed_volume = 0.0
    bar.n_trades = bar.n_buy = bar.n_sell = bar.n_missing = 0
    bar.vwap = bar.max_trade = math.nan
    bar.ts_first = bar.ts_last = NEVER
    x.members = 0


@kernel
def fold(bars: Array, boundary: int, base_ns: int, length_ns: int, open_bar: Array, extra: Array, out: Array) -> int:
    """Feed closed base bars into the open longer bar; write every bar that closes by `boundary` to `out`, and say how many.

    Prices come from members with trades, if there are any; a synthetic one after them has the last close for all its prices.
    """
    bar, x = open_bar[0], extra[0]
    n, expected = 0, length_ns // base_ns
    for i in range(len(bars) + 1):
        if x.active and (bars[i].ts_open if i < len(bars) else boundary) >= bar.ts_close:
            close_fold(bar, x, expected)
            out[n] = bar
            n += 1
            x.active = 0
        if i == len(bars):
            break
        part = bars[i]
        if not x.active:
            begin(bar, x, part.ts_open // length_ns * length_ns, length_ns, SYNTHETIC)
            x.active = 1
        if x.members == 0 or (bar.flags & SYNTHETIC and not part.flags & SYNTHETIC):
            bar.open, bar.high, bar.low = part.open, part.high, part.low
        bar.high, bar.low, bar.close = max(bar.high, part.high), min(bar.low, part.low), part.close
        bar.volume += part.volume
        bar.quote_volume += part.quote_volume
        bar.buy_volume += part.buy_volume
        bar.sell_volume += part.sell_volume
        if NEVER in (part.n_trades, bar.n_trades):
            bar.n_trades = bar.n_buy = bar.n_sell = NEVER
        else:
            bar.n_trades += part.n_trades
            bar.n_buy += part.n_buy
            bar.n_sell += part.n_sell
        if not bar.max_trade >= part.max_trade and not math.isnan(part.max_trade):
            bar.max_trade = part.max_trade
        if bar.ts_first == NEVER:
            bar.ts_first = part.ts_first
        if part.ts_last != NEVER:
            bar.ts_last = part.ts_last
        x.members += 1
        inherited = (bar.flags | part.flags) & (PARTIAL | GAP | FROM_OHLCV | UNVERIFIED)
        bar.flags = (bar.flags & part.flags & SYNTHETIC) | inherited
    return n


@kernel
def close_fold(bar: Any, x: Any, expected: int) -> None:
    """What a fold is only once it is complete, or flushed."""
    bar.signed_volume = bar.buy_volume - bar.sell_volume
    bar.vwap = bar.quote_volume / bar.volume if bar.volume > 0.0 else math.nan
    bar.n_missing = expected - x.members
    if 20 * bar.n_missing > expected:
        bar.flags |= FOLD_MISSING
