"""The state of a connection to Kafka, as ComponentStatus rows with the clock of this machine; they move no watermark."""

from __future__ import annotations

import time
from collections.abc import Callable

from connectors.kafka.faults import Said, kafka_error
from events.frames import Frame
from events.records import ALL, ComponentStatus, State
from events.schema import NEVER


class KafkaHealth:
    """Looks after the connection of one source partition.

    Args:
        name: of the partition, such as "market/3".
        servers: of the connection.
        said: what librdkafka says of it.
        clock_ns: the time, in ns since 1970.

    Attributes:
        state, reason: a sentence where the state is not a good one.
        read: messages handed out.
        unread: messages that could not be read.
    """

    def __init__(self, name: str, servers: str, said: Said, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.component, self._servers, self._said, self._clock_ns = f"kafka.{name}", servers, said, clock_ns
        self.state: State = "stopped"
        self.reason: str | None = None
        self.read = self.unread = 0
        self._told_ns = NEVER

    def look(self) -> list[tuple[str, Frame]]:
        """The row of what has changed since the last look."""
        why = self._said.why
        return (
            self._become("up", None) if why is None else self._become("degraded", str(kafka_error(self._servers, why)))
        )

    def stop(self) -> list[tuple[str, Frame]]:
        """The row that says that it is stopped."""
        return self._become("stopped", None)

    def _become(self, state: State, reason: str | None) -> list[tuple[str, Frame]]:
        self.reason = reason
        if state == self.state:
            return []
        old, self.state = self.state, state
        self._told_ns = max(self._clock_ns(), self._told_ns + 1)  # ids are made of the time
        status = ComponentStatus(
            key=ALL,
            ts=self._told_ns,
            component=self.component,
            old=old,
            new=state,
            reason=reason,
            counters={"read": self.read, "unread": self.unread},
        )
        return [(ALL, Frame(ALL, ComponentStatus.stream, (status,), NEVER))]
