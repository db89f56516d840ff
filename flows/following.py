"""How far a process has come with what it reads from Kafka, and the status line that says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final

from connectors.exchange import Health, Standing
from connectors.kafka.inputs import MARKET, KafkaInputs
from connectors.kafka.names import shard_of
from connectors.kafka.source import Items, KafkaSource
from events.feeds import FEEDS, TRADES
from events.frames import Frame
from events.schema import NEVER
from events.times import SECOND_NS
from flows.tally import Tally

_OVER_S: Final = 2.0


class Following:
    """What has been read since the process was started; several flows may tell it at once, each of its own instruments.

    Args:
        inputs: all that is read in this process.

    Attributes:
        standings: how far the trades of each instrument have come.
        beside: how far its other streams have, by instrument and stream.
        recorded_ns: up to where each instrument was known from what was in the topic when the process was started.
        lags: takes (exchange, seconds from a trade to its receipt), of one of the newest trades of each batch.
        health: none: whoever ingests knows how exchanges are.
    """

    def __init__(self, inputs: KafkaInputs) -> None:
        self.standings = {instrument: Standing() for instrument in inputs.own}
        self.beside: dict[tuple[str, str], Standing] = {}
        self.recorded_ns: dict[str, int] = {}
        self.lags: Callable[[str, float], None] | None = None
        self.health: dict[str, Health] = {}
        self._shards = inputs.shards
        self._sources: list[KafkaSource] = []
        self._live: set[str] = set()

    def follow(self, source: KafkaSource) -> Callable[[Items], Items]:
        """What notes the batches of a source on their way, and passes them on as they are."""
        self._sources.append(source)

        def note(items: Items) -> Items:
            self._note(items)
            self._live |= source.caught_up  # which that batch has made it, so that it is not new itself
            return items

        return note

    def _note(self, items: Items) -> None:
        newest: Frame | None = None
        for instrument, frame in items:
            if frame.name not in FEEDS:
                continue
            standing = self._standing(instrument, frame.name)
            standing.passed(frame)
            if frame.name == TRADES:
                newest = frame if len(frame.rows) else newest
                if self._part(instrument) not in self._live:
                    self.recorded_ns[instrument] = standing.watermark_ns
        if newest is not None and self.lags is not None:
            received, at_ns = newest.rows[["ts_recv", "available_at"]][-1].item()
            if self.is_new(newest.instrument, at_ns):
                self.lags(newest.instrument.partition(":")[0], (received - at_ns) / SECOND_NS)

    def _part(self, instrument: str) -> str:
        """The source partition of an instrument."""
        return f"{MARKET}/{shard_of(instrument, self._shards)}"

    def _standing(self, instrument: str, stream: str) -> Standing:
        if stream == TRADES:
            return self.standings.get(instrument) or self.standings.setdefault(instrument, Standing())
        return self.beside.get((instrument, stream)) or self.beside.setdefault((instrument, stream), Standing())

    @property
    def rows(self) -> int:
        """How many trades were read."""
        return sum(standing.rows for standing in list(self.standings.values()))

    @property
    def behind(self) -> dict[tuple[str, int], int]:
        """Messages that wait to be read, by topic and partition."""
        return {at: n for source in self._sources for at, n in list(source.behind.items())}

    def is_new(self, instrument: str, at_ns: int) -> bool:
        """Whether what follows from the trades of an instrument at a time was not in the topic when the process was started."""
        return self._part(instrument) in self._live and at_ns > self.recorded_ns.get(instrument, NEVER)

    def now_ns(self, exchange: str) -> int:
        """The clock of this machine: that of an exchange is known to whoever ingests it."""
        return time.time_ns()


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
