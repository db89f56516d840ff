"""The broker of the tests: what it has taken it keeps, and nothing of it outlives the tests."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from broker import Broker
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, AdminClient, ResourceType
from confluent_kafka.admin import ResourcePatternType as Pattern

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

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
    own_broker.create(prefix + "paused")
    quick = {"enable.idempotence": True, "socket.timeout.ms": 1000, "request.timeout.ms": 1000, "linger.ms": 1}
    producer = Producer({**own_broker.client(), **quick})
    delivered = produce(producer, prefix + "paused", range(100))
    assert producer.flush(WITHIN_S) == 0
    own_broker.pause()
    later = produce(producer, prefix + "paused", range(100, 200))
    assert producer.flush(2.5) == 100, "nothing is answered while it stands still, and requests were sent again"
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


def test_the_broker_inside_librdkafka_answers(mock_broker, prefix):
    producer = Producer({"bootstrap.servers": mock_broker})
    delivered = produce(producer, prefix + "mock", range(10))
    assert producer.flush(WITHIN_S) == 0
    assert delivered == list(range(10))
