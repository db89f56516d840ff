"""Messages on their way to the brokers: in order, each once, waited for, and given up with a sentence."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from connectors.kafka.client import CLOSE_S, Connection, opened
from connectors.kafka.faults import Said, kafka_error
from connectors.kafka.wire import Message, position_of
from events.errors import RunError, TidewaxError

PATIENCE_S: Final = 120.0
"""How long brokers may take nothing before a run stops."""
STOPPING_S: Final = 5.0
"""The same while the run is to stop."""
OVERHEAD_BYTES: Final = 4_096
"""What a message may have beside its value: key, headers, and what frames it."""
_LOOK_S: Final = 0.1
_BATCH_BYTES: Final = 1_000_000
_PURGED: Final = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)

Delivered = Callable[[KafkaError | None, Any], None]


class Delivery:
    """An idempotent producer, shared by the partitions of a sink; it stops at the first message that cannot be written.

    Args:
        connection: where to.
        limits: `max.message.bytes` of the topics.
        stopping: set when the run is to stop: from then on brokers that are away are waited for no longer than STOPPING_S.
        patience_s: how long brokers may take nothing.
    """

    def __init__(
        self,
        connection: Connection,
        limits: Mapping[str, int],
        stopping: Event | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._servers, self._limits = connection.servers, dict(limits)
        self._stopping, self._patience_s = stopping or Event(), patience_s
        self._said, self._refused = Said(), list[tuple[KafkaError, str, str]]()
        self._stopped: KafkaError | None = None
        sizes = sorted(limits.values())
        own = {"message.max.bytes": max(1_000, sizes[-1]), "batch.size": min(_BATCH_BYTES, sizes[0])}
        self._producer = opened(Producer, connection, self._said, own)
        self._produce: Any = self._producer.produce
        self._left, self._moved_s = -1, 0.0  # how many messages waited when they last became fewer, and when that was

    @property
    def patience_s(self) -> float:
        """How long brokers may take nothing by now, in seconds."""
        return min(self._patience_s, STOPPING_S) if self._stopping.is_set() else self._patience_s

    def send(self, topic: str, partition: int, message: Message, delivered: Delivered) -> None:
        """Hand over a message; waits while the queue is full. `delivered` hears of it later, when something is polled.

        Raises:
            RunError: it is too large for its topic, or one before it could not be written.
        """
        key, value, headers = message
        if value is not None and len(value) > self._limits[topic] - OVERHEAD_BYTES:
            size = len(value) + len(key) + sum(len(name) + len(of) for name, of in headers) + 100
            if size > self._limits[topic]:
                raise self._too_large(topic, message, size)
        self._left = -1
        while True:
            try:
                self._produce(topic, value, key, partition, headers=headers, on_delivery=delivered)
                return
            except BufferError:
                self._serve(self._producer.poll, _LOOK_S)
                self._waited()
            except KafkaException as error:
                self._serve(self._producer.poll, 0)
                if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    raise self._too_large(topic, message, len(value)) from None
                raise kafka_error(self._servers, error.args[0], topic=topic, right="WRITE", kind=RunError) from None

    def refuse(self, error: KafkaError, message: Any) -> None:
        """Take note that a message was not written; it is raised when something is polled next."""
        what = f"a message of {len(message):,} bytes of {(message.key() or b'').decode(errors='replace')}"
        self._refused.append((error, message.topic(), what))

    def poll(self) -> None:
        """Let librdkafka tell what has become of messages.

        Raises:
            RunError: one could not be written.
        """
        self._serve(self._producer.poll, 0)

    def settle(self) -> None:
        """Wait until all that was sent is written.

        Raises:
            RunError: a message was refused, or the brokers took nothing for too long.
        """
        self._left = -1
        while self._serve(self._producer.flush, _LOOK_S):
            self._waited()

    def close(self) -> None:
        """Let go of what has not been written; a resumed run writes it. Never raises."""
        with suppress(Exception):
            self._producer.purge()

    def _serve(self, way: Callable[[float], int], within_s: float) -> int:
        """Let librdkafka tell what has become of messages; what it returns.

        Raises:
            RunError: one could not be written.
        """
        try:
            left = way(within_s)
        except KafkaException as error:  # the producer has stopped
            self._stopped = self._stopped or error.args[0]
            with suppress(KafkaException):
                self._producer.poll(_LOOK_S)  # which message was refused says more
            left = 0
        if self._refused:
            raise self._refusal(*self._cause())
        if self._stopped is not None:
            if self._stopped.code() != KafkaError.CLUSTER_AUTHORIZATION_FAILED:
                raise kafka_error(self._servers, self._stopped, kind=RunError)
            # said of an idempotent producer whose user may write to no topic at all
            refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
            raise kafka_error(self._servers, refused, topic=next(iter(self._limits)), right="WRITE", kind=RunError)
        return left

    def _cause(self) -> tuple[KafkaError, str, str]:
        """The message that was refused for itself: those behind it are purged, and may be told of before it is."""
        ends_s = time.monotonic() + CLOSE_S
        while True:
            refused = next((one for one in self._refused if one[0].code() not in _PURGED), None)
            if refused is not None or time.monotonic() > ends_s:
                return refused or self._refused[0]
            with suppress(KafkaException):
                self._producer.poll(_LOOK_S)

    def _refusal(self, error: KafkaError, topic: str, what: str) -> TidewaxError:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return RunError(
                f"Kafka at {self._servers} refused {what}, or the batch it was in, as larger than topic {topic} takes. Raise "
                "max.message.bytes of the topic, then start again: the run goes on from its last snapshot."
            )
        return kafka_error(self._servers, error, topic=topic, right="WRITE", kind=RunError)

    def _waited(self) -> None:
        """Look whether the brokers still take messages.

        Raises:
            RunError: they have not for too long.
        """
        left, now_s = len(self._producer), time.monotonic()
        if left != self._left:
            self._left, self._moved_s = left, now_s
            return
        patience_s = self.patience_s
        if now_s - self._moved_s < patience_s:
            return
        why = self._said.why
        said = (
            str(kafka_error(self._servers, why)) if why is not None else f"Kafka at {self._servers} takes no messages."
        )
        raise RunError(
            f"Nothing could be written to Kafka for {patience_s:.0f} s. {said} {left:,} messages wait to be written; the same "
            "command writes them, as the run goes on from its last snapshot."
        )

    def _too_large(self, topic: str, message: Message, size: int) -> RunError:
        position, limit = position_of(message.headers), self._limits[topic]
        return RunError(
            f"A message of {size:,} bytes (stream {position.stream} of {message.key.decode()}, id {position.id or 'none'}) is "
            f"larger than topic {topic} takes. Raise max.message.bytes of the topic, which is {limit:,}, then start again: the run "
            "goes on from its last snapshot."
        )
