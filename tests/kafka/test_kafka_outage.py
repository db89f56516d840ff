"""Brokers that are away while a run stops: it ends all the same."""

import threading
import time

import pytest
from confluent_kafka import Producer

from connectors.kafka.client import Connection
from connectors.kafka.reader import Reader

WITHIN_S = 30.0
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
