"""Time bars of klines: closed 1m klines as base bars, longer ones folded from them as those of trades are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from events.feeds import KLINES
from events.frames import Array
from events.rows import BAR
from events.schema import FROM_OHLCV, NEVER, SYNTHETIC
from operators.bar_kernels import PAUSE, begin
from operators.bars import Bars
from operators.maths import kernel


@kernel
def _unknown(bar: Any) -> None:
    """What a kline does not say."""
    bar.buy_volume = bar.sell_volume = bar.signed_volume = bar.max_trade = math.nan
    bar.n_trades = bar.n_buy = bar.n_sell = NEVER
    bar.flags |= FROM_OHLCV


@kernel
def build_klines(
    klines: Array,
    boundary: int,
    base_ns: int,
    max_fill: int,
    last_bar: Array,
    extra: Array,
    out: Array,
    pauses: Array,
) -> tuple[int, int]:
    """Write a base bar for every kline, and for the minutes without one before it, or before `boundary`, to `out`.

    `last_bar` is the bar written last, or one whose close is where a pause began. Gives (bars written, pauses written): a pause
    begins (until NEVER) where `max_fill` synthetic bars were not enough, and ends with a kline.
    """
    bar, x = last_bar[0], extra[0]
    n, n_pauses, i, count = 0, 0, 0, len(klines)
    while True:
        now = klines[i].ts_open if i < count else boundary
        while x.active and bar.ts_close < now:
            if x.jump > bar.ts_close:  # a hole: what lies in it is not made up
                bar.ts_close, x.jump = x.jump, 0
            elif x.fills >= max_fill:
                x.active, x.fills = 0, 0
                pauses[n_pauses].since, pauses[n_pauses].until = bar.ts_close, NEVER
                n_pauses += 1
            else:
                nothing = 0.0 * bar.quote_volume  # NaN where the venue does not give it
                begin(bar, x, bar.ts_close, base_ns, SYNTHETIC)
                _unknown(bar)
                bar.open = bar.high = bar.low = bar.close
                bar.quote_volume = nothing
                x.fills += 1
                out[n] = bar
                n += 1
        if i == count:
            return n, n_pauses
        if not x.active and x.begun:
            pauses[n_pauses].since, pauses[n_pauses].until = bar.ts_close, now
            n_pauses += 1
        x.active, x.begun, x.fills, x.jump = 1, 1, 0, 0
        begin(bar, x, now, base_ns, 0)
        _unknown(bar)
        bar.open, bar.high, bar.low, bar.close = klines[i].open, klines[i].high, klines[i].low, klines[i].close
        bar.volume, bar.quote_volume = klines[i].volume, klines[i].quote_volume
        if bar.volume > 0.0:
            bar.vwap = bar.quote_volume / bar.volume
        out[n] = bar
        n += 1
        i += 1


class KlineBars(Bars):
    """In: "klines.1m". Out: the streams of `Bars`, flagged FROM_OHLCV: counts are null, signed volumes and the largest trade NaN,
    quote volume and vwap NaN unless the venue gives them.

    A kline is whole, so no bar is partial. A minute without one is filled like a quiet one, at most `max_fill` in a row. A kline
    is available at its close, so a bar is certain once the watermark is past its close, not at it.

    Args:
        timeframes: as for `Bars`.
        max_fill: as for `Bars`.
    """

    source = KLINES

    def _boundary(self, watermark: int) -> int:
        return (watermark - 1) // self.base_ns * self.base_ns

    def _within(self, klines: Array, boundary: int) -> bool:
        return not len(klines)  # between two boundaries there is none

    def _build(self, klines: Array, boundary: int, holes: list[tuple[int, int]]) -> tuple[Array, Array]:
        out = np.empty(self._most(klines, boundary, len(holes)), BAR)
        pauses = np.empty(2 * (len(klines) + len(holes) + 1), PAUSE)
        bar, extra, n, p, at = self.open[0], self.extra[0], 0, 0, 0
        for since, until in holes:
            end = int(klines["available_at"].searchsorted(since, side="right"))
            part = since // self.base_ns * self.base_ns
            more, paused = build_klines(
                klines[at:end], part, self.base_ns, self.max_fill, bar, extra, out[n:], pauses[p:]
            )
            n, p, at = n + more, p + paused, end
            if extra["active"][0]:
                extra["jump"] = (until - 1) // self.base_ns * self.base_ns
        more, paused = build_klines(klines[at:], boundary, self.base_ns, self.max_fill, bar, extra, out[n:], pauses[p:])
        return out[: n + more], pauses[: p + paused]

    def _most(self, klines: Array, boundary: int, holes: int) -> int:
        if boundary <= self.boundary:
            return 0
        by_rows = (len(klines) + holes + 1) * (self.max_fill + 1)
        since = int(self.open[0]["ts_close"][0])
        if not self.extra[0]["begun"][0]:
            since = int(klines["ts_open"][0]) if len(klines) else boundary
        return min(by_rows, max(0, boundary - since) // self.base_ns)
