"""The topics of a deployment: with which settings they are made, and what is there of them."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from connectors.kafka.claims import committed
from connectors.kafka.client import REACH_S, Connection, described, settings_of
from connectors.kafka.faults import kafka_error
from connectors.kafka.names import Topics
from connectors.kafka.routes import has_latest
from connectors.kafka.tail import ends_of
from events.errors import RunError

DAY_MS: Final = 86_400_000
LARGEST_BYTES: Final = 8 << 20
"""`max.message.bytes` of topics that are made: the whole book of an instrument is one message."""
_COMPACT: Final = {
    "cleanup.policy": "compact",
    "segment.ms": "3600000",  # what is out of date goes within some hours: the open segment is never compacted
    "segment.bytes": str(64 << 20),
    "min.cleanable.dirty.ratio": "0.1",
    "delete.retention.ms": str(DAY_MS),
}


class Spec(NamedTuple):
    """A topic as it should be.

    Attributes:
        name: of the topic.
        partitions: how many, for good.
        settings: of the topic, as Kafka names them; others are as the brokers have them.
    """

    name: str
    partitions: int
    settings: dict[str, str]


class Found(NamedTuple):
    """A topic as it should be, and as it is.

    Attributes:
        spec: as it should be.
        partitions: how many it has; 0 if it is not there.
        replicas: of each partition.
        settings: as they are; None where the user may not look at them.
    """

    spec: Spec
    partitions: int
    replicas: int
    settings: dict[str, str] | None

    @property
    def differences(self) -> list[str]:
        """What is not as it should be, without the number of partitions."""
        wanted, there = self.spec.settings, self.settings or {}
        return [
            f"{name} is {there[name]}, not {value}" for name, value in wanted.items() if there.get(name, value) != value
        ]


def specs(
    topics: Topics,
    shards: int,
    kinds: Collection[str],
    market: bool = True,
    replication: int | None = None,
    market_days: float = 7.0,
    result_days: float = 30.0,
) -> list[Spec]:
    """The topics of a deployment.

    Args:
        topics: their names.
        shards: partitions of those that are split by instrument.
        kinds: the results that are written, of `config.kafka_section.KINDS`.
        market: whether figures of several instruments are told by `flows.market`.
        replication: replicas of each partition, if they are given: from 3 on two of them have to have a message.
        market_days: how long the market topic keeps messages.
        result_days: how long results are kept.

    >>> [spec.name for spec in specs(Topics("t"), 8, ["bars", "dead_letters"])]
    ['t.market', 't.universe', 't.bars', 't.latest.bars', 't.dead_letters', 't.cross', 't.global']
    """
    common = {"max.message.bytes": str(LARGEST_BYTES)}
    if replication is not None and replication >= 3:
        common["min.insync.replicas"] = "2"
    kept = {"cleanup.policy": "delete", "retention.ms": str(round(market_days * DAY_MS)), **common}
    told = {"cleanup.policy": "delete", "retention.ms": str(round(result_days * DAY_MS)), **common}
    newest = _COMPACT | common
    found = [Spec(topics.market, shards, kept), Spec(topics.universe, 1, newest)]
    for kind in kinds:
        found.append(Spec(topics.result(kind), shards, told))
        if has_latest(kind):
            found.append(Spec(topics.latest(kind), shards, newest))
    if market:
        found += [Spec(topics.cross, shards, kept), Spec(topics.result("global"), 1, told)]
    return found


def found(connection: Connection, admin: AdminClient, wanted: Sequence[Spec]) -> list[Found]:
    """What is there of these topics.

    Raises:
        InputError: the brokers do not answer, or a topic must not be looked at.
    """
    there = described(connection, admin, [spec.name for spec in wanted])
    for name, answer in there.items():
        if isinstance(answer, KafkaError) and answer.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise kafka_error(connection.servers, answer, topic=name, right="DESCRIBE")
    names = [name for name, answer in there.items() if not isinstance(answer, KafkaError)]
    settings = settings_of(connection, admin, names)
    made = list[Found]()
    for spec in wanted:
        answer = there[spec.name]
        if isinstance(answer, KafkaError):
            made.append(Found(spec, 0, 0, {}))
        else:
            replicas = min((len(part.replicas) for part in answer.partitions), default=0)
            made.append(Found(spec, len(answer.partitions), replicas, settings[spec.name]))
    return made


def check_partitions(looked_at: Iterable[Found]) -> None:
    """Look whether topics that are there have as many partitions as they should.

    Raises:
        RunError: one has more or fewer; which instrument is in which partition hangs on it.
    """
    for one in looked_at:
        if one.partitions not in (0, one.spec.partitions):
            raise RunError(
                f"Topic {one.spec.name} has {one.partitions} partitions, not {one.spec.partitions}: their number is for good, "
                "since it says which instrument is where. Set kafka.shards to what the topics have, or give another kafka.prefix."
            )


def make(
    connection: Connection, admin: AdminClient, wanted: Sequence[Spec], replication: int | None, dry: bool = False
) -> None:
    """Make topics that are not there yet, and wait until they can be written.

    Args:
        connection: where.
        admin: a client of it.
        wanted: the topics.
        replication: replicas of each partition; as the brokers have it, if None.
        dry: only ask the brokers whether they would.

    Raises:
        RunError: the brokers refuse one: the user may not, or there are fewer brokers than replicas.
    """
    if not wanted:
        return
    new = [NewTopic(spec.name, spec.partitions, replication or -1, config=spec.settings) for spec in wanted]
    for name, future in admin.create_topics(new, validate_only=dry, operation_timeout=REACH_S).items():
        try:
            future.result(REACH_S + 5)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise kafka_error(
                    connection.servers, error.args[0], topic=name, right="CREATE", kind=RunError
                ) from None
    ends_s = time.monotonic() + REACH_S
    while not dry and not _ready(connection, admin, wanted):
        if time.monotonic() > ends_s:
            raise RunError(
                f"Kafka at {connection.servers} has made the topics, but not all can be used yet. Try again soon."
            )
        time.sleep(0.05)


class Held(NamedTuple):
    """What a topic holds.

    Attributes:
        messages: from its first to its last offset; of a compacted topic fewer are left.
        unread: how many of them the group has not read, of the partitions that it has committed offsets of; None if there are none.
    """

    messages: int
    unread: int | None


def contents(connection: Connection, partitions: Mapping[str, int]) -> dict[str, Held]:
    """What topics hold, and how far the readers of the connection's group have come.

    Args:
        connection: where.
        partitions: how many each topic has.

    Raises:
        RunError: the brokers do not answer, or the user may not ask after the group.
    """
    places = [(topic, place) for topic, count in partitions.items() for place in range(count)]
    ends, read = ends_of(connection, places), committed(connection, connection.group, places)
    made: dict[str, Held] = {}
    for topic, count in partitions.items():
        mine = [(topic, place) for place in range(count)]
        behind = [ends[at][1] - max(offset, ends[at][0]) for at in mine if (offset := read.get(at)) is not None]
        made[topic] = Held(sum(ends[at][1] - ends[at][0] for at in mine), sum(behind) if behind else None)
    return made


def _ready(connection: Connection, admin: AdminClient, wanted: Sequence[Spec]) -> bool:
    """Whether every partition of these topics has a leader."""
    there = described(connection, admin, [spec.name for spec in wanted])
    return all(
        not isinstance(answer, KafkaError) and all(part.leader is not None for part in answer.partitions)
        for answer in there.values()
    )
