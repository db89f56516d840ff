"""The source on Kafka: the same rows however it reads, and a sentence for what cannot go on."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import bytewax.operators as op
import numpy as np
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewPartitions,
    ResourcePatternType,
    ResourceType,
)
from lab import Sink
from tape_samples import KEYS
from tape_samples import frame as sample

import connectors.kafka.reader as reader_module
from connectors.kafka.client import Connection
from connectors.kafka.faults import Said
from connectors.kafka.health import KafkaHealth
from connectors.kafka.names import shard_of
from connectors.kafka.source import KafkaSource, Reading
from connectors.kafka.wire import MARKET, Message, encode, frames_of
from events.errors import InputError, RunError, SettingsError
from events.feeds import BOOKS, FEEDS, PRELOAD, TRADES
from events.frames import NO_ROWS, Frame, control
from events.rows import TRADE
from events.schema import END, FOREVER, NEVER

WITHIN_S = 60.0
MOCKS: set[str] = set()
MOCKED = 4
"""Partitions of the topics that the broker inside librdkafka makes."""
KEY = "binance:BTC/USDT"
AT = 1_700_000_000_000_000_000
Items = list[tuple[str, Frame]]


class Writer:
    """Writes frames to the first partition of a topic, as ingest does."""

    def __init__(self, options: dict[str, Any], topic: str, wire: str = "arrow") -> None:
        self._producer, self.topic, self.wire = Producer({**options, "enable.idempotence": True}), topic, wire
        self.first: dict[tuple[str, str], int] = {}
        self.messages: list[Message] = []

    def frames(self, *frames: Frame, partition: int = 0) -> None:
        """All messages of these frames."""
        for frame in frames:
            at = frame.instrument, frame.name
            made = encode(frame, MARKET[frame.name], self.first.get(at, 0), self.wire, 20_000)
            self.first[at] = self.first.get(at, 0) + len(frame.rows)
            self.send(*made, partition=partition)

    def send(self, *messages: Message, partition: int = 0) -> None:
        """Messages as they are."""
        for message in messages:
            self.messages.append(message)
            self._producer.produce(self.topic, message.value, message.key, partition, headers=message.headers)
        assert self._producer.flush(WITHIN_S) == 0


def trades(n: int, first: int = 0, key: str = KEY, watermark: int = NEVER) -> Frame:
    rows = np.zeros(n, TRADE)
    rows["seq"] = rows["trade_id"] = first + np.arange(n)
    rows["available_at"] = rows["ts_recv"] = AT + rows["seq"] * 1_000_000
    rows["price"], rows["qty"], rows["side"] = 100.0, 1.0, 1
    return Frame(key, TRADES, rows, watermark)


def source(options: dict[str, Any], topic: str, tail: bool = True, **more: Any) -> KafkaSource:
    rest = {name: value for name, value in options.items() if name != "bootstrap.servers"}
    connection = Connection(options["bootstrap.servers"], rest, group=topic)
    shards = MOCKED if options["bootstrap.servers"] in MOCKS else 1
    return KafkaSource(connection, {"market": Reading(topic, shards, (0,), **more)}, tail)


def read(part: Any, until: Callable[[Items], bool] | None = None) -> Items:
    """What a partition hands out until something holds of it; until its end, else."""
    items: Items = []
    ends = time.monotonic() + WITHIN_S
    while until is None or not until(items):
        assert time.monotonic() < ends, f"{len(items)} frames, and no more"
        try:
            got = part.next_batch()
        except StopIteration:
            assert until is None
            return items
        items += got
        if not got:
            time.sleep(0.002)
    return items


def rows_of(items: Items) -> int:
    return sum(len(frame.rows) for _, frame in items if frame.name in FEEDS)


def market(items: Items) -> Items:
    return [(key, frame) for key, frame in items if frame.name in FEEDS]


def letters(items: Items) -> list[Any]:
    return [letter for _, frame in items if frame.name == "dead_letters" for letter in frame.rows]


def states(items: Items) -> list[str]:
    return [row.new for _, frame in items if frame.name == "components" for row in frame.rows]


def story(items: Items) -> dict[tuple[str, str], tuple[bytes, list[tuple[int, int]], bytes]]:
    """All that is said of each stream: its rows, how far it was complete behind which row, and its control rows."""
    out: dict[tuple[str, str], Any] = {}
    for key, frame in market(items):
        rows, said, controls = out.setdefault((key, frame.name), (bytearray(), [], bytearray()))
        rows += frame.rows.tobytes()
        controls += frame.control.tobytes()
        if frame.watermark > NEVER:
            if said and said[-1][0] == len(rows):
                said.pop()
            said.append((len(rows), frame.watermark))
    return {at: (bytes(rows), said, bytes(controls)) for at, (rows, said, controls) in out.items()}


def samples(seed: int, n: int) -> list[Frame]:
    """Frames of all streams, of random bytes; watermarks of a stream grow."""
    r, out = np.random.default_rng(seed), []
    for at in range(1, n + 1):
        frame = sample(r, str(r.choice(KEYS)), str(r.choice(sorted(FEEDS))), int(r.integers(40)), int(r.random() < 0.1))
        if not len(frame.rows) and not len(frame.control):
            frame = frame._replace(watermark=at)
        out.append(frame if frame.watermark == NEVER else frame._replace(watermark=at))
    return out


@pytest.fixture
def local(mock_broker: str) -> dict[str, Any]:
    MOCKS.add(mock_broker)
    return {"bootstrap.servers": mock_broker}


@pytest.mark.parametrize("wire", ["arrow", "json"])
def test_frames_come_as_they_were_sent_however_they_are_read(local, prefix, wire):
    writer = Writer(local, prefix + "market", wire)
    sent = samples(1, 80)
    writer.frames(*sent)
    want = story([(frame.instrument, frame) for frame in sent])
    assert story(frames_of(writer.messages, MARKET)) == want
    whole = read(source(local, writer.topic, tail=False).build_part("in", "market/0", None))
    assert story(whole) == want
    assert len(market(whole)) < len(sent)
    assert states(whole) == ["up", "stopped"]
    r = np.random.default_rng(2)
    items: Items = []
    state, stops = None, sorted(set(r.integers(1, sum(len(frame.rows) for frame in sent), 6).tolist()))
    for stop in [*stops, None]:  # stopped and begun again in the middle, with other sizes
        reading = source(local, writer.topic, tail=False)
        part = reading.build_part("in", "market/0", state)
        part._most = int(r.integers(1, 9))
        already = rows_of(items)
        items += read(part, None if stop is None else lambda got, goal=stop - already: rows_of(got) >= goal)
        state = pickle.loads(pickle.dumps(part.snapshot()))
        part.close()
    assert story(items) == want


def test_a_source_that_tails_goes_on_and_stops_when_it_is_told_to(local, prefix):
    writer = Writer(local, prefix + "market", "json")
    writer.frames(trades(3))
    reading = source(local, writer.topic)
    part = reading.build_part("in", "market/0", None)
    read(part, lambda items: rows_of(items) == 3)
    read(part, lambda items: "market/0" in reading.caught_up)
    assert part.next_batch() == []
    assert part.next_awake() is not None
    writer.frames(trades(2, 3), Frame(KEY, TRADES, NO_ROWS, FOREVER, control(END, AT)))
    got = read(part, lambda items: rows_of(items) == 2 and any(len(frame.control) for _, frame in items))
    assert [frame.rows["trade_id"].tolist() for _, frame in market(got) if len(frame.rows)] == [[3, 4]]
    before = part.snapshot()
    reading.stopping.set()
    assert states(part.next_batch()) == ["stopped"]
    with pytest.raises(StopIteration):
        part.next_batch()
    assert part.snapshot() == before
    part.close()


def test_a_bounded_source_ends_where_the_partition_ended_when_it_began(local, prefix):
    writer = Writer(local, prefix + "market")
    writer.frames(*(trades(10, 10 * k) for k in range(20)))
    part = source(local, writer.topic, tail=False).build_part("in", "market/0", None)
    writer.frames(*(trades(10, 10 * k) for k in range(20, 40)))
    assert rows_of(read(part)) == 200
    again = source(local, writer.topic, tail=False).build_part("in", "market/0", part.snapshot())
    assert rows_of(read(again)) == 200
    empty = source(local, writer.topic, tail=False).build_part("in", "market/0", again.snapshot())
    assert market(read(empty)) == []


def test_rows_that_a_writer_repeated_are_left_out(local, prefix):
    writer = Writer(local, prefix + "market")
    writer.frames(trades(10), trades(10, 10))
    writer.first[KEY, TRADES] = 15
    writer.frames(trades(10, 15, watermark=AT))  # 5 of them were there
    writer.first[KEY, TRADES] = 3
    writer.frames(trades(4, 3))  # all of them
    writer.wire = "json"
    writer.first[KEY, TRADES] = 23
    writer.frames(trades(5, 23))
    got = read(source(local, writer.topic, tail=False).build_part("in", "market/0", None))
    ids = [one for _, frame in market(got) for one in frame.rows["trade_id"].tolist()]
    assert ids == list(range(28))
    assert max(frame.watermark for _, frame in market(got)) == AT


def test_streams_that_nobody_asked_for_are_passed_over_unread(local, prefix):
    writer = Writer(local, prefix + "market", "json")
    writer.frames(trades(5), sample(np.random.default_rng(1), KEY, BOOKS, 30), trades(5, 5, watermark=AT))
    only = {TRADES: MARKET[TRADES]}
    got = read(source(local, writer.topic, tail=False, streams=only, others=True).build_part("in", "market/0", None))
    assert story(got).keys() == {(KEY, TRADES)}
    assert rows_of(got) == 10
    assert letters(got) == []


@pytest.mark.parametrize("wire", ["arrow", "json"])
def test_rows_that_are_missing_stop_the_run(local, prefix, wire):
    writer = Writer(local, prefix + "market", wire)
    writer.frames(trades(10))
    writer.first[KEY, TRADES] = 12
    writer.frames(trades(3, 12))
    part = source(local, writer.topic).build_part("in", "market/0", None)
    with pytest.raises(InputError, match=r"rows 10 to 11 of stream trades of binance:BTC/USDT are missing"):
        read(part, lambda items: False)
    part.close()
    writer = Writer(local, prefix + "other", wire)
    writer.first[KEY, TRADES] = 1
    writer.frames(trades(3, 1))
    with pytest.raises(InputError, match="rows 0 to 0 of stream trades"):
        read(source(local, writer.topic).build_part("in", "market/0", None), lambda items: False)


@pytest.mark.parametrize("wire", ["arrow", "json"])
def test_messages_that_cannot_be_read_become_dead_letters_and_the_rest_goes_on(local, prefix, wire):
    writer = Writer(local, prefix + "market", wire)
    writer.frames(trades(3))
    offset = len(writer.messages)
    made = encode(trades(1, 3, watermark=AT + 5), MARKET[TRADES], 3, wire, 20_000)
    writer.send(
        made[0]._replace(
            value=b"\xff\xff\xff\xff?"
        ),  # its headers hold: row 3 is lost, and how far trades are complete is not
        Message(b"\xfe", b"?", []),
        Message(b"", b"{}", [("id", b"trades:4")]),
        Message(KEY.encode(), b"{}", [("id", b"odd:0")]),
        made[0]._replace(headers=[*made[0].headers[:-1], ("schema", b"99")]),
    )
    writer.first[KEY, TRADES] = 4
    writer.frames(trades(4, 4), trades(2, key="x:A/B"))
    part = source(local, writer.topic, tail=False).build_part("in", "market/0", None)
    part._most = 3
    got = read(part)
    ids = [one for key, frame in market(got) if key == KEY for one in frame.rows["trade_id"].tolist()]
    assert ids == [0, 1, 2, 4, 5, 6, 7]
    assert AT + 5 in [frame.watermark for _, frame in market(got)]
    found = {letter.offset: letter for letter in letters(got)}
    assert sorted(found) == [offset + k for k in range(5)]
    assert [found[offset + k].key for k in range(5)] == [KEY, "*", "*", KEY, KEY]
    assert found[offset].source == f"{writer.topic}/0"
    assert all(letter.step == "kafka" and letter.reason == "UNDECODABLE" for letter in found.values())
    assert f"message {offset} of {writer.topic}, partition 0" in found[offset].detail
    assert "schema version 99" in found[offset + 4].detail
    assert found[offset + 1].raw["value"] == "?"
    assert len({letter.record_id for letter in found.values()}) == 5
    json.loads(found[offset].canonical())
    assert part._health.unread == 5


@pytest.mark.parametrize("n", [1, 150])
def test_a_topic_of_something_else_is_refused(local, prefix, n):
    writer = Writer(local, prefix + "market")
    writer.send(*[Message(b"BTC", b'{"p": 1}', [])] * n)
    part = source(local, writer.topic).build_part("in", "market/0", None)
    with pytest.raises(
        InputError, match=r"None of the .* messages of .*market, partition 0.*kafka.instruments"
    ) as caught:
        read(part, lambda items: False)
    assert "say no stream" in str(caught.value)
    part.close()


def test_another_version_is_refused(local, prefix):
    writer = Writer(local, prefix + "market")
    [message] = encode(trades(3, watermark=AT), MARKET[TRADES], 0, "arrow", 20_000)
    newer = [(name, b"2" if name == "schema" else value) for name, value in message.headers]
    writer.send(message._replace(headers=newer))
    with pytest.raises(InputError, match="schema version 2, and this program of 1"):
        read(source(local, writer.topic).build_part("in", "market/0", None), lambda items: False)


def test_trades_of_another_program(local, prefix):
    writer = Writer(local, prefix + "market")
    trade = {"symbol": "BTC/USDT", "timestamp": AT // 1_000_000, "side": "sell", "price": 10, "amount": 2, "info": {}}
    values = [{**trade, "id": str(k)} for k in range(5)] + [{**trade, "id": "5", "price": "dear"}]
    writer.send(*[Message(KEY.encode(), json.dumps(value).encode(), []) for value in values])
    got = read(source(local, writer.topic, tail=False, foreign=(KEY,)).build_part("in", "market/0", None))
    [(key, frame)] = market(got)
    assert (key, frame.name, frame.watermark) == (KEY, TRADES, NEVER)
    assert frame.rows[["seq", "available_at", "price", "side"]].tolist() == [(k, AT, 10.0, -1) for k in range(5)]
    assert [letter.offset for letter in letters(got)] == [5]


def test_nobody_there_is_told_in_time(monkeypatch, prefix):
    monkeypatch.setattr(reader_module, "REACH_S", 2.0)
    began = time.monotonic()
    with pytest.raises(InputError, match=r"Kafka at 127.0.0.1:9 cannot be reached"):
        source({"bootstrap.servers": "127.0.0.1:9"}, prefix + "market").build_part("in", "market/0", None)
    assert time.monotonic() - began < 15


def test_state_of_another_topic_is_refused(local, prefix):
    with pytest.raises(RunError, match=r"was stopped while it read other\.market"):
        source(local, prefix + "market").build_part("in", "market/0", ("other.market", 0, False, (), {}))


def test_what_retention_removed_before_a_new_run_is_stated(broker, prefix):
    """Rows count from where the topic begins now, and instruments begin without a preload and what they lack."""
    topic = prefix + "market"
    broker.create(topic)
    writer = Writer(broker.client(), topic)
    writer.frames(trades(10), trades(10, 10), Frame("x:A/B", TRADES, trades(1).rows, NEVER))
    removed(broker, topic, 1)
    lacking = {KEY: frozenset({"funding"})}
    reading = source(broker.client(), topic, tail=False, lacking=lacking, preloaded=True)
    part = reading.build_part("in", "market/0", None)
    got = market(read(part))
    assert [(key, frame.name, len(frame.rows), frame.watermark) for key, frame in got] == [
        (KEY, PRELOAD, 0, FOREVER),
        (KEY, "funding", 0, FOREVER),
        (KEY, TRADES, 10, NEVER),
        ("x:A/B", PRELOAD, 0, FOREVER),
        ("x:A/B", TRADES, 1, NEVER),
    ]
    writer.frames(trades(5, 20))
    got = market(read(reading.build_part("in", "market/0", part.snapshot())))
    assert [(frame.name, len(frame.rows)) for _, frame in got] == [(TRADES, 5)]


def test_what_retention_removed_before_it_was_read_stops_the_run(broker, prefix):
    topic = prefix + "market"
    broker.create(topic)
    writer = Writer(broker.client(), topic)
    writer.frames(*(trades(10, 10 * k) for k in range(10)))
    part = source(broker.client(), topic, tail=False).build_part("in", "market/0", None)
    part._most = 2
    read(part, lambda items: rows_of(items) > 0)
    state = part.snapshot()
    part.close()
    assert 0 < state[1] < 8
    removed(broker, topic, 8)
    with pytest.raises(InputError, match=f"read up to offset {state[1]}, and the oldest message there is 8: retention"):
        source(broker.client(), topic).build_part("in", "market/0", state)
    with pytest.raises(InputError, match="there are messages up to 10 only"):
        source(broker.client(), topic).build_part("in", "market/0", (topic, 11, False, (), {}))


def test_what_retention_removes_while_it_reads_stops_the_run(broker, prefix):
    topic = prefix + "market"
    broker.create(topic)
    writer = Writer(broker.client(), topic)
    writer.frames(*(trades(10, 10 * k) for k in range(10)))
    part = source(broker.client(), topic).build_part("in", "market/0", None)
    removed(broker, topic, 8)
    part._reader.begin(3)  # as if it had read so far when they were removed
    part._next, part._places = 3, {(KEY, TRADES): 30}
    with pytest.raises(InputError, match="read up to offset 3, and the oldest message there is 8: retention"):
        read(part, lambda items: rows_of(items) > 70)
    part.close()


def removed(broker: Any, topic: str, before: int) -> None:
    """Have the broker remove messages, as retention does."""
    place = TopicPartition(topic, 0, before)
    admin = AdminClient(broker.client())
    admin.delete_records([place])[place].result(WITHIN_S)


def test_new_partitions_are_noticed_and_refused(broker, prefix, monkeypatch):
    monkeypatch.setattr(reader_module, "_COUNT_S", 0.0)
    topic = prefix + "market"
    broker.create(topic)
    part = source(broker.client(), topic).build_part("in", "market/0", None)
    read(part, lambda items: bool(states(items)))
    admin = AdminClient(broker.client())
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result(WITHIN_S)
    with pytest.raises(InputError, match="has 2 partitions, and had 1"):
        read(part, lambda items: False)
    part.close()
    with pytest.raises(InputError, match="has 2 partitions, and had 1"):
        source(broker.client(), topic).build_part("in", "market/0", None)


def test_a_topic_that_is_not_there_is_told(broker, prefix):
    with pytest.raises(InputError, match=f"has no topic {prefix}none. Make it with"):
        source(broker.client(), prefix + "none").build_part("in", "market/0", None)


def test_offsets_are_seen_in_the_group(broker, prefix):
    """Those of the snapshot before, which is durable by then."""
    topic = prefix + "market"
    broker.create(topic)
    writer = Writer(broker.client(), topic)
    writer.frames(*(trades(10, 10 * k) for k in range(10)))
    reading = source(broker.client(), topic)
    part = reading.build_part("in", "market/0", None)
    part._most = 4
    read(part, lambda items: rows_of(items) >= 40)
    first = part.snapshot()[1]
    read(part, lambda items: rows_of(items) >= 10 * (10 - first))
    assert committed(broker, topic) < 0
    part.snapshot()
    eventually(lambda: committed(broker, topic) == first, part)
    part.snapshot()
    eventually(lambda: committed(broker, topic) == 10, part)
    told = broker.tool("kafka-consumer-groups", "--describe", "--group", topic).split("\n")
    head, line = (
        next(words for words in map(str.split, told) if words and words[0] == first) for first in ("GROUP", topic)
    )
    assert dict(zip(head, line))["LAG"] == "0"
    read(part, lambda items: reading.behind == {(topic, 0): 0})
    part.close()


def committed(broker: Any, topic: str) -> int:
    consumer = Consumer({**broker.client(), "group.id": topic})
    try:
        return int(consumer.committed([TopicPartition(topic, 0)], WITHIN_S)[0].offset)
    finally:
        consumer.close()


def eventually(holds: Callable[[], bool], part: Any) -> None:
    ends = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < ends
        part.next_batch()


def test_one_of_several_brokers_that_comes_and_goes_is_not_told():
    said, now = Said(), [0.0]
    health = KafkaHealth("market/0", "a:1,b:2", said, lambda: AT + int(now[0] * 1e9), lambda: now[0])
    assert states(health.look()) == ["up"]
    for _ in range(20):  # another broker answers within the second
        said(KafkaError(KafkaError._TRANSPORT, "Connection refused"))
        now[0] += 1.0
        assert health.look() == []
        said.forget()
        assert health.look() == []
    said(KafkaError(KafkaError._TRANSPORT, "Connection refused"))
    now[0] += 3.1
    assert states(health.look()) == ["degraded"]
    assert health.reason == (
        "Kafka at a:1,b:2 cannot be reached: nobody listens there (connection refused). See that the brokers run and that "
        "kafka.servers names them."
    )
    said.forget()
    assert states(health.look()) == ["up"]
    assert states(health.stop()) == ["stopped"]


@pytest.mark.slow
def test_it_rides_through_a_broker_that_ends_and_comes_back(own_broker, prefix):
    topic = prefix + "market"
    own_broker.create(topic)
    writer = Writer(own_broker.client(), topic)
    writer.frames(trades(10))
    reading = source(own_broker.client(), topic)
    part = reading.build_part("in", "market/0", None)
    items = read(part, lambda items: rows_of(items) == 10)
    own_broker.kill()
    items += read(part, lambda items: states(items)[-1:] == ["degraded"])
    [told] = [row for _, frame in items[-1:] for row in frame.rows]
    assert "cannot be reached" in told.reason
    own_broker.start()
    items += read(part, lambda items: states(items)[-1:] == ["up"])  # though nothing is written
    writer.frames(trades(10, 10))
    items += read(part, lambda items: rows_of(items) == 10)
    assert [one for _, frame in market(items) for one in frame.rows["trade_id"].tolist()] == list(range(20))
    part.close()


def test_rights_and_logins_are_told(guarded_broker, prefix):
    topic = prefix + "market"
    guarded_broker.create(topic)
    Writer(guarded_broker.client(), topic).frames(trades(10))
    reader = guarded_broker.client("reader")
    with pytest.raises(InputError, match=f"no right READ on topic {topic}"):
        source(reader, topic).build_part("in", "market/0", None)
    allow(guarded_broker, ResourceType.TOPIC, topic, AclOperation.READ)
    part = source(reader, topic).build_part("in", "market/0", None)
    with pytest.raises(InputError, match=f"no right READ on group {topic}"):
        read(part, lambda items: False)
    part.close()
    given = allow(guarded_broker, ResourceType.GROUP, topic, AclOperation.READ)
    part = source(reader, topic).build_part("in", "market/0", None)
    read(part, lambda items: rows_of(items) == 10)
    admin = AdminClient(guarded_broker.client())
    for done in admin.delete_acls([given]).values():
        done.result(WITHIN_S)
    part.snapshot()
    part.snapshot()
    with pytest.raises(InputError, match=f"no right READ on group {topic}"):
        read(part, lambda items: False)
    part.close()
    with pytest.raises(SettingsError, match="refuses the login") as caught:
        source({**reader, "sasl.password": "wrong-one"}, topic).build_part("in", "market/0", None)
    assert "wrong-one" not in str(caught.value)


def allow(broker: Any, kind: ResourceType, name: str, right: AclOperation) -> AclBindingFilter:
    """Give the reader a right; what takes it away again."""
    given = (kind, name, ResourcePatternType.LITERAL, "User:reader", "*", right, AclPermissionType.ALLOW)
    admin = AdminClient(broker.client())
    for done in admin.create_acls([AclBinding(*given)]).values():
        done.result(WITHIN_S)
    return AclBindingFilter(*given)


class Crash(Exception):
    """Of the engine, in the middle."""


class Fallible(FixedPartitionedSource):
    """The source, which fails after some rows."""

    def __init__(self, inner: KafkaSource, rows: int) -> None:
        self._inner, self._left = inner, rows

    def list_parts(self) -> list[str]:
        return self._inner.list_parts()

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> Any:
        part = self._inner.build_part(step_id, for_part, resume_state)
        part._most, take = 5, part.next_batch

        def next_batch() -> Items:
            items = take()
            self._left -= rows_of(items)
            if self._left < 0:
                raise Crash
            return items

        part.next_batch = next_batch
        return part


def test_the_engine_goes_on_after_failures_over_all_partitions(local, prefix, tmp_path):
    topic, names = prefix + "market", [f"binance:C{k}/USDT" for k in range(12)]
    writer, sent = Writer(local, topic), Items()
    for k in range(10):
        writer.wire = "json" if k % 2 else "arrow"
        for name in names:
            frame = trades(5, 5 * k, name, watermark=AT + k)
            sent.append((name, frame))
            writer.frames(frame, partition=shard_of(name, MOCKED))
    init_db_dir(tmp_path, 1)
    sink, kept = Sink(), []
    for rows in (40, 100, 200, None):
        connection = Connection(local["bootstrap.servers"], group=topic)
        inner = KafkaSource(connection, {"market": Reading(topic, MOCKED, (0, 1, 2, 3))}, tail=False)
        assert inner.list_parts() == ["market/0", "market/1", "market/2", "market/3"]
        flow = Dataflow("kafka")
        stream = op.input("in", flow, inner if rows is None else Fallible(inner, rows))
        op.output("out", op.map("under_one", stream, lambda item: ("all", item[1])), sink)
        with nullcontext() if rows is None else pytest.raises(RuntimeError):
            run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(tmp_path)))
        kept.append(rows_of([(frame.instrument, frame) for frame in sink.items]))
    assert 0 < kept[1] < kept[2] < kept[3] == 600
    assert story([(frame.instrument, frame) for frame in sink.items]) == story(sent)
