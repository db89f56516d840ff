"""The connection of one source partition: where its messages begin and end, the next of them, and what is committed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from connectors.kafka.client import CLOSE_S, REACH_S, SOON, TRIED_S, Connection, close_within, opened
from connectors.kafka.faults import RIGHTS, Said, kafka_error
from events.errors import InputError

_COUNT_S: Final = 30.0
_AWAY_S: Final = 1.0
_ASK_S: Final = 0.05
_END_S: Final = 0.5
_STILL_S: Final = 10.0
"""After so long without a message it is seen whether there are any; after twice as long again, if that was of no use."""
_STILL_MOST_S: Final = 320.0
_PASSING: Final = (
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._RESOLVE,
    KafkaError._MAX_POLL_EXCEEDED,
)
"""What is over when the brokers are there again."""
_LEADERLESS: Final = tuple({*SOON} - {KafkaError.UNKNOWN_TOPIC_OR_PART})


class Reader:
    """Reads one partition of a topic.

    Args:
        connection: to the brokers.
        topic: the topic.
        number: the partition.
        count: how many partitions the topic has; it must not change.
        tail: whether there is more to come than is there now.

    Attributes:
        low, high: the offset of the oldest message and that after the newest, when this was made.
        ended: whether the end was reached, where there is one.
        said: what librdkafka says of the connection.

    Raises:
        InputError: the brokers cannot be reached, or the topic is missing, may not be read or has another number of partitions.
        SettingsError: the options do not fit, or the login is refused.
    """

    def __init__(self, connection: Connection, topic: str, number: int, count: int, tail: bool) -> None:
        self._connection, self._topic, self._number, self._count = connection, topic, number, count
        self._place, self.said, self.ended = TopicPartition(topic, number), Said(), False
        self._refused: KafkaError | None = None
        self._own = {"enable.partition.eof": not tail, "on_commit": self._committed}
        self._consumer = opened(Consumer, connection, self.said, self._own)
        try:
            self.low, self.high = self._reach()
        except BaseException:
            self.close()
            raise
        self._counted_s = self._came_s = time.monotonic()
        self._still_s = _STILL_S

    def begin(self, offset: int) -> None:
        """Read from an offset on.

        Raises:
            InputError: it is not there any more.
        """
        self._check(offset, self.low, self.high)
        self._assign(offset)

    def take(self, most: int, following: int) -> list[Any]:
        """The messages that are there, at most so many; never waits.

        Args:
            most: how many.
            following: the offset of the first of them.

        Raises:
            InputError: messages are not there any more, or what goes wrong does not mend by waiting.
        """
        try:
            messages: list[Any] = self._consumer.consume(most, 0)
        except KafkaException as error:
            raise self._error(error.args[0], following) from None
        if not messages:
            return messages
        self._came_s, self._still_s = time.monotonic(), _STILL_S
        good = [message for message in messages if message.error() is None]
        if len(good) < len(messages):
            for message in messages:
                if message.error() is not None:
                    self._hear(message.error(), following)
        elif self.said.why is not None:
            self.said.forget()
        return good

    def behind(self, following: int) -> int:
        """How many messages wait to be read, as far as the brokers have told."""
        _, high = self._consumer.get_watermark_offsets(self._place, cached=True)
        return max(0, max(high, self.high) - following)

    def look(self, asks: bool, following: int) -> None:
        """See, now and then, that the brokers can be reached again if they could not, that the topic is what it was, and that what
        is there comes.

        Args:
            asks: whether it is for this partition to look after the topic.
            following: the offset of the next message.

        Raises:
            InputError: the topic has other partitions than it had, or offsets may not be committed.
            SettingsError: the login is refused.
        """
        why, now_s = self.said.why, time.monotonic()
        if why is not None and self.said.final:
            raise self._error(why)
        if self._refused is not None:
            raise self._error(self._refused)
        if (why is not None or asks) and now_s - self._counted_s > (_COUNT_S if why is None else _AWAY_S):
            self._counted_s = now_s
            with suppress(KafkaException):
                self._see(_ASK_S)
                self.said.forget()
        if now_s - self._came_s > self._still_s:
            self._revive(following)

    def commit(self, offset: int) -> None:
        """Tell the group; nothing waits for it."""
        with suppress(KafkaException):  # tools show an older lag then, until the next time
            self._consumer.commit(offsets=[TopicPartition(self._topic, self._number, offset)], asynchronous=True)

    def close(self, within_s: float = CLOSE_S) -> bool:
        """Close the connection, once the group knows what was committed; whether it is closed. Brokers that are away are waited
        for no longer than this.
        """
        return close_within(self._consumer, within_s)

    def _assign(self, offset: int) -> None:
        self._consumer.assign([TopicPartition(self._topic, self._number, offset)])

    def _revive(self, following: int) -> None:
        """Connect anew where nothing comes though there is more, or nobody answers: see ANEW_S."""
        self._came_s = time.monotonic()
        with suppress(KafkaException):
            if self._consumer.get_watermark_offsets(self._place, timeout=_END_S)[1] <= following:
                return
        self._still_s = min(2 * self._still_s, _STILL_MOST_S)
        self._anew()
        self._assign(following)

    def _anew(self) -> None:
        close_within(self._consumer, 0.0)
        self._consumer = opened(Consumer, self._connection, self.said, self._own)

    def _reach(self) -> tuple[int, int]:
        """The offset of the oldest message, and that after the newest."""
        ends_s, anew_s = time.monotonic() + REACH_S, time.monotonic() + TRIED_S
        while True:
            try:
                self._see(1.0)
                low, high = self._consumer.get_watermark_offsets(self._place, timeout=REACH_S)
                return low, high
            except KafkaException as error:
                self._consumer.poll(0)  # hears what is said
                known = error.args[0]
                if known.code() >= 0 and known.code() not in _LEADERLESS:
                    raise self._error(known) from None
                if self.said.final or time.monotonic() >= ends_s:
                    raise self._error(self.said.why or known) from None
                if time.monotonic() >= anew_s:
                    anew_s = time.monotonic() + TRIED_S
                    self._anew()

    def _see(self, within_s: float) -> None:
        """See that the topic has as many partitions as it had.

        Raises:
            InputError: it has not.
            KafkaException: the brokers do not answer, or do not tell.
        """
        found = self._consumer.list_topics(self._topic, timeout=within_s).topics[self._topic]
        if found.error is not None:
            raise KafkaException(found.error)
        if len(found.partitions) != self._count:
            raise InputError(
                f"{self._topic} has {len(found.partitions)} partitions, and had {self._count}. The number of shards is fixed when "
                "a topic is made, since instruments would change their shards: make topics of another prefix (kafka.prefix) and "
                "begin anew."
            )
        if found.partitions[self._number].error is not None:
            raise KafkaException(found.partitions[self._number].error)

    def _check(self, offset: int, low: int, high: int) -> None:
        """See that an offset is there, or is the next to come.

        Raises:
            InputError: it is not.
        """
        if offset < low:
            raise InputError(
                f"{self._topic}, partition {self._number}: the run has read up to offset {offset}, and the oldest message there is "
                f"{low}: retention has removed what comes between before it was read. Begin a new run in another directory; a "
                "longer retention.ms of the topic keeps this from happening again."
            )
        if offset > high:
            raise InputError(
                f"{self._topic}, partition {self._number}: the run has read up to offset {offset}, and there are messages up to "
                f"{high} only: the topic was deleted and made again, or the brokers have lost some. Begin a new run in another "
                "directory."
            )

    def _hear(self, error: KafkaError, following: int) -> None:
        """An event in place of a message.

        Raises:
            TidewaxError: waiting does not mend it.
        """
        if error.code() == KafkaError._PARTITION_EOF:
            self.ended = True
        elif error.retriable() or error.code() in _PASSING:
            self.said(error)
        else:
            raise self._error(error, following)

    def _error(self, error: KafkaError, following: int | None = None) -> Exception:
        if following is not None and error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            try:
                self._check(following, *self._reach())
            except InputError as gone:
                return gone
        return kafka_error(
            self._connection.servers, error, topic=self._topic, group=self._connection.group, right="READ"
        )

    def _committed(self, error: KafkaError | None, _: Sequence[TopicPartition]) -> None:
        if error is not None and error.code() in RIGHTS:
            self._refused = error
