"""What a killed run wrote behind its last snapshot, read off the headers of its messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from connectors.kafka.claims import At
from connectors.kafka.client import Connection, Within, at_start, consuming, patiently
from connectors.kafka.faults import Said, kafka_error
from connectors.kafka.undecodable import Undecodable
from connectors.kafka.wire import position_of
from events.errors import RunError
from events.schema import LEAVE, NEVER

_BATCH: Final = 500
_ASK_S: Final = 2.0


@dataclass
class Written:
    """What a stream of an instrument has in its topic behind a snapshot.

    Attributes:
        first: rows before the first of its messages; None without messages that have rows.
        rows: rows up to the end of the last of them.
        watermark: the newest, NEVER if none was written since the instrument joined.
        ids: of records.
        control: control rows, as bytes.
    """

    first: int | None = None
    rows: int = 0
    watermark: int = NEVER
    ids: list[str] = field(default_factory=list)
    control: list[bytes] = field(default_factory=list)


def scan(
    connection: Connection,
    group: str,
    spans: Mapping[At, tuple[int, int]],
    own: Callable[[str], bool],
    within: Within,
) -> dict[tuple[str, str], Written]:
    """What was written in spans of offsets, by instrument and stream.

    Args:
        connection: where to.
        group: the consumer group of the reader, which commits nothing.
        spans: offsets, from and up to, of each partition; those behind are not looked at.
        own: whether the messages of an instrument are to be looked at; others write to the partition too.
        within: how long brokers may send nothing while there is more.

    Raises:
        RunError: the brokers do not answer, or rows are missing in what they have.
    """
    ends = {at: end for at, (begin, end) in spans.items() if end > begin}
    if not ends:
        return {}
    said = Said()
    with consuming(connection, said, {"group.id": group, "enable.partition.eof": True}) as consumer:
        consumer.assign([TopicPartition(*at, spans[at][0]) for at in ends])
        return _read(connection.servers, consumer, ends, own, said, within)


def _read(
    servers: str, consumer: Consumer, ends: dict[At, int], own: Callable[[str], bool], said: Said, within: Within
) -> dict[tuple[str, str], Written]:
    """What partitions have up to these offsets."""
    found: dict[tuple[str, str], Written] = {}
    moved_s = time.monotonic()
    while ends:
        messages = consumer.consume(_BATCH, 0.05)
        if messages:
            moved_s = time.monotonic()
        elif said.final or time.monotonic() - moved_s > within():
            topics = " and ".join(sorted({topic for topic, _ in ends}))
            why = "" if said.why is None else f" {kafka_error(servers, said.why)}"
            raise RunError(
                f"What was written to {topics} before the run stopped cannot be read.{why} The run goes on from its last snapshot "
                "when it is started again."
            )
        for message in messages:
            at, error = place_of(message), message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise kafka_error(servers, error, topic=at[0], right="READ", kind=RunError)
                ends.pop(at, None)
            elif at in ends:
                offset = message.offset() or 0
                if offset < ends[at]:
                    _note(found, message, own)
                if offset >= ends[at] - 1:
                    del ends[at]
    return found


def place_of(message: Any) -> At:
    """The topic and the partition of a message."""
    return message.topic(), message.partition()


def _note(found: dict[tuple[str, str], Written], message: Any, own: Callable[[str], bool]) -> None:
    """Take note of a message; what is not ours is not looked at."""
    instrument = (message.key() or b"").decode(errors="replace")
    if not own(instrument):
        return
    try:
        stream, name, first, count, watermark, control, _ = position_of(message.headers())
    except Undecodable:
        return
    written = found.setdefault((instrument, stream), Written())
    if first >= 0:
        if written.first is None:
            written.first, written.rows = first, first
        if first > written.rows:
            raise missing(message.topic(), instrument, stream, written.rows, first)
        written.rows = max(written.rows, first + count)
    elif name:
        written.ids.append(name)
    left = LEAVE in control["kind"]
    written.watermark = NEVER if left else max(written.watermark, watermark)
    written.control += [row.tobytes() for row in control]


def missing(topic: str, instrument: str, stream: str, rows: int, first: int | None) -> RunError:
    """What is said of rows that are not there, though those behind them are.

    Args:
        topic: where they should be.
        instrument: whose they are.
        stream: of what stream.
        rows: how many there are.
        first: the number of the next one.
    """
    return RunError(
        f"Topic {topic} has {rows} rows of stream {stream} of {instrument}, then that of number {first}: what is between was "
        "removed, or something else writes there. Make topics under another kafka.prefix, and start over in another directory."
    )


def ends_of(connection: Connection, places: Collection[At], within: Within = at_start) -> dict[At, tuple[int, int]]:
    """The first offset that each partition still has, and the one behind its last.

    Raises:
        RunError: the brokers do not answer.
    """
    found: dict[At, tuple[int, int]] = {}
    left = list(places)

    def ask(consumer: Consumer) -> None:
        while left:
            low, high = consumer.get_watermark_offsets(TopicPartition(*left[-1]), timeout=_ASK_S)
            found[left.pop()] = low, high

    # not by an AdminClient, which hears for a minute that nobody leads the partitions, once brokers have been away
    looking = partial(consuming, connection, None, {"isolation.level": "read_uncommitted"})
    try:
        patiently(looking, ask, within)
    except KafkaException as error:
        raise kafka_error(connection.servers, error.args[0], topic=left[-1][0], right="READ", kind=RunError) from None
    return found
