"""Who writes a partition, and from where on: kept by the brokers as the committed offset of a group of the writer's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from connectors.kafka.client import REACH_S, Connection, opened, patiently
from connectors.kafka.faults import kafka_errors
from events.errors import RunError

At = tuple[str, int]
"""Topic and partition."""


class Claim(NamedTuple):
    """What a writer says of a partition that it writes.

    Attributes:
        run: the identity of its run, which has its recovery store.
        begin: the offset before its first message.
        end: the offset behind its last one, where it ended in order; None while it writes, or if it was killed.
    """

    run: str
    begin: int
    end: int | None = None

    @property
    def text(self) -> str:
        """As it stands beside the committed offset.

        >>> Claim("a1", 7).text, Claim("a1", 7, 9).text
        ('tidewax a1 7 open', 'tidewax a1 7 closed')
        """
        return f"tidewax {self.run} {self.begin} {'open' if self.end is None else 'closed'}"


def claim_of(text: str | None, offset: int) -> Claim | None:
    """The claim that a committed offset with this text says; None if it is none.

    >>> claim_of("tidewax a1 7 closed", 9), claim_of("", 9)
    (Claim(run='a1', begin=7, end=9), None)
    """
    words = (text or "").split()
    if len(words) != 4 or words[0] != "tidewax" or not words[2].isdecimal():
        return None
    return Claim(words[1], int(words[2]), offset if words[3] == "closed" else None)


def claims_of(connection: Connection, admin: AdminClient, group: str, places: Iterable[At]) -> dict[At, Claim]:
    """The claims of the writer with this group, where it has any.

    Raises:
        RunError: the brokers do not answer, or the user may not ask them.
    """
    found = {at: claim_of(text, offset) for at, (offset, text) in _kept(connection, admin, group, places).items()}
    return {at: claim for at, claim in found.items() if claim is not None}


def committed(connection: Connection, admin: AdminClient, group: str, places: Iterable[At]) -> dict[At, int]:
    """The offsets that a group has committed, where it has.

    Raises:
        RunError: the brokers do not answer, or the user may not ask them.
    """
    return {at: offset for at, (offset, _) in _kept(connection, admin, group, places).items() if offset >= 0}


def _kept(
    connection: Connection, admin: AdminClient, group: str, places: Iterable[At]
) -> dict[At, tuple[int, str | None]]:
    """The offsets of a group, with what stands beside them; negative where there is none."""
    asked = [TopicPartition(*at) for at in places]
    if not asked:
        return {}

    def may_ask() -> None:
        told = admin.describe_consumer_groups([group], request_timeout=REACH_S)
        try:
            told[group].result(REACH_S + 1)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise

    with kafka_errors(connection.servers, group=group, kind=RunError):
        patiently(may_ask)  # a consumer without the right only waits
        # Not by `admin`: where the coordinator is not ready, librdkafka 2.16 reads through a null pointer there.
        consumer = opened(Consumer, connection, None, {"group.id": group})
        try:
            kept = patiently(lambda: consumer.committed(asked, REACH_S))
        finally:
            consumer.close()
    return {(at.topic, at.partition): (at.offset, at.metadata) for at in kept}


def claim(connection: Connection, admin: AdminClient, group: str, claims: Mapping[At, Claim]) -> None:
    """Let the brokers keep these claims.

    Raises:
        RunError: they do not answer, or the user may not.
    """
    offsets = [
        TopicPartition(topic, partition, made.begin if made.end is None else made.end, made.text)
        for (topic, partition), made in claims.items()
    ]

    def ask() -> None:
        told = admin.alter_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group, offsets)], request_timeout=REACH_S
        )
        for at in told[group].result(REACH_S + 1).topic_partitions:
            if at.error is not None:
                raise KafkaException(at.error)

    with kafka_errors(connection.servers, group=group, kind=RunError):
        patiently(ask)
