"""Time bars that go on from history: closed klines of every timeframe first, then bars of trades."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from events.feeds import FEEDS, PRELOAD, TRADES
from events.frames import NO_CONTROL, Array, Rows, concat
from events.rows import BAR
from events.schema import COVERAGE, NEVER, PARTIAL
from operators.bar_kernels import EXTRA, PAUSE, begin, fold
from operators.bars import Bars
from operators.klines import build_klines

_NO_KLINES: Final = FEEDS[PRELOAD].empty


class PreloadedBars(Bars):
    """In: "trades" and "preload". Out: as `Bars`; bars of klines come first, flagged FROM_OHLCV.

    The preload is the closed klines of all timeframes, and one statement, COVERAGE: `until` is where they end, `since` from when on
    trades are complete. Its stream then says nothing more. Longer timeframes come from klines of their own length; only the
    interval that is open at the end of the preload is folded, from 1m klines and the bars of trades that follow. Klines from the
    first trade on are not used: a bar of trades wins. Nothing leaves before the trades' watermark has passed the preload's end.

    Args:
        timeframes: as for `Bars`.
        max_fill: as for `Bars`.
    """

    def __init__(self, timeframes: tuple[tuple[str, int], ...], max_fill: int) -> None:
        super().__init__(timeframes, max_fill)
        self.until = self.since = NEVER  # what was said of a preload that has not left
        self.klines = _NO_KLINES

    def promise(self, name: str, watermark: int) -> int:
        """As `Bars`, and nothing while the preload has not left."""
        return NEVER if self.until != NEVER else super().promise(name, watermark)

    def advance(
        self, watermark: int, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> Iterable[tuple[str, Rows]]:
        """Bars of klines, then build and fold."""
        for said in control.get(PRELOAD, NO_CONTROL):
            if said["kind"] == COVERAGE:
                self.since, self.until = int(said["since"]), int(said["until"])
        if PRELOAD in rows:
            self.klines = concat([self.klines, rows[PRELOAD]])
        past: dict[str, Array] = {}
        if self.until != NEVER:
            trades = rows.get(TRADES, FEEDS[TRADES].empty)
            if len(trades):
                self.until = min(self.until, int(trades["available_at"][0]) // self.base_ns * self.base_ns)
            if watermark <= self.until:
                return
            past = self._begin()
        for name, made in super().advance(watermark, rows, control):
            before = past.pop(name, made[:0])
            yield name, concat([before, made]) if len(before) else made
        yield from past.items()

    def _begin(self) -> dict[str, Array]:
        """The bars of the preload, by stream; the bars that are open where it ends are open from here on."""
        klines, until, out = self.klines, self.until, {}
        lengths = klines["available_at"] - klines["ts_open"]
        base = np.empty(0, BAR)
        for k, (name, length) in enumerate(self.timeframes):
            own = klines[(lengths == length) & (klines["available_at"] <= until)]
            bar, extra = np.zeros(1, BAR), np.zeros(1, EXTRA)
            out[f"bars.{name}"] = bars = self._bars(own, until // length * length, length, bar, extra)
            if k == 0:
                base = bars
                if extra["active"][0]:
                    self._open(bar, extra)
            else:
                members = base[base["ts_open"] >= until // length * length]
                fold(members, until, self.base_ns, length, self.open[k], self.extra[k], np.empty(1, BAR))
        self.boundary, self.until, self.klines = until, NEVER, _NO_KLINES
        return out

    def _bars(self, klines: Array, boundary: int, length: int, bar: Array, extra: Array) -> Array:
        """Bars of klines of one length; those that the venue left out are filled, as of a quiet market."""
        if not len(klines):
            return np.empty(0, BAR)
        most = (boundary - int(klines["ts_open"][0])) // length
        out = np.empty(min(most, (len(klines) + 1) * (self.max_fill + 1)), BAR)
        pauses = np.empty(2 * len(klines) + 2, PAUSE)
        n, _ = build_klines(klines, boundary, length, self.max_fill, bar, extra, out, pauses)
        return out[:n]

    def _open(self, last: Array, extra: Array) -> None:
        """The base bar that trades go on with: it follows the last one of klines."""
        self.open[0], x = last, self.extra[0]
        begin(last[0], x[0], self.until, self.base_ns, PARTIAL if self.until < self.since else 0)
        last["open"] = last["high"] = last["low"] = last["close"]
        x["active"] = x["begun"] = 1
        x["fills"] = extra["fills"]

    def snapshot(self) -> Any:
        """That of `Bars`, and the preload until it has left."""
        return super().snapshot(), self.since, self.until, self.klines

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        bars, self.since, self.until, self.klines = snapshot
        super().restore(bars)
