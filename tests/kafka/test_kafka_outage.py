"""Brokers that are away while a run begins or stops: it goes on when they are back, or ends all the same."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Producer, TopicPartition
from test_kafka_sink_errors import bars, numbers, part, sink

from connectors.kafka.claims import Claim, claim, claims_of
from connectors.kafka.client import Connection
from connectors.kafka.reader import Reader
from events.errors import RunError

WITHIN_S = 30.0
STARTED_S = 90.0
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("how", ["pause", "kill"])
def test_a_reader_closes_though_nobody_confirms_what_it_committed(own_broker, prefix, how):
    """Where librdkafka is left to it, this takes 45 seconds without a broker, and minutes with one that stands still."""
    own_broker.create(prefix + "topic")
    producer = Producer(own_broker.client())
    producer.produce(prefix + "topic", b"one")
    assert producer.flush(WITHIN_S) == 0
    reader = Reader(Connection(own_broker.bootstrap, group=prefix + "group"), prefix + "topic", 0, 1, tail=True)
    reader.begin(0)
    ends = time.monotonic() + WITHIN_S
    while not reader.take(10, 0):
        assert time.monotonic() < ends, "nothing came"
        time.sleep(0.01)
    getattr(own_broker, how)()
    reader.commit(1)
    closing = threading.Thread(target=reader.close, daemon=True)
    closing.start()
    closing.join(WITHIN_S)
    assert not closing.is_alive()


def test_a_reader_that_is_closed_has_committed(own_broker, prefix):
    own_broker.create(prefix + "topic")
    producer = Producer(own_broker.client())
    for _ in range(3):
        producer.produce(prefix + "topic", b"one")
    assert producer.flush(WITHIN_S) == 0
    reader = Reader(Connection(own_broker.bootstrap, group=prefix + "group"), prefix + "topic", 0, 1, tail=False)
    reader.begin(0)
    reader.commit(2)
    reader.close()
    lines = own_broker.tool("kafka-consumer-groups", "--describe", "--group", prefix + "group").splitlines()
    (shown,) = [line.split() for line in lines if prefix + "topic" in line]
    assert shown[2:6] == ["0", "2", "3", "1"], "partition, offset of the group, end, lag"


def read_within(reader, following, count):
    """The next messages of a reader that is looked after, in order."""
    found, ends = [], time.monotonic() + WITHIN_S
    while len(found) < count:
        assert time.monotonic() < ends, found
        came = reader.take(10, following)
        found += [message.value() for message in came]
        following += len(came)
        reader.look(False, following)
        time.sleep(0.01)
    return found


def reading(monkeypatch, broker, prefix) -> Reader:
    """A reader that has read the first message of a topic, and soon sees that nothing comes."""
    monkeypatch.setattr("connectors.kafka.reader._STILL_S", 0.2)
    broker.create(prefix + "topic")
    send(broker, prefix, b"0")
    reader = Reader(Connection(broker.bootstrap, group=prefix + "group"), prefix + "topic", 0, 1, tail=True)
    reader.begin(0)
    assert read_within(reader, 0, 1) == [b"0"]
    return reader


def send(broker, prefix, *values):
    producer = Producer(broker.client())
    for value in values:
        producer.produce(prefix + "topic", value)
    assert producer.flush(WITHIN_S) == 0


def test_a_reader_whose_consumer_stays_silent_connects_anew(own_broker, prefix, monkeypatch):
    reader = reading(monkeypatch, own_broker, prefix)
    silent = reader._consumer
    silent.pause([TopicPartition(prefix + "topic", 0)])
    send(own_broker, prefix, b"1", b"2", b"3")
    assert read_within(reader, 1, 3) == [b"1", b"2", b"3"]
    assert reader._consumer is not silent
    reader.close()


def test_a_reader_of_a_quiet_topic_stays_connected(own_broker, prefix, monkeypatch):
    reader = reading(monkeypatch, own_broker, prefix)
    first, ends = reader._consumer, time.monotonic() + 2
    while time.monotonic() < ends:
        assert reader.take(10, 1) == []
        reader.look(False, 1)
    assert reader._consumer is first
    send(own_broker, prefix, b"1")
    assert read_within(reader, 1, 1) == [b"1"]
    reader.close()


@pytest.mark.parametrize("how", ["pause", "kill"])
def test_a_reader_that_connects_anew_amid_an_outage_reads_on_where_it_was(own_broker, prefix, monkeypatch, how):
    reader = reading(monkeypatch, own_broker, prefix)
    first, ends = reader._consumer, time.monotonic() + WITHIN_S
    getattr(own_broker, how)()
    while reader._consumer is first:
        assert time.monotonic() < ends, "it waits for an answer"
        assert reader.take(10, 1) == []
        reader.look(False, 1)
        time.sleep(0.01)
    own_broker.resume() if how == "pause" else own_broker.start()
    send(own_broker, prefix, b"1", b"2")
    assert read_within(reader, 1, 2) == [b"1", b"2"]
    reader.close()


def test_claims_are_kept_by_brokers_that_come_back(own_broker, prefix):
    own_broker.create(prefix + "topic", 2)
    places = [(prefix + "topic", number) for number in range(2)]
    mine = {at: Claim("run-1", 3 + number) for number, at in enumerate(places)}
    to = Connection(own_broker.bootstrap)
    own_broker.kill()
    with ThreadPoolExecutor(1) as pool:
        claiming = pool.submit(claim, to, prefix + "group", mine, lambda: STARTED_S)
        own_broker.start()
        claiming.result(STARTED_S)
    assert claims_of(to, prefix + "group", places) == mine


def reach_within(monkeypatch, seconds):
    """Let brokers be waited for no longer than this before a run begins."""
    for name in ("client", "partition"):
        monkeypatch.setattr(f"connectors.kafka.{name}.REACH_S", seconds)


def test_a_writer_begins_amid_an_outage(own_broker, prefix, monkeypatch):
    """As an instrument can be the first of its shard at any time, it is waited for as long as in the rest of a run. What it asks of
    its group goes on, too: by an AdminClient, that could abort the process.
    """
    own_broker.create(prefix + "bars", 1)
    connected = sink(own_broker, prefix)
    reach_within(monkeypatch, 0.1)
    own_broker.kill()
    with ThreadPoolExecutor(1) as pool:
        beginning = pool.submit(connected.build_part, "kafka", "000", None)
        own_broker.start()
        own_broker.pause()
        own_broker.resume()
        writer = beginning.result(STARTED_S)
    writer.write_batch([bars(0, 5)])
    writer.snapshot()
    writer.close()
    assert numbers(own_broker, prefix) == list(range(5))


@pytest.mark.parametrize("how", ["pause", "kill"])
def test_a_writer_that_begins_is_given_up_where_the_run_is_to_stop(own_broker, prefix, monkeypatch, how):
    own_broker.create(prefix + "bars", 1)
    stopping = threading.Event()
    connected = sink(own_broker, prefix, stopping=stopping)
    reach_within(monkeypatch, 0.1)
    monkeypatch.setattr("connectors.kafka.delivery.STOPPING_S", 0.1)
    getattr(own_broker, how)()
    with ThreadPoolExecutor(1) as pool:
        beginning = pool.submit(connected.build_part, "kafka", "000", None)
        stopping.set()
        with pytest.raises(RunError, match="cannot be reached"):
            beginning.result(WITHIN_S)


@pytest.mark.parametrize("how", ["pause", "kill"])
def test_a_writer_closes_though_the_brokers_do_not_answer(own_broker, prefix, how):
    """What it claims stays open, so that the next start looks up what it wrote; a second partition does not ask again."""
    own_broker.create(prefix + "bars", 2)
    made = sink(own_broker, prefix)
    parts = [made.build_part("kafka", name, None) for name in made.list_parts()]
    writer = parts[made.part_fn("binance:BTC/USDT")]
    writer.write_batch([bars(0, 5)])
    states = [one.snapshot() for one in parts]
    getattr(own_broker, how)()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: [one.close() for one in parts]).result(WITHIN_S)
    own_broker.resume() if how == "pause" else own_broker.start()
    again = part(own_broker, prefix, states[made.part_fn("binance:BTC/USDT")])
    again.write_batch([bars(5, 5)])
    again.snapshot()
    again.close()
    assert numbers(own_broker, prefix, partitions=2) == list(range(10))
