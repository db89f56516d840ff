"""Memories that reach further back than the bars the runtime keeps, or take more of a bar than its prices and its volume.

Each gives the values of new bars and their statuses, the same however the bars are cut, and is part of the snapshot.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from events.frames import Array
from events.schema import COLD, MISSING, NEVER, SETTLED, WARMING
from events.times import DAY_NS, MINUTE_NS
from operators.indicators.volatility import realised_volatility
from operators.indicators.volume import RECENT_BARS, SLOT_DAYS, follow_day_vwap, follow_relative_volume


def _columns(bars: Array, *names: str) -> list[Array]:
    return [np.ascontiguousarray(bars[name]) for name in names]


VOLATILITY_BARS: Final = 60


class RelativeVolume:
    """Memory of `relative_volume`: one volume per bar of the last 7 days, and those of the last 30 bars.

    A value is settled from 7 days after the first bar on, warming before.
    """

    def __init__(self, timeframe_ns: int) -> None:
        self.timeframe_ns = timeframe_ns
        self.slots = np.full(max(SLOT_DAYS * DAY_NS // timeframe_ns, 1), np.nan)
        self.recent = np.full(RECENT_BARS, np.nan)
        self.mark = np.array([NEVER, 0], np.int64)
        self.first_ns = NEVER

    def advance(self, bars: Array) -> tuple[Array, Array, list[tuple[int, str]]]:
        """rvol, and its status; nothing fails."""
        if self.first_ns == NEVER:
            self.first_ns = int(bars["ts_open"][0])
        cold = RECENT_BARS - int(self.mark[1])
        g, volume, flags = _columns(bars, "g", "volume", "flags")
        values = follow_relative_volume(g, volume, flags, self.timeframe_ns, self.slots, self.recent, self.mark)
        ready = np.where(bars["ts_open"] - self.first_ns >= SLOT_DAYS * DAY_NS, SETTLED, WARMING)
        absent = np.where(np.arange(len(bars)) < cold, COLD, MISSING)
        return values[:, None], np.where(np.isnan(values), absent, ready)[:, None], []

    def settled_from(self, g: Array) -> Array:
        """7 days before, and the bars that stand in for days without trades."""
        return g - max(-(-SLOT_DAYS * DAY_NS // self.timeframe_ns), RECENT_BARS)

    def snapshot(self) -> Any:
        """The volumes, oldest use first."""
        return self.slots.tobytes(), self.recent.tobytes(), tuple(self.mark.tolist()), self.first_ns

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        slots, recent, mark, self.first_ns = snapshot
        self.slots, self.recent = np.frombuffer(slots).copy(), np.frombuffer(recent).copy()
        self.mark = np.array(mark, np.int64)


class RealisedVolatility:
    """Memory of `realised_volatility`, which asks for the length of a bar: the closes of its window, settled once it is whole."""

    def __init__(self, timeframe_ns: int) -> None:
        self.minutes = timeframe_ns / MINUTE_NS
        self.closes = np.empty(0)

    def advance(self, bars: Array) -> tuple[Array, Array, list[tuple[int, str]]]:
        """rv_60, and its status; nothing fails."""
        closes = np.concatenate([self.closes, bars["close"]])
        values = realised_volatility(closes, self.minutes, VOLATILITY_BARS)[len(self.closes) :]
        self.closes = closes[-VOLATILITY_BARS:].copy()
        return values[:, None], np.where(np.isnan(values), COLD, SETTLED)[:, None], []

    def settled_from(self, g: Array) -> Array:
        """The first close of the window."""
        return g - VOLATILITY_BARS

    def snapshot(self) -> Any:
        """The closes."""
        return self.closes.tobytes()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.closes = np.frombuffer(snapshot).copy()


class DayVwap:
    """Memory of `day_vwap`: the sums of the running UTC day. Values of a day that was not seen from its start are warming."""

    def __init__(self, timeframe_ns: int) -> None:
        self.timeframe_ns = timeframe_ns
        self.state = np.full(5, np.nan)
        self.first_ns = NEVER

    def advance(self, bars: Array) -> tuple[Array, Array, list[tuple[int, str]]]:
        """vwap_d and vwap_band, and their statuses; nothing fails."""
        if self.first_ns == NEVER:
            self.first_ns = int(bars["ts_open"][0])
        ts_open, high, low, close, vwap, volume = _columns(bars, "ts_open", "high", "low", "close", "vwap", "volume")
        values = np.stack(follow_day_vwap(ts_open, high, low, close, vwap, volume, self.state), axis=1)
        ready = np.where(bars["ts_open"] // DAY_NS * DAY_NS >= self.first_ns, SETTLED, WARMING)
        return values, np.where(np.isnan(values), MISSING, ready[:, None]), []

    def settled_from(self, g: Array) -> Array:
        """The first bar of the day."""
        return g * self.timeframe_ns // DAY_NS * DAY_NS // self.timeframe_ns

    def snapshot(self) -> Any:
        """The day's sums."""
        return tuple(self.state.tolist()), self.first_ns

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        state, self.first_ns = snapshot
        self.state = np.array(state)
