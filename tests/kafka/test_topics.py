"""`tidewax topics` on a real broker: nothing is made unasked, and what is made has its settings."""

from __future__ import annotations

import pytest
from commands import called
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from test_kafka_sink import connection

from connectors.kafka.client import connect_admin, partitions_of, settings_of
from connectors.kafka.names import Topics
from connectors.kafka.topics import Spec, make, specs

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

COUNT = 15


@pytest.fixture
def config(broker, prefix, tmp_path):
    """Settings of a deployment of four shards."""
    file = tmp_path / "kafka.yaml"
    file.write_text(f"kafka: {{servers: '{broker.bootstrap}', prefix: {prefix}x, group: {prefix}x, shards: 4}}\n")
    return file


def there(broker, prefix):
    return {name for name in AdminClient(broker.client()).list_topics(timeout=10).topics if name.startswith(prefix)}


def test_topics_are_shown_first_and_made_when_asked(broker, prefix, config):
    looked = called("topics", "create", "--config", config)
    assert looked.returncode == 0, looked.stderr
    assert looked.stdout.endswith(f"{COUNT} topics would be made; --apply makes them\n")
    assert looked.stdout.count("missing") == COUNT
    assert not there(broker, prefix)
    made = called("topics", "create", "--config", config, "--apply", "--market-days", "2")
    assert made.returncode == 0, made.stderr
    assert made.stdout.endswith(f"{COUNT} topics made\n")
    to = connection(broker, prefix)
    admin, topics = connect_admin(to), Topics(f"{prefix}x")
    names = [
        spec.name for spec in specs(topics, 4, ("bars", "features", "confluence", "signals", "updates", "dead_letters"))
    ]
    assert there(broker, prefix) == set(names)
    counts = partitions_of(to, admin, names)
    assert [name for name in names if counts[name] != 4] == [topics.universe, topics.result("global")]
    told = settings_of(to, admin, names)
    assert told[topics.market]["retention.ms"] == str(2 * 86_400_000)
    assert told[topics.result("bars")]["cleanup.policy"] == "delete"
    assert {told[name]["cleanup.policy"] for name in (topics.universe, topics.latest("signals"))} == {"compact"}
    assert {told[name]["max.message.bytes"] for name in names} == {"8388608"}
    again = called("topics", "create", "--config", config, "--apply")
    assert again.returncode == 0
    assert again.stdout.endswith("all topics are there\n")
    assert f"note: {topics.market}: retention.ms is 172800000, not 604800000; it is left as it is" in again.stdout


def test_topics_that_are_there_keep_their_partitions(broker, prefix, config):
    to = connection(broker, prefix)
    make(to, connect_admin(to), [Spec(f"{prefix}x.bars", 3, {})], None)
    for apply in ((), ("--apply",)):
        done = called("topics", "create", "--config", config, *apply)
        assert done.returncode == 1
        assert f"tidewax: Topic {prefix}x.bars has 3 partitions, not 4: their number is for good" in done.stderr
        assert there(broker, prefix) == {f"{prefix}x.bars"}


def test_more_replicas_than_brokers_are_refused_before_anything_is_made(broker, prefix, config):
    done = called("topics", "create", "--config", config, "--apply", TIDEWAX__KAFKA__REPLICATION="3")
    assert done.returncode == 1
    assert "INVALID_REPLICATION_FACTOR" in done.stderr
    assert not there(broker, prefix)


def test_what_is_in_topics_is_shown(broker, prefix, config):
    assert called("topics", "create", "--config", config, "--apply").returncode == 0
    producer = Producer(broker.client())
    for number in range(30):
        producer.produce(f"{prefix}x.market", b"x", partition=number % 2)
    assert producer.flush(30) == 0
    to = connection(broker, prefix + "x")
    commit(broker, to.group, f"{prefix}x.market", 0, 4)
    shown = called("topics", "show", "--config", config)
    assert shown.returncode == 0, shown.stderr
    (line,) = (line.split() for line in shown.stdout.splitlines() if line.startswith(f"{prefix}x.market"))
    assert line[1:] == ["4", "1", "30", "11", "7", "days"]
    nothing = called("topics", "show", "--config", config, TIDEWAX__KAFKA__PREFIX=f"{prefix}y")
    assert nothing.stdout.count("not there") == COUNT


def commit(broker, group, topic, partition, offset):
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

    admin = AdminClient(broker.client())
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, partition, offset)])
    admin.alter_consumer_group_offsets([asked])[group].result(30)


def test_who_may_not_make_topics_is_told_so(guarded_broker, prefix, tmp_path):
    options = {name: value for name, value in guarded_broker.client("reader").items() if name != "bootstrap.servers"}
    file = tmp_path / "kafka.yaml"
    given = ", ".join(f"{name}: {value}" for name, value in options.items())
    file.write_text(f"kafka: {{servers: '{guarded_broker.bootstrap}', prefix: {prefix}x, options: {{{given}}}}}\n")
    done = called("topics", "create", "--config", file)
    assert done.returncode == 1
    assert f"the user has no right DESCRIBE on topic {prefix}x.market. Grant it, then start again." in done.stderr
    assert options["sasl.password"] not in done.stdout + done.stderr
