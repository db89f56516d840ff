"""The state of a connection to Kafka, as ComponentStatus rows with the clock of this machine; they move no watermark."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from connectors.kafka.faults import Said, kafka_error
from events.frames import Frame
from events.records import ALL, ComponentStatus, State
from events.schema import NEVER

DEGRADED_AFTER_S: Final = 3.0
"""Seconds without a word from the brokers, after one of them was said to be away."""


class Component:
    """A part of a process, of which changes of state are told.

    Args:
        name: of it.
        clock_ns: the time, in ns since 1970.

    Attributes:
        state, reason: a sentence where the state is not a good one.
    """

    def __init__(self, name: str, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.name, self._clock_ns = name, clock_ns
        self.state: State = "stopped"
        self.reason: str | None = None
        self._told_ns = NEVER

    @property
    def counters(self) -> dict[str, int]:
        """What was counted until now."""
        return {}

    def become(self, state: State, reason: str | None = None) -> list[tuple[str, Frame]]:
        """The row of a change; none where the state is as before."""
        self.reason = reason
        if state == self.state:
            return []
        old, self.state = self.state, state
        self._told_ns = max(self._clock_ns(), self._told_ns + 1)  # ids are made of the time
        status = ComponentStatus(
            key=ALL,
            ts=self._told_ns,
            component=self.name,
            old=old,
            new=state,
            reason=reason,
            counters=self.counters,
        )
        return [(ALL, Frame(ALL, ComponentStatus.stream, (status,), NEVER))]


class KafkaHealth(Component):
    """Looks after the connection of one source partition. One of several brokers may come and go unnoticed: the connection is
    degraded when nothing has come, and nobody has answered, for a while.

    Args:
        name: of the partition, such as "market/3".
        servers: of the connection.
        said: what librdkafka says of it.
        clock_ns: the time, in ns since 1970.
        clock_s: seconds that only grow.

    Attributes:
        read: messages handed out.
        unread: messages that could not be read.
    """

    def __init__(
        self,
        name: str,
        servers: str,
        said: Said,
        clock_ns: Callable[[], int] = time.time_ns,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(f"kafka.{name}", clock_ns)
        self._servers, self._said, self._clock_s, self._well_s = servers, said, clock_s, clock_s()
        self.read = self.unread = 0

    @property
    def counters(self) -> dict[str, int]:
        """How many messages were read, and could not be."""
        return {"read": self.read, "unread": self.unread}

    def look(self) -> list[tuple[str, Frame]]:
        """The row of what has changed since the last look."""
        why, now_s = self._said.why, self._clock_s()
        if why is None:
            self._well_s = now_s
            return self.become("up")
        if now_s - self._well_s < DEGRADED_AFTER_S:
            return []
        return self.become("degraded", str(kafka_error(self._servers, why)))

    def stop(self) -> list[tuple[str, Frame]]:
        """The row that says that it is stopped."""
        return self.become("stopped")
