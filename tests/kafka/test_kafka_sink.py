"""The Kafka sink on a real broker: what is written is whole, in order and once, however often the writer was killed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import sink_flow as flow
import sink_samples as samples
from broker import Broker
from commands import environment
from confluent_kafka import Consumer, KafkaError, TopicPartition

from connectors.kafka.client import Connection, connect_admin
from connectors.kafka.names import Topics, shard_of
from connectors.kafka.topics import make, specs
from connectors.kafka.wire import MARKET, frames_of, position_of
from connectors.kafka.wire import Message as Wired
from events.frames import concat
from events.schema import NEVER
from events.streams import Columns, Records

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

STREAMS = samples.streams() | dict(MARKET)
PROGRAM = Path(__file__).with_name("sink_flow.py")


def connection(broker: Broker, prefix: str, user: str = "admin") -> Connection:
    options = broker.client(user)
    return Connection(options.pop("bootstrap.servers"), options, prefix)


def make_topics(broker: Broker, prefix: str) -> None:
    to = connection(broker, prefix)
    make(to, connect_admin(to), specs(Topics(prefix), flow.SHARDS, flow.KINDS), None)


def messages(broker: Broker, topic: str, partitions: int = flow.SHARDS) -> list[list]:
    """All messages of each partition."""
    reader = Consumer({**broker.client(), "group.id": topic, "enable.partition.eof": True})
    reader.assign([TopicPartition(topic, place, 0) for place in range(partitions)])
    found, left = [[] for _ in range(partitions)], set(range(partitions))
    while left:
        for message in reader.consume(500, 0.1):
            error = message.error()
            if error is None:
                found[message.partition()].append(message)
            else:
                assert error.code() == KafkaError._PARTITION_EOF
                left.discard(message.partition())
    reader.close()
    return found


def run(broker: Broker, directory: Path, prefix: str, **given: object) -> subprocess.CompletedProcess[str]:
    """Run the flow in a process of its own."""
    options = broker.client()
    told = {"servers": options.pop("bootstrap.servers"), "prefix": prefix, "options": options}
    told |= {"where": "", "times": 0, "seed": 1, "wire": "arrow", **given}
    path = [Path(__file__).parent, Path(samples.__file__).parent]
    more = environment()
    more["PYTHONPATH"] = ":".join(map(str, [more["PYTHONPATH"], *path]))
    line = [sys.executable, str(PROGRAM), str(directory), json.dumps(told)]
    return subprocess.run(line, env=more, text=True, capture_output=True, timeout=120, check=False)


def expected() -> dict[tuple[str, str], list[flow.Event]]:
    """What should be in topics, by instrument and stream."""
    found = defaultdict(list)
    for event in flow.events():
        if event.stream in flow.routes("p"):
            found[event.key, event.stream].append(event)
    return found


def check_topics(broker: Broker, prefix: str) -> None:
    """Hold what topics have against what the flow wrote: every row once and in order, every word said, nothing of others."""
    rows, records, said = defaultdict(list), defaultdict(list), defaultdict(list)
    marks, numbers = defaultdict(lambda: [NEVER]), defaultdict(int)
    for topic in sorted({route.topic for route in flow.routes(prefix).values()}):
        for place, held in enumerate(messages(broker, topic)):
            for message in held:
                key, position = message.key().decode(), position_of(message.headers())
                at = key, position.stream
                assert shard_of(key, flow.SHARDS) == place
                if isinstance(STREAMS[position.stream], Records):
                    records[at].append((position.id, message.value().decode()))
                    continue
                if position.rows:
                    assert position.first == numbers[at], "a row is there twice, or missing"
                    numbers[at] += position.rows
                frames = frames_of([Wired(message.key(), message.value(), message.headers())], STREAMS)
                rows[at] += [frame.rows for _, frame in frames if len(frame.rows)]
                said[at] += position.control.tolist()
                if position.watermark > NEVER:
                    marks[at].append(position.watermark)
    wanted = expected()
    assert set(wanted) == {*rows, *records, *[at for at in said if said[at]]} | set(marks)
    for at, events in wanted.items():
        if isinstance(STREAMS[at[1]], Records):
            told = [record for event in events for record in event.rows]
            assert records[at] == [(record.record_id, record.canonical()) for record in told]
            continue
        some = [event.rows for event in events if len(event.rows)]
        assert concat(rows[at]).tobytes() == (np.concatenate(some).tobytes() if some else b"")
        assert said[at] == [row for event in events for row in event.control.tolist()]
        assert marks[at] == sorted(marks[at])
        assert marks[at][-1] == events[-1].watermark
    assert sum(numbers.values()) > 500


def check_newest(broker: Broker, prefix: str) -> None:
    """Hold the topics of the newest against the last rows that the flow wrote."""
    newest: dict[str, dict[str, str]] = defaultdict(dict)
    for topic in sorted({route.latest for route in flow.routes(prefix).values() if route.latest}):
        for place, held in enumerate(messages(broker, topic)):
            for message in held:
                name = message.key().decode()
                assert shard_of(name.partition("|")[0], flow.SHARDS) == place
                newest[topic][name] = message.value().decode()
    topics = Topics(prefix)
    for (key, stream), events in expected().items():
        last = [event.rows[-1:] for event in events if len(event.rows)][-1]
        if stream == "bars.1m":
            told = json.loads(newest[topics.latest("bars")][f"{key}|{stream}"])
            assert told["ts_close"] == last["ts_close"][0]
            assert told["close"] == last["close"][0]
            assert (told["instrument"], told["stream"]) == (key, stream)
        elif stream == "features.1m":
            told = json.loads(newest[topics.latest("features")][f"{key}|{stream}"])
            assert told["ts_close"] == last["ts_close"][0]
        elif stream in ("signals", "updates"):
            assert newest[topics.latest(stream)][key] == last[-1].canonical()
        else:
            assert stream in ("trades", "dead_letters")
    assert len(newest) == 4


@pytest.mark.parametrize(("wire", "seed"), [("arrow", 1), ("json", 2)])
def test_rows_are_there_once_after_kills_anywhere(broker, prefix, tmp_path, wire, seed):
    make_topics(broker, prefix)
    rng = random.Random(seed)
    places = ["queued", "sent", "settled", "snapshot"]
    rng.shuffle(places)
    for place in places:
        times = rng.randint(5, 60) if place in ("queued", "sent") else rng.randint(1, 6)
        done = run(broker, tmp_path, prefix, where=place, times=times, seed=rng.random(), wire=wire)
        assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    done = run(broker, tmp_path, prefix, seed=rng.random(), wire=wire)
    assert done.stdout == "done\n", done.stderr
    check_topics(broker, prefix)
    check_newest(broker, prefix)
    assert isinstance(STREAMS["bars.1m"], Columns)
