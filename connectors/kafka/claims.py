"""Who writes a partition, and from where on: kept by the brokers as the committed offset of a group of the writer's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from connectors.kafka.client import Answer, Connection, Within, at_start, close_within, opened, patiently
from connectors.kafka.faults import RIGHTS, kafka_errors
from events.errors import RunError

At = tuple[str, int]
"""Topic and partition."""

_POLL_S: Final = 0.02
_ASK_S: Final = 1.0
_CLOSE_S: Final = 0.5


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


def claims_of(connection: Connection, group: str, places: Iterable[At], within: Within = at_start) -> dict[At, Claim]:
    """The claims of the writer with this group, where it has any.

    Raises:
        RunError: the brokers do not answer, or the user may not ask them.
    """
    found = {at: claim_of(text, offset) for at, (offset, text) in _kept(connection, group, places, within).items()}
    return {at: claim for at, claim in found.items() if claim is not None}


def committed(connection: Connection, group: str, places: Iterable[At]) -> dict[At, int]:
    """The offsets that a group has committed, where it has.

    Raises:
        RunError: the brokers do not answer, or the user may not ask them.
    """
    return {at: offset for at, (offset, _) in _kept(connection, group, places, at_start).items() if offset >= 0}


def claim(connection: Connection, group: str, claims: Mapping[At, Claim], within: Within = at_start) -> None:
    """Let the brokers keep these claims.

    Args:
        connection: where they are.
        group: of the writer.
        claims: by topic and partition.
        within: how long brokers that do not answer are waited for.

    Raises:
        RunError: they do not answer, or the user may not.
    """
    offsets = [
        TopicPartition(topic, partition, made.begin if made.end is None else made.end, made.text)
        for (topic, partition), made in claims.items()
    ]
    if offsets:
        _ask(connection, group, lambda asking: asking.commit(offsets), within)


def _kept(connection: Connection, group: str, places: Iterable[At], within: Within) -> dict[At, tuple[int, str | None]]:
    """The offsets of a group, with what stands beside them; negative where there is none."""
    asked = [TopicPartition(*at) for at in places]
    if not asked:
        return {}
    told = _ask(connection, group, lambda asking: asking.committed(asked), within)
    return {(at.topic, at.partition): (at.offset, at.metadata) for at in told}


def _ask(connection: Connection, group: str, ask: Callable[[_Asking], Answer], within: Within) -> Answer:
    with kafka_errors(connection.servers, group=group, kind=RunError):
        return patiently(partial(_asking, connection, group), ask, within, _Asking.hear)


@contextmanager
def _asking(connection: Connection, group: str) -> Iterator[_Asking]:
    asking = _Asking(connection, group)
    try:
        yield asking
    finally:
        close_within(asking.consumer, _CLOSE_S)


class _Asking:
    """A consumer that never joins its group, and asks the brokers for its offsets."""

    def __init__(self, connection: Connection, group: str) -> None:
        self._answers, self._sent = list[KafkaError | None](), False
        self.consumer = opened(Consumer, connection, None, {"group.id": group, "on_commit": self._answered})

    def committed(self, places: list[TopicPartition]) -> list[TopicPartition]:
        """What the group has committed there.

        Raises:
            KafkaException: the brokers do not answer, or the user may not ask them.
        """
        told: list[TopicPartition] = self.consumer.committed(places, _ASK_S)
        _check(_error_of(told))
        return told

    def commit(self, offsets: list[TopicPartition]) -> None:
        """Commit for the group; done once this returns, asked again until then.

        Raises:
            KafkaException: the brokers have not answered yet, or the user may not.
        """
        if not self._sent:
            self.consumer.commit(offsets=offsets, asynchronous=True)  # the other way has no limit to its waiting
            self._sent = True
        if not self._answers:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        self._sent = False
        _check(self._answers.pop())

    def hear(self) -> None:
        """Let the brokers speak; a consumer without a right to its group is told so here, and otherwise only waits.

        Raises:
            KafkaException: the user has none.
        """
        message = self.consumer.poll(_POLL_S)
        error = None if message is None else message.error()
        if error is not None and error.code() in RIGHTS:
            _check(error)

    def _answered(self, error: KafkaError | None, places: Sequence[TopicPartition]) -> None:
        self._answers.append(error or _error_of(places))


def _error_of(places: Sequence[TopicPartition]) -> KafkaError | None:
    return next((at.error for at in places if at.error is not None), None)


def _check(error: KafkaError | None) -> None:
    if error is not None:
        raise KafkaException(error)
