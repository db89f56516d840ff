"""The broker of the tests: what it has taken it keeps, and nothing of it outlives the tests."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from broker import Broker
from broker_jars import NotToBeHad, jars
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, AdminClient, ResourceType
from confluent_kafka.admin import ResourcePatternType as Pattern

WITHIN_S = 60.0


def produce(producer: Producer, topic: str, numbers: range) -> list[int]:
    """Produce numbers to the first partition; those that were delivered, once `flush` has been called."""
    delivered: list[int] = []
    for number in numbers:
        told = lambda error, message: delivered.append(int(message.value())) if error is None else None  # noqa: E731
        producer.produce(topic, str(number).encode(), partition=0, on_delivery=told)
    return delivered


def consumed(broker: Broker, topic: str, **more: object) -> list[int]:
    """All that a partition holds, in its order."""
    reader = Consumer({**broker.client(), "group.id": topic, "enable.partition.eof": True, **more})
    reader.assign([TopicPartition(topic, 0, 0)])
    found: list[int] = []
    ends = time.monotonic() + WITHIN_S
    try:
        while time.monotonic() < ends:
            for message in reader.consume(500, 0.2):
                error = message.error()
                if error is None:
                    found.append(int(message.value()))
                elif error.code() == KafkaError._PARTITION_EOF:
                    return found
                elif not error.retriable():
                    raise KafkaException(error)
    finally:
        reader.close()
    raise AssertionError(f"the end was not reached after {len(found)}")


@pytest.mark.slow
def test_messages_are_there_after_kill_and_start(own_broker, prefix):
    own_broker.create(prefix + "kept")
    producer = Producer({**own_broker.client(), "enable.idempotence": True})
    before = produce(producer, prefix + "kept", range(500))
    assert producer.flush(WITHIN_S) == 0
    address = own_broker.bootstrap
    own_broker.kill()
    assert not own_broker.running
    own_broker.start()
    assert own_broker.bootstrap == address
    after = produce(producer, prefix + "kept", range(500, 600))
    assert producer.flush(WITHIN_S) == 0
    assert consumed(own_broker, prefix + "kept") == before + after == list(range(600))


def test_stop_and_start_keep_topics(own_broker, prefix):
    own_broker.create(prefix + "stopped", 3)
    own_broker.stop()
    own_broker.start()
    known = AdminClient(own_broker.client()).list_topics(timeout=WITHIN_S).topics
    assert len(known[prefix + "stopped"].partitions) == 3


def test_an_idempotent_producer_rides_through_a_pause(own_broker, prefix):
    """Requests that were not answered are sent again, and what the broker finds twice when it goes on counts once."""
    own_broker.create(prefix + "paused")
    told: list[dict] = [{}]
    quick = {"socket.timeout.ms": 1000, "request.timeout.ms": 1000, "linger.ms": 1, "enable.idempotence": True}
    counting = {"statistics.interval.ms": 100, "stats_cb": lambda text: told.append(json.loads(text)["brokers"])}
    producer = Producer({**own_broker.client(), **quick, **counting})
    delivered = produce(producer, prefix + "paused", range(100))
    assert producer.flush(WITHIN_S) == 0
    own_broker.pause()
    later = produce(producer, prefix + "paused", range(100, 200))
    ends = time.monotonic() + WITHIN_S
    while not any(one["req_timeouts"] for one in told[-1].values()):
        assert time.monotonic() < ends, "no request has run out of time"
        assert producer.flush(0.1) == 100, "nothing is answered while it stands still"
    own_broker.resume()
    assert producer.flush(WITHIN_S) == 0
    assert consumed(own_broker, prefix + "paused") == delivered + later == list(range(200))


def test_topics_do_not_come_of_themselves(broker, prefix):
    producer = Producer({**broker.client(), "message.timeout.ms": 2000})
    assert produce(producer, prefix + "missing", range(1)) == []
    producer.flush(WITHIN_S)
    assert prefix + "missing" not in AdminClient(broker.client()).list_topics(timeout=WITHIN_S).topics


def test_tools_of_the_jars_answer(broker, prefix):
    broker.create(prefix + "listed")
    assert prefix + "listed" in broker.tool("kafka-topics", "--list").splitlines()
    with pytest.raises(RuntimeError, match="does not exist"):
        broker.tool("kafka-topics", "--describe", "--topic", prefix + "none")


def test_rights_are_asked_for_and_can_be_given(guarded_broker, prefix):
    topic = prefix + "guarded"
    guarded_broker.create(topic)
    writer, refused = Producer(guarded_broker.client("writer")), []
    writer.produce(topic, b"1", on_delivery=lambda error, _: refused.append(error and error.code()))
    writer.flush(WITHIN_S)
    assert refused == [KafkaError.TOPIC_AUTHORIZATION_FAILED]
    rights = [(ResourceType.TOPIC, "writer", AclOperation.WRITE), (ResourceType.TOPIC, "reader", AclOperation.READ)]
    rights += [(ResourceType.GROUP, user, AclOperation.READ) for user in ("writer", "reader")]
    allowed = [
        AclBinding(kind, topic, Pattern.LITERAL, f"User:{user}", "*", right, AclPermissionType.ALLOW)
        for kind, user, right in rights
    ]
    admin = AdminClient(guarded_broker.client())
    for given in admin.create_acls(allowed).values():
        given.result(WITHIN_S)
    assert "principal=User:writer" in guarded_broker.tool("kafka-acls", "--list", "--topic", topic)
    writer = Producer(guarded_broker.client("writer"))
    written = produce(writer, topic, range(3))
    assert writer.flush(WITHIN_S) == 0
    assert written == [0, 1, 2]
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        consumed(guarded_broker, topic, **guarded_broker.client("writer"))
    assert consumed(guarded_broker, topic, **guarded_broker.client("reader")) == written


def test_connections_are_encrypted_and_the_certificate_is_asked_for(encrypted_broker, prefix):
    encrypted_broker.create(prefix + "secret")
    producer = Producer(encrypted_broker.client())
    delivered = produce(producer, prefix + "secret", range(10))
    assert producer.flush(WITHIN_S) == 0
    assert consumed(encrypted_broker, prefix + "secret") == delivered == list(range(10))
    assert prefix + "secret" in encrypted_broker.tool("kafka-topics", "--list")
    said: list[KafkaError] = []
    doubtful = {**encrypted_broker.client(), "error_cb": said.append, "log_level": 0}
    del doubtful["ssl.ca.location"]
    doubting, ends = Producer(doubtful), time.monotonic() + WITHIN_S
    while KafkaError._SSL not in [error.code() for error in said]:
        assert time.monotonic() < ends, said
        doubting.poll(0.1)


def test_a_quota_holds_a_producer_up(broker, prefix):
    broker.create(prefix + "quota")
    quota = ("--entity-type", "clients", "--entity-name", prefix, "--alter", "--add-config", "producer_byte_rate=10000")
    assert "Completed" in broker.tool("kafka-configs", *quota)
    held_s: list[float] = []
    told = {"throttle_cb": lambda event: held_s.append(event.throttle_time), "client.id": prefix}
    producer = Producer({**broker.client(), **told, "linger.ms": 0, "batch.size": 20_000})
    ends = time.monotonic() + WITHIN_S
    while not any(held_s):
        assert time.monotonic() < ends, "nothing held it up"
        producer.produce(prefix + "quota", bytes(20_000))
        producer.flush(1)


def test_the_broker_ends_with_the_process_that_started_it(broker, tmp_path):
    """Not even `kill -9` of the tests leaves it behind."""
    script = (
        "import sys, pathlib\nfrom broker import Broker\n"
        "with Broker(pathlib.Path(sys.argv[1])) as made:\n    print(made.pid, flush=True)\n    sys.stdin.read()\n"
    )
    line = [sys.executable, "-c", script, str(tmp_path / "kafka")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as tests:
        pid = int(tests.stdout.readline())
        os.kill(pid, 0)
        tests.send_signal(signal.SIGKILL)
    ends = time.monotonic() + WITHIN_S
    while Path(f"/proc/{pid}").exists() if Path("/proc").exists() else alive(pid):
        assert time.monotonic() < ends, "the broker runs on"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_broker_that_does_not_start_says_why(broker, tmp_path):
    """With the end of its log."""
    made = Broker(tmp_path, settings={"metric.reporters": "no.such.Reporter"})
    with pytest.raises(RuntimeError, match=r"(?s)has ended.*no\.such\.Reporter"):
        made.__enter__()


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotToBeHad, match="no java"):
        jars()


def test_the_broker_inside_librdkafka_answers(mock_broker, prefix):
    producer = Producer({"bootstrap.servers": mock_broker})
    delivered = produce(producer, prefix + "mock", range(10))
    assert producer.flush(WITHIN_S) == 0
    assert delivered == list(range(10))
