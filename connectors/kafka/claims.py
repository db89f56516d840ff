"""Who writes a partition, and from where on: kept by the brokers as the committed offset of a group of the writer's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from confluent_kafka import Consumer, TopicPartition

from connectors.kafka.faults import kafka_errors
from events.errors import RunError

ANSWER_S: Final = 10.0
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


def claims_of(servers: str, group: str, consumer: Consumer, places: Iterable[At]) -> dict[At, Claim]:
    """The claims of the writer with this group, where it has any.

    Raises:
        RunError: the brokers do not answer, or the user may not ask them.
    """
    asked = [TopicPartition(topic, partition) for topic, partition in places]
    with kafka_errors(servers, group=group, kind=RunError):
        found = {
            (at.topic, at.partition): claim_of(at.metadata, at.offset) for at in consumer.committed(asked, ANSWER_S)
        }
    return {at: claim for at, claim in found.items() if claim is not None}


def claim(servers: str, group: str, consumer: Consumer, claims: Mapping[At, Claim]) -> None:
    """Let the brokers keep these claims.

    Raises:
        RunError: they do not answer, or the user may not.
    """
    offsets = [
        TopicPartition(topic, partition, made.begin if made.end is None else made.end, made.text)
        for (topic, partition), made in claims.items()
    ]
    with kafka_errors(servers, group=group, kind=RunError):
        consumer.commit(offsets=offsets, asynchronous=False)
