"""What has left the graph of a live run since it was started: counted a frame at a time, for the status line and for metrics."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, Final

from events.frames import Frame
from events.records import ComponentStatus, DeadLetter, Outcome, Reconcile, Signal
from events.schema import FROM_OHLCV, GAP, GAP_REASON_NAMES, NEVER, PARTIAL, SYNTHETIC, UNVERIFIED
from events.times import SECOND_NS

BAR_KINDS: Final = {
    FROM_OHLCV: "from_ohlcv",
    GAP: "gap",
    PARTIAL: "partial",
    UNVERIFIED: "unverified",
    SYNTHETIC: "synthetic",
    0: "real",
}
"""A bar is counted as the first of these that its flags say."""


class Tally:
    """A watcher of a live run, or of several shards of one, each in a thread.

    Attributes:
        bars: how many, by (timeframe, kind).
        gaps, gap_seconds: how many, and how long those were whose length is known, by (exchange, reason).
        dead_letters: how many, by (step, reason).
        differences: fields of bars that differ from the venue's klines, by (exchange, field).
        signals: how many, by (side, regime).
        closed: signals that ended, by how.
        changes: of states, by (component, new state).
    """

    def __init__(self) -> None:
        self._one = threading.Lock()
        self.bars: Counter[tuple[str, str]] = Counter()
        self.gaps: Counter[tuple[str, str]] = Counter()
        self.gap_seconds: dict[tuple[str, str], float] = {}
        self.dead_letters: Counter[tuple[str, str]] = Counter()
        self.differences: Counter[tuple[str, str]] = Counter()
        self.signals: Counter[tuple[str, str]] = Counter()
        self.closed: Counter[str] = Counter()
        self.changes: Counter[tuple[str, str]] = Counter()

    def __call__(self, frame: Frame) -> None:
        """Count the rows of a frame."""
        with self._one:
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        name, rows = frame.name, frame.rows
        if name.startswith("bars.") and not name.startswith("bars.open."):
            self._count_bars(name.removeprefix("bars."), rows["flags"])
        elif name in ("gaps", "gaps.book"):
            self._count_gaps(frame.instrument.partition(":")[0], rows)
        elif isinstance(rows, tuple):
            for record in rows:
                self._count(record)

    def _count_bars(self, timeframe: str, flags: Any) -> None:
        for flag, n in Counter(flags.tolist()).items():
            kind = next(kind for bit, kind in BAR_KINDS.items() if flag & bit or not bit)
            self.bars[timeframe, kind] += n

    def _count_gaps(self, exchange: str, rows: Any) -> None:
        for since, until, reason in rows[["since", "until", "reason"]].tolist():
            at = exchange, GAP_REASON_NAMES[reason]
            self.gaps[at] += 1
            lasted_s = 0.0 if NEVER in (since, until) else (until - since) / SECOND_NS
            self.gap_seconds[at] = self.gap_seconds.get(at, 0.0) + lasted_s

    def _count(self, record: Any) -> None:
        match record:
            case Signal():
                self.signals[record.side, record.regime or ""] += 1
            case Outcome():
                self.closed[record.exit_reason] += 1
            case DeadLetter():
                self.dead_letters[record.step, record.reason] += 1
            case Reconcile():
                self.differences[record.key.partition(":")[0], record.field] += 1
            case ComponentStatus():
                self.changes[record.component, record.new] += 1
