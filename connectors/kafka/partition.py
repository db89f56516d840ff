"""The partitions of the Kafka sink: each writes the frames of a shard, and finds out on resume what it has written."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from bytewax.outputs import StatefulSinkPartition
from confluent_kafka import KafkaError

from connectors.kafka.claims import At, Claim, claim, claims_of
from connectors.kafka.client import CLOSE_S, REACH_S, Connection, Within
from connectors.kafka.delivery import OVERHEAD_BYTES, Delivery
from connectors.kafka.names import shard_of
from connectors.kafka.newest import newest_message
from connectors.kafka.routes import Route
from connectors.kafka.standing import Standing, StandingState
from connectors.kafka.tail import ends_of, missing, scan
from connectors.kafka.wire import encode
from events.errors import RunError
from events.frames import Frame
from events.streams import Records

SinkState = tuple[tuple[tuple[str, int], ...], tuple[StandingState, ...]]
"""((topic, offset behind what is written), ...) and where each stream of each instrument stands."""

_LEFT_OUT: Final = -1
"""In place of the offset, of a topic that the settings have left out meanwhile."""
_FRAME_BYTES: Final = 1_000_000
"""What frames are cut to, though a topic may take more in one message."""
_CLAIM_S: Final = 6 * 3600.0
"""How often a claim is made anew: brokers forget committed offsets after some days."""


@dataclass
class Shared:
    """What the partitions of a sink share.

    Attributes:
        users: partitions that are open.
        away: whether the brokers did not answer when a partition was closed; the others do not ask them again.
    """

    connection: Connection
    routes: Mapping[str, Route]
    wire: str
    group: str
    run: str
    shards: int
    partitions: Mapping[str, int]
    limits: Mapping[str, int]
    own: Callable[[str], bool]
    make: Callable[[], Delivery]
    users: int = 0
    away: bool = False
    _delivery: Delivery | None = field(default=None, repr=False)

    @property
    def topics(self) -> list[str]:
        """The topics of what is not only the newest."""
        return sorted({route.topic for route in self.routes.values()})

    def delivery(self) -> Delivery:
        """The one producer."""
        if self._delivery is None:
            self._delivery = self.make()
        return self._delivery

    def release(self) -> None:
        """One user less; the last one closes the producer."""
        self.users -= 1
        if self.users == 0 and self._delivery is not None:
            self._delivery.close()
            self._delivery = None


class Lane:
    """A partition of a topic that is written."""

    def __init__(self, partition: int, end: int, delivery: Delivery) -> None:
        self.partition, self.end, self._delivery = partition, end, delivery

    def delivered(self, error: KafkaError | None, message: Any) -> None:
        """Hear what became of a message."""
        if error is not None:
            self._delivery.refuse(error, message)
        elif message.offset() >= self.end:
            self.end = message.offset() + 1


class KafkaPartition(StatefulSinkPartition[Frame, SinkState]):
    """Writes the frames of a shard's instruments."""

    def __init__(self, shared: Shared, shard: int, state: SinkState | None) -> None:
        offsets, standings = state if state is not None else ((), ())
        self._shared, self._shard = shared, shard
        self._offsets = dict(offsets)
        self._standings: dict[tuple[str, str], Standing] = {}
        for instrument, stream, handed, written, watermark, ids, control in standings:
            if stream in shared.routes:
                standing = Standing(handed, written, watermark, list(ids), list(control))
                self._standings[instrument, stream] = standing
        self._lanes: dict[str, Lane] = {}
        self._claims: dict[At, Claim] = {}
        self._fresh: dict[tuple[str, str], Standing] = {}
        self._most = {name: min(_FRAME_BYTES, max(1, limit - OVERHEAD_BYTES)) for name, limit in shared.limits.items()}
        self._failed = self._closed = self._sent = False
        self._claimed_s = 0.0
        shared.users += 1
        self._delivery = shared.delivery()
        try:
            mine = [topic for topic in shared.topics if shared.partitions[topic] == shared.shards]
            self._open([*mine, *(topic for topic in self._offsets if topic in shared.topics and topic not in mine)])
        except BaseException:
            shared.release()
            raise

    def write_batch(self, values: list[Frame]) -> None:
        """Send frames on their way; waits only while the queue is full."""
        with self._guard():
            for frame in values:
                route = self._shared.routes.get(frame.name)
                if route is not None:
                    self._write(frame, route)
            self._delivery.poll()

    def snapshot(self) -> SinkState:
        """Wait until all is written, then write what is the newest of each; where everything stands."""
        with self._guard():
            self._delivery.settle()
            if self._fresh:  # behind what it is the newest of, so that it is never ahead of that
                self._write_newest()
                self._delivery.settle()
            if time.monotonic() - self._claimed_s > _CLAIM_S:
                self._claim(self._claims, self._within)
        self._sent = False
        left_out = {topic: _LEFT_OUT for topic in self._offsets if topic not in self._shared.topics}
        offsets = left_out | {topic: lane.end for topic, lane in self._lanes.items()}
        return tuple(sorted(offsets.items())), tuple(one.state(*at) for at, one in self._standings.items())

    def close(self) -> None:
        """Say that the writer has ended, if it has done so in order; what it could not write is left to the resumed run."""
        if self._closed:
            return
        self._closed, shared = True, self._shared
        try:
            if not (self._failed or self._sent or shared.away):
                ended = {at: made._replace(end=self._lanes[at[0]].end) for at, made in self._claims.items()}
                self._claim(ended, lambda: CLOSE_S)
        except Exception:  # the engine aborts the process if one comes from here
            shared.away = True
        finally:
            shared.release()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._failed = True
            raise

    def _write(self, frame: Frame, route: Route) -> None:
        at = frame.instrument, frame.name
        lane = self._lanes.get(route.topic) or self._open([route.topic])[route.topic]  # knows what was written before
        standing = self._standings.get(at)
        if standing is None:
            standing = self._standings[at] = Standing()
        if isinstance(route.stream, Records):
            first, rest = 0, standing.rest_of_records(frame)
        else:
            first, rest = standing.rest(frame) or (0, None)
        if route.latest is not None and standing.newest is not None:
            self._fresh[at] = standing
        if rest is None:
            return
        self._sent = True
        for message in encode(rest, route.stream, first, self._shared.wire, self._most[route.topic]):
            self._delivery.send(route.topic, lane.partition, message, lane.delivered)

    def _write_newest(self) -> None:
        """Write the newest row of all streams that have a topic for it and have caught up with what was written before a kill."""
        for at, standing in list(self._fresh.items()):
            if not standing.caught_up:
                continue
            route = self._shared.routes[at[1]]
            assert route.latest is not None
            message = newest_message(*at, route.stream, standing.newest)
            lane = Lane(self._shard, 0, self._delivery)
            self._delivery.send(route.latest, self._shard, message, lane.delivered)
            standing.newest = None
            del self._fresh[at]

    def _open(self, topics: Collection[str]) -> dict[str, Lane]:
        """Begin to write topics: make sure that nobody else does, and find what was written behind the snapshot."""
        shared, to = self._shared, self._shared.connection
        places = {(topic, self._shard if shared.partitions[topic] > 1 else 0): topic for topic in topics}
        if not places:
            return self._lanes
        claims = claims_of(to, shared.group, places, self._within)
        spans: dict[At, tuple[int, int]] = {}
        cut: set[str] = set()
        for at, (low, high) in ends_of(to, list(places), self._within).items():
            claimed = claims.get(at)
            begin = self._begin(at, claimed, high)
            spans[at] = (max(begin, low), high if claimed is None or claimed.end is None else claimed.end)
            if low > begin:
                cut.add(at[0])
            self._claims[at] = Claim(shared.run, begin if claimed is None else claimed.begin)
            self._lanes[at[0]] = Lane(at[1], max(begin, high), self._delivery)
        self._claim(self._claims, self._within)
        for where, written in scan(to, shared.group, spans, self._own, self._within).items():
            if where[1] in shared.routes:
                standing = self._standings.setdefault(where, Standing())
                topic = shared.routes[where[1]].topic
                if topic in cut and written.first is not None:  # rows that retention has removed were written
                    standing.written = max(standing.written, written.first)
                if not standing.found(written):
                    raise missing(topic, *where, standing.written, written.first)
        return self._lanes

    def _begin(self, at: At, claimed: Claim | None, high: int) -> int:
        """The offset from which on messages of this run may be that its snapshot does not know of.

        Raises:
            RunError: somebody else writes there, or what was written is gone.
        """
        topic, partition = at
        known = self._offsets.get(topic)
        if claimed is not None and claimed.run != self._shared.run:
            raise RunError(
                f"Topic {topic}, partition {partition}, was written by another run ({claimed.run}) as {self._shared.group}; what "
                "this run writes could stand there twice. Go on with the directory of that run, or give another kafka.prefix and "
                "make its topics."
            )
        if known == _LEFT_OUT:
            raise RunError(
                f"Topic {topic} was left out for some time, so it lacks rows of this run. Leave it out of kafka.results, or start "
                "over in another directory under another kafka.prefix."
            )
        if known is not None and known > high:
            raise RunError(
                f"Topic {topic}, partition {partition}, ends at offset {high}, but this run has written up to {known}: it was "
                "removed or made anew since the run stopped. Start over in another directory."
            )
        if known is not None:
            return known
        return high if claimed is None else claimed.begin

    def _own(self, instrument: str) -> bool:
        return shard_of(instrument, self._shared.shards) == self._shard and self._shared.own(instrument)

    def _within(self) -> float:
        # an instrument may be the first of its shard, or a topic new, in the middle of a run that waits for its brokers
        return max(REACH_S, self._delivery.patience_s)

    def _claim(self, claims: Mapping[At, Claim], within: Within) -> None:
        claim(self._shared.connection, self._shared.group, claims, within)
        self._claimed_s = time.monotonic()
