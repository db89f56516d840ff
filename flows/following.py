"""How far a process has come with what it reads from Kafka, and the status line that says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from connectors.exchange import Health, Standing
from events.feeds import FEEDS, TRADES
from events.schema import NEVER
from events.times import SECOND_NS
from flows.tally import Tally

_OVER_S: Final = 2.0


class Following:
    """What has been read since the process was started, by instrument; several flows may tell it at once, each of its own instruments.

    Args:
        inputs: all that is read in this process.
        clock_ns: the time, in ns since 1970.

    Attributes:
        standings: how far the trades of each instrument have come.
        beside: how far its other streams have, by instrument and stream.
        lags: takes (exchange, seconds from a trade to its receipt), of one of the newest trades of each batch.
        behind: messages that wait to be read, by topic and partition.
        health: none: whoever ingests knows how exchanges are.
    """

    def __init__(self, inputs: KafkaInputs, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.standings = {instrument: Standing() for instrument in inputs.own}
        self.beside: dict[tuple[str, str], Standing] = {}
        self.lags: Callable[[str, float], None] | None = None
        self.behind: dict[tuple[str, int], int] = {}
        self.health: dict[str, Health] = {}
        self._clock_ns = clock_ns
        self._began_ns = clock_ns()

    def __call__(self, items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Take note of frames that are handed out; the same frames."""
        newest = None
        for instrument, frame in items:
            if frame.name == TRADES:
                standing = self.standings.get(instrument) or self.standings.setdefault(instrument, Standing())
                newest = frame if len(frame.rows) else newest
            elif frame.name in FEEDS:
                at = instrument, frame.name
                standing = self.beside.get(at) or self.beside.setdefault(at, Standing())
            else:
                continue
            standing.passed(frame)
        if newest is not None and self.lags is not None:
            received, at_ns = newest.rows[["ts_recv", "available_at"]][-1].item()
            if self.is_new(newest.instrument, at_ns):
                self.lags(newest.instrument.partition(":")[0], (received - at_ns) / SECOND_NS)
        return items

    @property
    def rows(self) -> int:
        """How many trades were read."""
        return sum(standing.rows for standing in list(self.standings.values()))

    def is_new(self, instrument: str, at_ns: int) -> bool:
        """Whether what follows from the trades of an instrument at a time came after the process was started."""
        return at_ns > self._began_ns

    def now_ns(self, exchange: str) -> int:
        """The clock of this machine: that of an exchange is known to whoever ingests it."""
        return self._clock_ns()


class KafkaStatus:
    """The status line of a live run on Kafka.

    Args:
        following: what has been read.
        tally: what has left the graphs.
        shards: those that run in this process.
        clock_s: seconds that only grow.
        over_s: the rate is over at least so many seconds.
    """

    def __init__(
        self,
        following: Following,
        tally: Tally,
        shards: Collection[int],
        clock_s: Callable[[], float] = time.monotonic,
        over_s: float = _OVER_S,
    ) -> None:
        self._following, self._tally, self._clock_s, self._over_s = following, tally, clock_s, over_s
        self._shards = f"shard{'s' * (len(shards) != 1)} {', '.join(map(str, sorted(shards)))}"
        self._began, self._rate = (clock_s(), 0), 0.0

    def line(self) -> str:
        """Trades read, trades a second, the age of the newest, rows beside trades, bars, signals and gaps, and how many messages
        wait in the topics.
        """
        following, tally = self._following, self._tally
        beside = sum(standing.rows for standing in list(following.beside.values()))
        said = [
            f"{following.rows:,} trades, {self._rate_now():,.0f}/s, lag {self._lag()}",
            *[f"{beside:,} rows beside"] * bool(following.beside),
            f"{sum(tally.bars.values()):,} bars",
            f"{sum(tally.signals.values()):,} signals",
            f"{sum(tally.gaps.values()):,} gaps",
        ]
        waiting = sum(following.behind.values())
        return f"{', '.join(said)}; {self._shards}: {waiting:,} message{'s' * (waiting != 1)} behind"

    def _rate_now(self) -> float:
        """Trades a second since the last measurement that is old enough."""
        now_s, rows = self._clock_s(), self._following.rows
        began_s, before = self._began
        if now_s - began_s >= self._over_s:
            self._rate, self._began = (rows - before) / (now_s - began_s), (now_s, rows)
        return self._rate

    def _lag(self) -> str:
        """How old the newest trade is."""
        newest_ns = max((standing.newest_ns for standing in list(self._following.standings.values())), default=NEVER)
        if newest_ns == NEVER:
            return "-"
        return f"{max(0, self._following.now_ns('') - newest_ns) / SECOND_NS:.1f} s"
