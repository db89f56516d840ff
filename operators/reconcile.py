"""Bars made of trades, held against the venue's own klines: a report, never a repair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np

from events.feeds import CHECKS
from events.frames import Array, Rows, concat
from events.records import Reconcile, ReconcileCounts
from events.rows import BAR
from events.schema import END, FROM_OHLCV, GAP, NEVER, PARTIAL, SYNTHETIC
from events.times import DAY_NS, HOUR_NS

BARS: Final = "bars.1m"
DEFAULT_TICK: Final = 1e-8
_PRICES: Final = ("open", "high", "low", "close")
_VOLUME_SHARE: Final = 1e-3
_WAITS_NS: Final = DAY_NS
"""So long after its close a bar is kept for its kline, which a venue states late."""
_UNCOMPARED: Final = PARTIAL | GAP | FROM_OHLCV
_NONE: Final[tuple[int, ...]] = (0, 0, 0, 0)
_KEPT: Final = np.dtype([(name, BAR[name]) for name in ("ts_open", "ts_close", *_PRICES, "volume", "flags")])


class Reconciliation:
    """In: "check.1m", which drives, and "bars.1m". Out: "reconcile", a record for every field of a bar that differs from the
    venue's kline: by more than 1 tick in a price, by more than 0.1 % of the venue's in volume; "reconcile_counts", of each hour
    with klines and of what is left when they end.

    Bars that are partial or have a hole are not compared, and counted apart; nor are klines that became bars. A bar without a kline
    is none of its business. A kline without a bar is counted as alone where there are bars before and after it that have klines.
    A quiet minute is equal to a kline without volume.

    Source: file 01 sections 1 and 3.

    Args:
        ticks: price steps by instrument; 1e-8 of one that is not there.
    """

    outputs = ("reconcile", "reconcile_counts")

    def __init__(self, ticks: tuple[tuple[str, float], ...] = ()) -> None:
        self.instrument = ""
        self.ticks = dict(ticks)
        self.bars = np.empty(0, _KEPT)
        self.hour, self.counts = NEVER, _NONE
        self.skipped = NEVER  # klines without a bar since the last one with, NEVER before the first

    def promise(self, name: str, watermark: int) -> int:
        """Nothing: nobody waits for it."""
        return NEVER

    def advance(
        self, watermark: int, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> Iterable[tuple[str, Rows]]:
        """Compare the klines that are new."""
        if BARS in rows:
            new = np.empty(len(rows[BARS]), _KEPT)
            for name in _KEPT.names or ():
                new[name] = rows[BARS][name]
            self.bars = concat([self.bars, new]) if len(self.bars) else new
        found: list[Reconcile] = []
        told: list[ReconcileCounts] = []
        if CHECKS in rows:
            checks = rows[CHECKS]
            hours = -(-checks["available_at"] // HOUR_NS) * HOUR_NS
            cuts = [0, *(np.flatnonzero(np.diff(hours)) + 1).tolist(), len(checks)]
            for first, end in pairwise(cuts):
                told += self._close(int(hours[first]) - 1)
                self.hour = int(hours[first])
                found += self._compare(checks[first:end])
        if CHECKS in control:
            for ts in control[CHECKS]["available_at"][control[CHECKS]["kind"] == END].tolist():
                told += [*self._close(ts), *self._close(NEVER, ts)]
        told += self._close(watermark - 1)
        self.bars = self.bars[self.bars["ts_close"] >= watermark - _WAITS_NS]
        if found:
            yield "reconcile", tuple(found)
        if told:
            yield "reconcile_counts", tuple(told)

    def _close(self, reached: int, ended: int = NEVER) -> Iterator[ReconcileCounts]:
        """The counts of the hour if it is reached, or of its part until it ended."""
        if self.hour == NEVER or (reached < self.hour and ended == NEVER):
            return
        equal, different, flagged, alone = self.counts
        yield ReconcileCounts(
            key=self.instrument,
            ts=self.hour if ended == NEVER else ended,
            tf="1m",
            equal=equal,
            different=different,
            flagged=flagged,
            alone=alone,
        )
        self.hour, self.counts = NEVER, _NONE

    def _compare(self, checks: Array) -> Iterator[Reconcile]:
        bars = self.bars
        place = np.minimum(bars["ts_open"].searchsorted(checks["ts_open"]), len(bars) - 1)
        if len(bars):
            ours = bars[place]
            has = (ours["ts_open"] == checks["ts_open"]) & (checks["available_at"] - ours["ts_close"] <= _WAITS_NS)
        else:
            ours, has = np.zeros(len(checks), _KEPT), np.zeros(len(checks), np.bool_)
        flagged = has & (ours["flags"] & _UNCOMPARED > 0)
        quiet = (ours["flags"] & SYNTHETIC > 0) & (checks["volume"] == 0.0)
        tick = self.ticks.get(self.instrument, DEFAULT_TICK)
        differs = {
            name: np.abs(np.rint(ours[name] / tick) - np.rint(checks[name] / tick)) > 1.0 for name in _PRICES
        } | {"volume": np.abs(ours["volume"] - checks["volume"]) > _VOLUME_SHARE * checks["volume"]}
        compared = has & ~flagged
        different = compared & ~quiet & np.logical_or.reduce(list(differs.values()))
        new = (
            *(int(np.count_nonzero(which)) for which in (compared & ~different, different, flagged)),
            self._alone(np.flatnonzero(has), len(has)),
        )
        self.counts = tuple(old + more for old, more in zip(self.counts, new))
        for i in np.flatnonzero(different).tolist():
            for name, differ in differs.items():
                if differ[i]:
                    mine, theirs = float(ours[name][i]), float(checks[name][i])
                    yield Reconcile(
                        key=self.instrument,
                        ts=int(checks["available_at"][i]),
                        tf="1m",
                        ts_open=int(checks["ts_open"][i]),
                        field=name,
                        ours=mine,
                        venue=theirs,
                        difference=mine - theirs,
                    )

    def _alone(self, matched: Array, n: int) -> int:
        """How many of `n` klines, of which these have bars, turn out to be alone, or those before them did."""
        if not len(matched):
            self.skipped += n if self.skipped != NEVER else 0
            return 0
        first, last = int(matched[0]), int(matched[-1])
        inside = last - first + 1 - len(matched)
        before = self.skipped + first if self.skipped != NEVER else 0
        self.skipped = n - 1 - last
        return before + inside

    def snapshot(self) -> Any:
        """The bars that wait for their klines, and the counts of the hour."""
        return self.bars.tobytes(), self.hour, self.counts, self.skipped

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        bars, self.hour, self.counts, self.skipped = snapshot
        self.bars = np.frombuffer(bars, _KEPT)
