"""Kafka as a source of the engine: a partition of a topic is a partition of the source."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.kafka.client import CLOSE_S, Connection
from connectors.kafka.foreign import ForeignTrades
from connectors.kafka.health import KafkaHealth
from connectors.kafka.parts import Part, apart, joined, parts_of
from connectors.kafka.poison import dead_letter
from connectors.kafka.reader import Reader
from connectors.kafka.undecodable import Undecodable
from connectors.kafka.wire import MARKET
from connectors.tape.batches import opened
from events.errors import InputError, RunError
from events.frames import Frame
from events.streams import Columns

Items = list[tuple[str, Frame]]
Places = dict[tuple[str, str], int]

KafkaState = tuple[str, int, bool, tuple[str, ...], Places]
"""(topic, offset after the last message handed out, whether retention had removed some before the first one, the instruments that
have begun since then, and how many rows of each stream of each instrument there are before that offset)."""

_IDLE: Final = timedelta(milliseconds=5)
_LOOK_S: Final = 0.2
_MOST: Final = 500
_BATCH_BYTES: Final = 8 << 20
_UNREAD: Final = 100


class Reading(NamedTuple):
    """A topic, as a source reads it.

    Attributes:
        topic: its name.
        shards: how many partitions it has.
        partitions: those that are read.
        streams: what rows its streams have.
        others: whether it has streams beside these, which are passed over unread.
        lacking: the streams of the run that an instrument does not have, where there are any.
        preloaded: whether instruments begin with a preload.
        foreign: the instruments of a topic that another program writes: its messages are trades in ccxt's unified JSON.
    """

    topic: str
    shards: int
    partitions: tuple[int, ...]
    streams: Mapping[str, Columns] = MARKET
    others: bool = False
    lacking: Mapping[str, frozenset[str]] = {}
    preloaded: bool = False
    foreign: tuple[str, ...] = ()


class KafkaSource(FixedPartitionedSource[tuple[str, Frame], KafkaState]):
    """Frames of topics. The messages that are there are read many at a time, and make a frame an instrument and stream.

    What cannot be read becomes a dead letter with its topic, partition and offset (stream `dead_letters`), and states of
    connections are rows of `components`; both go past the graph, since they are not of the market. Rows that a writer repeated are
    left out, by their number; rows that are missing stop the run. Offsets are committed to the group as well, for tools that show
    its lag; what a run goes on from is its recovery store.

    Args:
        connection: to the brokers.
        readings: by a name, which is the first part of the names of source partitions, such as "market" of "market/3".
        tail: whether to wait for more at the end; else the run ends where the partitions ended when it began.

    Attributes:
        stopping: set it to end the source; a run can go on later as if it had never stopped.
        behind: messages that wait to be read, by topic and partition.
        caught_up: the source partitions that have handed out what was there when they began.
        away: whether the brokers did not answer when a partition was closed; the others do not wait for them again.
    """

    def __init__(self, connection: Connection, readings: Mapping[str, Reading], tail: bool = True) -> None:
        self.connection, self.readings, self.tail = connection, readings, tail
        self.stopping = threading.Event()
        self.behind: dict[tuple[str, int], int] = {}
        self.caught_up: set[str] = set()
        self.away = False

    def list_parts(self) -> list[str]:
        """One for each partition that is read."""
        return [f"{name}/{number}" for name, reading in self.readings.items() for number in reading.partitions]

    def build_part(self, step_id: str, for_part: str, resume_state: KafkaState | None) -> KafkaPartition:
        """The partition, from the oldest message on or from where a run stopped.

        Raises:
            InputError: the brokers cannot be reached, the topic is missing or may not be read, it has another number of
                partitions than it had, or what comes next is not there any more.
            RunError: the state is of another topic.
            SettingsError: the options do not fit, or the login is refused.
        """
        name, _, number = for_part.rpartition("/")
        reading = self.readings[name]
        if resume_state is not None and resume_state[0] != reading.topic:
            raise RunError(
                f"The run was stopped while it read {resume_state[0]}, so it cannot go on with {reading.topic}. Set kafka.prefix "
                "as it was, or give the run another directory."
            )
        return KafkaPartition(self, for_part, reading, int(number), resume_state)


class KafkaPartition(StatefulSourcePartition[tuple[str, Frame], KafkaState]):
    """One partition of a topic."""

    def __init__(self, source: KafkaSource, name: str, reading: Reading, number: int, state: KafkaState | None) -> None:
        self._source, self._name, self._reading, self._number = source, name, reading, number
        self._reader = reader = Reader(source.connection, reading.topic, number, reading.shards, source.tail)
        try:
            _, self._next, self._cut, begun, places = state or (reading.topic, reader.low, reader.low > 0, (), {})
            reader.begin(self._next)
        except BaseException:
            reader.close()
            raise
        self._begun, self._places = set(begun), dict(places)
        self._safe = self._told = self._next  # of the snapshot before, and committed
        self._legible = self._next > reader.low  # whether anything could be read so far
        self._health = KafkaHealth(name, source.connection.servers, reader.said)
        self._foreign = ForeignTrades(reading.foreign) if reading.foreign else None
        self._most, self._looked_s, self._stopped = 16, 0.0, False
        self._awake: datetime | None = None

    def next_batch(self) -> Items:
        """What has come, some hundred messages at a time; never waits.

        Raises:
            StopIteration: the run is to stop, or all is handed out that was there when it began.
            InputError: rows are missing, nothing can be read, or the brokers say what waiting does not mend.
        """
        source, reader = self._source, self._reader
        if source.stopping.is_set():
            return self._stop()
        messages = reader.take(self._most, self._next)
        items = self._items(messages) if messages else []
        if time.monotonic() - self._looked_s > _LOOK_S:
            self._looked_s = time.monotonic()
            reader.look(self._number == min(self._reading.partitions), self._next)
            source.behind[self._reading.topic, self._number] = reader.behind(self._next)
            items += self._health.look()
        if self._next >= reader.high or reader.ended:
            source.caught_up.add(self._name)
            if not source.tail and not items:
                return self._stop()
        self._awake = None if messages else datetime.now(UTC) + _IDLE
        return items

    def next_awake(self) -> datetime | None:
        """A moment later, if there was nothing."""
        return self._awake

    def snapshot(self) -> KafkaState:
        """The position after the last message handed out. That of the snapshot before is durable by now, and is committed."""
        if self._safe > self._told:
            self._told = self._safe
            self._reader.commit(self._safe)
        self._safe = self._next
        return self._reading.topic, self._next, self._cut, tuple(sorted(self._begun)), dict(self._places)

    def close(self) -> None:
        """Commit, and close the connection."""
        if self._safe > self._told:
            self._reader.commit(self._safe)
        closed = self._reader.close(0.0 if self._source.away else CLOSE_S)
        self._source.away = self._source.away or not closed

    def _items(self, messages: Sequence[Any]) -> Items:
        """The frames of messages, and the dead letters of those that cannot be read.

        Raises:
            InputError: rows are missing, or nothing could be read so far.
        """
        self._next = messages[-1].offset() + 1
        if not self._source.tail and self._next > self._reader.high:
            messages = [message for message in messages if message.offset() < self._reader.high]
            self._next, self._reader.ended = self._reader.high, True
        values, letters = [message.value() or b"" for message in messages], Items()
        size = sum(map(len, values))
        self._most = max(1, min(_MOST, _BATCH_BYTES * len(messages) // max(1, size)))
        if self._foreign is not None:
            items = self._of_others(self._foreign, messages, letters)
        else:
            keys, headers = [message.key() for message in messages], [message.headers() for message in messages]
            found, bad = parts_of(keys, values, headers)
            letters += [self._letter(messages[place], why) for place, why in bad]
            if self._reading.others:
                found = [part for part in found if part.position.stream in self._reading.streams]
            parts = [self._placed(part, messages) for part in found]
            try:
                items = joined(parts, self._reading.streams)
            except Undecodable:
                each = (self._checked(one, messages, letters) for part in parts for one in apart(part))
                items = joined([one for one in each if one is not None], self._reading.streams)
        self._judge(len(messages), letters)
        if self._cut:
            items = opened(items, self._begun, self._reading.preloaded, self._reading.lacking)
        return items + letters

    def _of_others(self, wire: ForeignTrades, messages: Sequence[Any], letters: Items) -> Items:
        for message in messages:
            try:
                wire.take(message.key(), message.value(), message.offset())
            except Undecodable as why:
                letters.append(self._letter(message, why))
        return wire.frames()

    def _placed(self, part: Part, messages: Sequence[Any]) -> Part:
        """A part, without the rows that were read before.

        Raises:
            InputError: rows in front of it are missing.
        """
        position = part.position
        if not position.rows:
            return part
        at, first = (part.instrument, position.stream), position.first
        known = self._places.get(at)
        if known is None:
            known = first if self._cut else 0
        if first > known:
            offset = messages[part.places[0]].offset()
            raise InputError(
                f"{self._reading.topic}, partition {self._number}, offset {offset}: rows {known:,} to {first - 1:,} of stream "
                f"{position.stream} of {part.instrument} are missing. Either messages were removed, or the writer went on without "
                "its recovery store. Begin a new run, and ingest into topics of another prefix if the writer has begun anew."
            )
        self._places[at] = max(known, first + position.rows)
        return part._replace(skip=min(known - first, position.rows)) if known > first else part

    def _checked(self, part: Part, messages: Sequence[Any], letters: Items) -> Part | None:
        """The part, without its rows if they cannot be read: what it says beside them stands in its headers, and holds. None if it
        is of a stream that nobody knows.
        """
        try:
            joined([part], self._reading.streams)
        except Undecodable as why:
            letters.append(self._letter(messages[part.places[0]], why))
            known = part.position.stream in self._reading.streams
            return part._replace(skip=part.position.rows) if known else None
        return part

    def _letter(self, message: Any, why: Undecodable) -> tuple[str, Frame]:
        self._health.unread += 1
        return dead_letter(
            self._reading.topic,
            self._number,
            message.offset(),
            message.timestamp()[1] * 1_000_000,
            message.key(),
            message.headers() or (),
            message.value(),
            str(why),
        )

    def _judge(self, messages: int, letters: Items) -> None:
        """See that what is written here is not something else altogether.

        Raises:
            InputError: nothing could be read so far, and that was everything, or a hundred messages.
        """
        self._health.read += messages - len(letters)
        self._legible = self._legible or self._health.read > 0
        if self._legible or not letters or (self._health.unread < _UNREAD and self._next < self._reader.high):
            return
        first: Any = letters[0][1].rows[0]
        raise InputError(
            f"None of the {self._health.unread:,} messages of {self._reading.topic}, partition {self._number}, from its beginning "
            f"on can be read: {first.detail}. The topic is of another program (name its instruments in kafka.instruments if it has "
            "trades in ccxt's JSON), of another kafka.prefix, or of another version of Tidewax."
        )

    def _stop(self) -> Items:
        """The last thing to say, before the end."""
        if self._stopped:
            raise StopIteration
        self._stopped = True
        return self._health.stop()
