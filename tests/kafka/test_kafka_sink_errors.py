"""What the Kafka sink says when it cannot write, and that nothing is missing where it then goes on."""

from __future__ import annotations

import re
import string
import threading
import time

import numpy as np
import pytest
import sink_samples as samples
from broker import free_port
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, AdminClient, ResourceType
from confluent_kafka.admin import ResourcePatternType as Pattern
from test_kafka_sink import connection, messages

from connectors.kafka import delivery
from connectors.kafka.client import Connection
from connectors.kafka.names import shard_of
from connectors.kafka.routes import Route
from connectors.kafka.sink import KafkaSink
from connectors.kafka.wire import position_of
from events.errors import InputError, RunError, SettingsError
from events.frames import Frame
from events.rows import BAR
from events.streams import Columns

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

BARS = Columns("bars.1m", BAR)
KEY = "binance:BTC/USDT"


def bars(first: int, count: int, key: str = KEY) -> Frame:
    """Bars by number."""
    rng = np.random.default_rng(first)
    rows = samples.bars(list(range(first, first + count)), rng)
    return Frame(key, "bars.1m", rows, first + count)


def sink(broker, prefix, **given) -> KafkaSink:
    options = {"writer": "live", "run": "run-1", **given}
    user = options.pop("user", "admin")
    topic, to = options.pop("topic", prefix + "bars"), connection(broker, prefix, user)
    to = Connection(to.servers, {**to.options, **options.pop("options", {})}, to.group)
    return KafkaSink(to, {"bars.1m": Route(topic, BARS)}, **options)


def part(broker, prefix, state=None, **given):
    made = sink(broker, prefix, **given)
    (name,) = (name for name in made.list_parts() if int(name) == shard_of(KEY, made.partitions))
    return made.build_part("kafka", name, state)


def numbers(broker, prefix, topic="bars", partitions=1) -> list[int]:
    """The numbers of the rows in a topic."""
    found = []
    for message in (one for held in messages(broker, prefix + topic, partitions) for one in held):
        position = position_of(message.headers())
        found += range(position.first, position.first + position.rows)
    return found


def alter(broker, topic, **settings):
    for name, value in settings.items():
        changed = f"{name.replace('_', '.')}={value}"
        broker.tool(
            "kafka-configs", "--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", changed
        )


def test_no_broker_is_a_sentence_within_15_s(prefix):
    address, began_s = f"127.0.0.1:{free_port()}", time.monotonic()
    with pytest.raises(InputError, match=re.escape(f"Kafka at {address} cannot be reached: nobody listens there")):
        KafkaSink(Connection(address, {}, prefix), {"bars.1m": Route("bars", BARS)}, writer="live", run="run-1")
    assert time.monotonic() - began_s < 15


def test_a_missing_topic_and_other_numbers_of_partitions_are_refused(broker, prefix):
    with pytest.raises(InputError, match=f"has no topic {prefix}bars. Make it with `tidewax topics create"):
        sink(broker, prefix)
    broker.create(prefix + "bars", 4)
    broker.create(prefix + "latest", 2)
    routes = {"bars.1m": Route(prefix + "bars", BARS, prefix + "latest")}
    with pytest.raises(InputError, match=f"Topic {prefix}latest has 2 partitions, and topic {prefix}bars 4"):
        KafkaSink(connection(broker, prefix), routes, writer="live", run="run-1")
    some = sink(broker, prefix, shards=[0, 3])
    assert some.list_parts() == ["000", "003"]
    key = next(key for key in map("x:{}/USD".format, string.ascii_letters) if shard_of(key, 4) == 1)
    with pytest.raises(RunError, match=f"{key} belongs to shard 1, which this flow does not write"):
        some.part_fn(key)
    assert some.part_fn(next(key for key in map("x:{}/USD".format, string.ascii_letters) if shard_of(key, 4) == 3)) == 1


def test_a_message_too_large_for_its_topic_stops_the_run_which_goes_on_once_it_fits(broker, prefix):
    broker.create(prefix + "bars", 1, max_message_bytes="2000")
    writer = part(broker, prefix, wire="json")
    writer.write_batch([bars(0, 20)])
    state = writer.snapshot()
    writer.close()
    large = part(broker, prefix, state)  # as Arrow, one row is larger than that
    with pytest.raises(RunError) as told:
        large.write_batch([bars(20, 5)])
    large.close()
    said = r"A message of \d,\d+ bytes \(stream bars.1m of binance:BTC/USDT, id bars.1m:20\) is larger than topic .*bars takes. "
    assert re.match(said + r"Raise max.message.bytes of the topic, which is 2,000, then start again", str(told.value))
    alter(broker, prefix + "bars", max_message_bytes=9000)
    again = part(broker, prefix, state)
    again.write_batch([bars(20, 5)])
    again.snapshot()
    again.close()
    assert numbers(broker, prefix) == list(range(25))


def test_what_the_brokers_refuse_leaves_no_hole(broker, prefix):
    """The topic takes less than it did when the run began: nothing behind the first message that is refused is written."""
    broker.create(prefix + "bars", 1)
    plain = {"compression.type": "none", "linger.ms": 0}
    writer = part(broker, prefix, wire="json", options=plain)
    writer.write_batch([bars(0, 20)])
    state = writer.snapshot()
    alter(broker, prefix + "bars", max_message_bytes=1500)
    long, short = "x:" + 1000 * "A" + "/B", "x:C/D"
    frames = [bars(number, 1, key) for number in range(300) for key in (short, long)]
    with pytest.raises(RunError, match=rf"refused a message of [\d,]+ bytes of x:.*, .*topic {prefix}bars takes"):
        written_one_by_one(writer, frames)
    writer.close()
    there = len(numbers(broker, prefix))
    assert 20 <= there < 50
    alter(broker, prefix + "bars", max_message_bytes=1_000_000)
    again = part(broker, prefix, state, wire="json", options=plain)
    again.write_batch(frames)
    again.snapshot()
    again.close()
    assert sorted(numbers(broker, prefix)) == sorted([*range(20), *range(300), *range(300)])


def test_the_message_that_was_refused_is_named_and_not_one_that_was_purged_behind_it():
    """librdkafka may tell of those first."""
    told = delivery.Delivery(Connection("localhost:1"), {"bars": 1_000_000})
    for key, why in ((b"x:C/D", KafkaError._PURGE_QUEUE), (b"x:A/B", KafkaError.MSG_SIZE_TOO_LARGE)):
        told.refuse(KafkaError(why), Message(topic="bars", key=key, value=b"row"))
    with pytest.raises(RunError, match=r"refused a message of 3 bytes of x:A/B, .*topic bars takes"):
        told.poll()
    told.close()


def written_one_by_one(writer, frames: list[Frame]) -> None:
    for frame in frames:
        writer.write_batch([frame])
    writer.snapshot()


def test_another_run_is_refused_and_so_is_one_without_its_recovery_store(broker, prefix):
    broker.create(prefix + "bars", 1)
    writer = part(broker, prefix)
    writer.write_batch([bars(0, 5)])
    state = writer.snapshot()
    with pytest.raises(RunError, match=rf"was written by another run \(run-1\) as {prefix}.live"):
        part(broker, prefix, run="run-2")
    writer.close()
    with pytest.raises(RunError, match=r"was written by another run \(run-1\)"):
        part(broker, prefix, run="run-2")
    with pytest.raises(RunError, match=r"was written by another run \(run-1\)"):
        part(broker, prefix, state, run="run-2")
    other = part(broker, prefix, run="run-2", writer="ingest.kraken")  # another writer may
    other.write_batch([bars(0, 3, "kraken:BTC/USD")])
    other.snapshot()
    other.close()
    again = part(broker, prefix, state, own=lambda key: key == KEY)
    again.write_batch([bars(5, 5)])
    again.snapshot()
    again.close()
    assert sorted(numbers(broker, prefix)) == sorted([*range(10), *range(3)])


def test_a_claim_is_made_anew_before_brokers_forget_it(broker, prefix, monkeypatch):
    broker.create(prefix + "bars", 1)
    monkeypatch.setattr("connectors.kafka.partition._CLAIM_S", 0.0)
    writer = part(broker, prefix)
    writer.write_batch([bars(0, 5)])
    admin = AdminClient(broker.client())
    admin.delete_consumer_groups([f"{prefix}.live"])[f"{prefix}.live"].result(30)
    writer.snapshot()
    with pytest.raises(RunError, match=r"was written by another run \(run-1\)"):
        part(broker, prefix, run="run-2")
    writer.close()


def test_a_run_killed_before_its_first_snapshot_begins_again_without_writing_twice(broker, prefix):
    broker.create(prefix + "bars", 1)
    writer = part(broker, prefix)
    writer.write_batch([bars(0, 5), bars(5, 2)])
    writer._delivery.settle()  # and no snapshot of it: as after kill -9
    again = part(broker, prefix)
    again.write_batch([bars(0, 6)])
    again.write_batch([bars(6, 6)])
    again.snapshot()
    again.close()
    writer.close()
    assert numbers(broker, prefix) == list(range(12))


def test_after_an_end_in_order_nothing_is_looked_up(broker, prefix):
    """What others write meanwhile does not make a start slow."""
    broker.create(prefix + "bars", 1)
    writer = part(broker, prefix)
    writer.write_batch([bars(0, 5)])
    state = writer.snapshot()
    writer.close()
    group = Consumer({**broker.client(), "group.id": f"{prefix}.live"})
    (committed,) = group.committed([TopicPartition(prefix + "bars", 0)], 10)
    group.close()
    assert committed.metadata == "tidewax run-1 0 closed"
    assert committed.offset == state[0][0][1] == 1
    again = part(broker, prefix, state)
    again.write_batch([bars(5, 5)])
    again.snapshot()
    again.close()
    assert numbers(broker, prefix) == list(range(10))


def test_a_topic_that_was_made_anew_is_refused(broker, prefix):
    broker.create(prefix + "bars", 1)
    writer = part(broker, prefix)
    writer.write_batch([bars(0, 5)])
    state = writer.snapshot()
    writer.close()
    admin = AdminClient(broker.client())
    admin.delete_topics([prefix + "bars"])[prefix + "bars"].result(30)
    ends_s = time.monotonic() + 30
    while prefix + "bars" in admin.list_topics(timeout=5).topics and time.monotonic() < ends_s:
        time.sleep(0.05)
    broker.create(prefix + "bars", 1)
    with pytest.raises(
        RunError, match="ends at offset 0, but this run has written up to 1: it was removed or made anew"
    ):
        part(broker, prefix, state)


def test_a_topic_left_out_for_some_time_is_refused(broker, prefix):
    broker.create(prefix + "bars", 1)
    broker.create(prefix + "other", 1)
    writer = part(broker, prefix)
    writer.write_batch([bars(0, 5)])
    state = writer.snapshot()
    writer.close()
    without = part(broker, prefix, state, topic=prefix + "other")
    without.write_batch([bars(5, 5)])
    state = without.snapshot()
    without.close()
    assert dict(state[0]) == {prefix + "bars": -1, prefix + "other": 1}
    with pytest.raises(RunError, match=f"Topic {prefix}bars was left out for some time"):
        part(broker, prefix, state)


def test_brokers_that_are_away_are_waited_for_and_then_given_up(own_broker, prefix):
    own_broker.create(prefix + "bars", 1)
    writer = part(own_broker, prefix, patience_s=2.0)
    writer.write_batch([bars(0, 5)])
    state = writer.snapshot()
    own_broker.pause()
    timer = threading.Timer(1.0, own_broker.resume)
    timer.start()
    writer.write_batch([bars(5, 5)])
    state = writer.snapshot()
    timer.join()
    own_broker.kill()
    writer.write_batch([bars(10, 5)])
    with pytest.raises(
        RunError, match=r"Nothing could be written to Kafka for 2 s\. .* cannot be reached.* goes on from its last"
    ):
        writer.snapshot()
    writer.close()
    own_broker.start()
    again = part(own_broker, prefix, state)
    again.write_batch([bars(10, 10)])
    again.snapshot()
    again.close()
    assert numbers(own_broker, prefix) == list(range(20))


def test_a_run_that_is_to_stop_waits_less_for_brokers(own_broker, prefix, monkeypatch):
    monkeypatch.setattr("connectors.kafka.delivery.STOPPING_S", 0.5)
    own_broker.create(prefix + "bars", 1)
    stopping = threading.Event()
    writer = part(own_broker, prefix, stopping=stopping)
    writer.write_batch([bars(0, 5)])
    writer.snapshot()
    own_broker.pause()
    writer.write_batch([bars(5, 5)])
    threading.Timer(0.5, stopping.set).start()
    began_s = time.monotonic()
    with pytest.raises(RunError, match="Nothing could be written to Kafka"):
        writer.snapshot()
    assert time.monotonic() - began_s < 60
    writer.close()


def grant(broker, user: str, *granted: tuple[ResourceType, str, AclOperation]) -> None:
    bindings = [
        AclBinding(kind, name, Pattern.LITERAL, f"User:{user}", "*", right, AclPermissionType.ALLOW)
        for kind, name, right in granted
    ]
    admin = AdminClient(broker.client())
    for future in admin.create_acls(bindings).values():
        future.result(30)


def test_logins_and_rights_that_lack_are_sentences_without_passwords(guarded_broker, prefix):
    broker, topic, group = guarded_broker, prefix + "bars", prefix + ".live"
    broker.create(topic, 1)
    wrong = {**connection(broker, prefix, "writer").options, "sasl.password": "wr0ng"}
    with pytest.raises(SettingsError, match="refuses the login") as told:
        KafkaSink(
            Connection(broker.bootstrap, wrong, prefix), {"bars.1m": Route(topic, BARS)}, writer="live", run="run-1"
        )
    assert "wr0ng" not in str(told.value)
    with pytest.raises(InputError, match=f"the user has no right DESCRIBE on topic {topic}"):
        part(broker, prefix, user="writer")
    grant(broker, "writer", (ResourceType.TOPIC, topic, AclOperation.DESCRIBE))
    with pytest.raises(InputError, match=f"the user has no right READ on topic {topic}"):
        part(broker, prefix, user="writer")
    grant(broker, "writer", (ResourceType.TOPIC, topic, AclOperation.READ))
    with pytest.raises(InputError, match=f"the user has no right WRITE on topic {topic}"):
        part(broker, prefix, user="writer")
    grant(broker, "writer", (ResourceType.TOPIC, topic, AclOperation.WRITE))
    with pytest.raises(RunError, match=f"the user has no right READ on group {group}"):
        part(broker, prefix, user="writer")
    grant(broker, "writer", (ResourceType.GROUP, group, AclOperation.READ))
    again = part(broker, prefix, user="writer")
    again.write_batch([bars(0, 5)])
    again.snapshot()
    again.close()
    assert numbers(broker, prefix) == list(range(5))


def test_certificates_that_are_not_trusted_and_logins_without_encryption_are_sentences(encrypted_broker, prefix):
    broker, topic, routes = encrypted_broker, prefix + "bars", {"bars.1m": Route(prefix + "bars", BARS)}
    broker.create(topic, 1)
    writer = part(broker, prefix)
    writer.write_batch([bars(0, 5)])
    writer.snapshot()
    writer.close()
    right = dict(connection(broker, prefix).options)
    doubtful = {name: value for name, value in right.items() if name != "ssl.ca.location"}
    with pytest.raises(SettingsError, match=r"TLS fails, as one side does not accept .* Check ssl.ca.location"):
        KafkaSink(Connection(broker.bootstrap, doubtful, prefix), routes, writer="live", run="run-1")
    open_ = {**right, "security.protocol": "SASL_PLAINTEXT"}
    with pytest.raises(InputError, match="cannot be reached"):
        KafkaSink(Connection(broker.bootstrap, open_, prefix), routes, writer="live", run="run-1")
    elsewhere = {**right, "ssl.ca.location": "/nowhere/secret.pem"}
    with pytest.raises(SettingsError, match=r"kafka.options: ssl.ca.location cannot be used as it is") as told:
        KafkaSink(Connection(broker.bootstrap, elsewhere, prefix), routes, writer="live", run="run-1")
    assert "nowhere" not in str(told.value)


def test_a_quota_that_is_full_holds_the_run_up_and_nothing_is_lost(broker, prefix, monkeypatch):
    broker.create(prefix + "bars", 1)
    name, held_s, opened = f"{prefix}quota", [], delivery.opened
    quota = ("--entity-type", "clients", "--entity-name", name, "--alter", "--add-config", "producer_byte_rate=5000")
    assert "Completed" in broker.tool("kafka-configs", *quota)
    told = {"throttle_cb": lambda event: held_s.append(event.throttle_time)}
    monkeypatch.setattr(delivery, "opened", lambda kind, to, said, own: opened(kind, to, said, own | told))
    writer = part(broker, prefix, wire="json", options={"client.id": name, "compression.type": "none"})
    ends_s, number = time.monotonic() + 60, 0
    while not any(held_s):
        assert time.monotonic() < ends_s, "nothing held it up"
        writer.write_batch([bars(number, 40)])
        writer.snapshot()
        number += 40
    writer.write_batch([bars(number, 40)])
    writer.snapshot()
    writer.close()
    assert numbers(broker, prefix) == list(range(number + 40))
