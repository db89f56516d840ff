"""What tests of ingest share: topics, what they hold, and what they should hold."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from commands import environment
from confluent_kafka import Consumer, KafkaError, TopicPartition

from connectors.files import FileSource, Inputs
from connectors.kafka.names import Topics, shard_of
from connectors.kafka.wire import MARKET, Message, frames_of, position_of
from connectors.tape import Recording
from events.frames import Frame
from events.schema import LEAVE, NEVER

SHARDS = 4
WITHIN_S = 120.0
KILLED = Path(__file__).with_name("killed_ingest.py")


@dataclass
class Story:
    """All that a stream of an instrument says, in its order, whatever the frames.

    Attributes:
        rows: their bytes.
        count: how many there are.
        promised: each newer watermark, with the rows before it.
        said: each control row, with the rows before it.
    """

    rows: list[bytes] = field(default_factory=list)
    count: int = 0
    watermark: int = NEVER
    promised: list[tuple[int, int]] = field(default_factory=list)
    said: list[tuple[int, bytes]] = field(default_factory=list)

    def take(self, frame: Frame) -> None:
        self.rows.append(frame.rows.tobytes())
        self.count += len(frame.rows)
        self.said += [(self.count, row.tobytes()) for row in frame.control]
        if frame.watermark > self.watermark:
            self.watermark = frame.watermark
            self.promised.append((self.count, frame.watermark))
        if len(frame.control) and LEAVE in frame.control["kind"]:
            self.watermark = NEVER

    def told(self) -> tuple[bytes, list[tuple[int, int]], list[tuple[int, bytes]]]:
        return b"".join(self.rows), self.promised, self.said


Stories = dict[tuple[str, str], Story]


def stories(items: Iterable[tuple[str, Frame]]) -> Stories:
    """What frames say, by instrument and stream; what says nothing is left out."""
    found: Stories = {}
    for key, frame in items:
        if len(frame.rows) or len(frame.control) or frame.watermark > NEVER:
            found.setdefault((key, frame.name), Story()).take(frame)
    return found


def of_tape(tape: Path) -> Stories:
    """What a tape says."""
    return stories(item for _, items in Recording(tape).read(0) for item in items)


def of_files(inputs: Inputs) -> Stories:
    """What files say."""
    part = FileSource(inputs, 100_000).build_part("files", "files", None)
    found = []
    while True:
        try:
            found += part.next_batch()
        except StopIteration:
            return stories(found)


def messages_of(servers: str, topic: str) -> dict[int, list[Message]]:
    """All messages of a topic, by partition."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "of-the-test", "enable.partition.eof": True})
    count = len(consumer.list_topics(topic, 10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(count)])
    found: dict[int, list[Message]] = {partition: [] for partition in range(count)}
    ended, ends = set(), time.monotonic() + WITHIN_S
    while len(ended) < count:
        assert time.monotonic() < ends, f"{topic} cannot be read"
        for message in consumer.consume(500, 0.1):
            if message.error() is None:
                taken = Message(message.key(), message.value(), message.headers())
                found[message.partition()].append(taken)
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                ended.add(message.partition())
    consumer.close()
    return found


def of_topic(servers: str, prefix: str) -> Stories:
    """What the market topic says; fails unless each row is there once, in its place."""
    found: Stories = {}
    by_partition = messages_of(servers, Topics(prefix).market)
    for partition, messages in by_partition.items():
        for message in messages:
            instrument, position = message.key.decode(), position_of(message.headers)
            at = instrument, position.stream
            assert shard_of(instrument, len(by_partition)) == partition
            story = found.setdefault(at, Story())
            if position.rows:
                assert position.first == story.count, f"{at}: {message.headers} after {story.count}"
            for _, frame in frames_of([message], MARKET):
                story.take(frame)
    return found


def differing(ours: Mapping[tuple[str, str], Story], theirs: Mapping[tuple[str, str], Story]) -> list[object]:
    """Where two do not say the same."""
    keys = sorted({*ours, *theirs})
    return [at for at in keys if at not in ours or at not in theirs or ours[at].told() != theirs[at].told()]


def make_topics(broker, prefix: str, shards: int = SHARDS) -> None:
    """The topics that ingest needs."""
    topics = Topics(prefix)
    broker.create(topics.market, shards)
    broker.create(topics.universe, 1, cleanup_policy="compact")


def killed(where: str, times: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`tidewax ingest` with these arguments, which kills itself there; it is waited for."""
    line = [sys.executable, str(KILLED), str(int(signal.SIGKILL)), where, str(times), "ingest", *map(str, arguments)]
    return subprocess.run(line, env=environment(), text=True, capture_output=True, check=False, timeout=WITHIN_S)
