"""Time bars that go on from history: closed klines of every timeframe first, then bars of trades."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from events.feeds import FEEDS, PRELOAD, TRADES
from events.frames import NO_CONTROL, Array, Rows, concat
from events.rows import BAR
from events.schema import COVERAGE, NEVER, PARTIAL
from operators.bar_kernels import EXTRA, PAUSE, begin, fold
from operators.bars import Bars
from operators.klines import build_klines


class PreloadedBars(Bars):
    """In: "trades" and "preload". Out: as `Bars`; bars of klines come first, flagged FROM_OHLCV.

    The preload is the closed klines of all timeframes, and one statement, COVERAGE: `until` is where they end, `since` from when on
    trades are complete. Longer timeframes come from klines of their own length; only the interval that is open at the end of the
    preload is folded, from 1m klines and the bars of trades that follow. Klines from the first trade on are not used: a bar of
    trades wins.

    Args:
        timeframes: as for `Bars`.
        max_fill: as for `Bars`.
    """

    def __init__(self, timeframes: tuple[tuple[str, int], ...], max_fill: int) -> None:
        super().__init__(timeframes, max_fill)
        self.since = self.until = NEVER  # what was said, until trades have passed it
        self.past = [(np.zeros(1, BAR), np.zeros(1, EXTRA)) for _ in timeframes]  # the newest bar of klines

    def _boundary(self, watermark: int) -> int:
        """As `Bars`; a kline that closes at the watermark may still come."""
        return super()._boundary(watermark - (watermark <= self.until))

    def advance(
        self, watermark: int, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> Iterable[tuple[str, Rows]]:
        """Bars of klines; from where they end, build and fold."""
        for said in control.get(PRELOAD, NO_CONTROL):
            if said["kind"] == COVERAGE:
                self.since, self.until = int(said["since"]), int(said["until"])
        if self.until == NEVER:
            yield from super().advance(watermark, rows, control)
            return
        trades = rows.get(TRADES, FEEDS[TRADES].empty)
        if len(trades):
            self.until = min(self.until, int(trades["available_at"][0]) // self.base_ns * self.base_ns)
        boundary = min(self._boundary(watermark), self.until)
        past = self._past(rows.get(PRELOAD, FEEDS[PRELOAD].empty), boundary)
        if watermark > self.until:
            self._go_on()
            for name, made in super().advance(watermark, rows, control):
                yield name, concat([past.pop(name), made]) if len(past.get(name, ())) else made
        yield from past.items()

    def _past(self, klines: Array, boundary: int) -> dict[str, Array]:
        """The bars of klines that close by `boundary`, by stream; the open longer ones take them up."""
        out: dict[str, Array] = {}
        lengths = klines["available_at"] - klines["ts_open"]
        for k, (name, length) in enumerate(self.timeframes):
            own = klines[(lengths == length) & (klines["available_at"] <= boundary)]
            out[f"bars.{name}"] = self._bars(own, boundary // length * length, length, *self.past[k])
            if k > 0:
                base = out[f"bars.{self.timeframes[0][0]}"]
                closed = np.empty(self._span(base, boundary, length) + 1, BAR)
                fold(base, boundary, self.base_ns, length, self.open[k], self.extra[k], closed)
        return out

    def _bars(self, klines: Array, boundary: int, length: int, bar: Array, extra: Array) -> Array:
        """Bars of klines of one length; those that the venue left out are filled, as of a quiet market."""
        since = int(bar["ts_close"][0])
        if not extra["active"][0]:
            since = int(klines["ts_open"][0]) if len(klines) else boundary
        out = np.empty(min((boundary - since) // length, (len(klines) + 1) * (self.max_fill + 1)), BAR)
        pauses = np.empty(2 * len(klines) + 2, PAUSE)
        n, _ = build_klines(klines, boundary, length, self.max_fill, bar, extra, out, pauses)
        return out[:n]

    def _go_on(self) -> None:
        """Trades go on where klines end: the base bar is open from there."""
        (last, extra), x = self.past[0], self.extra[0]
        if extra["active"][0]:
            begin(last[0], x[0], self.until, self.base_ns, PARTIAL if self.until < self.since else 0)
            last["open"] = last["high"] = last["low"] = last["close"]
            x["active"] = x["begun"] = 1
            x["fills"] = extra["fills"]
            self.open[0] = last
        self.boundary, self.until = self.until, NEVER

    def snapshot(self) -> Any:
        """That of `Bars`, and how far the preload has come."""
        past = tuple((bar.tobytes(), extra.tobytes()) for bar, extra in self.past) if self.until != NEVER else ()
        return super().snapshot(), self.since, self.until, past

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        bars, self.since, self.until, past = snapshot
        super().restore(bars)
        if past:
            self.past = [(np.frombuffer(bar, BAR).copy(), np.frombuffer(extra, EXTRA).copy()) for bar, extra in past]
