"""The Kafka sink: frames and records to their topics, nothing lost and nothing twice after a kill."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from threading import Event

from bytewax.outputs import FixedPartitionedSink

from connectors.kafka.client import MESSAGE_BYTES, Connection, connect_admin, partitions_of, settings_of
from connectors.kafka.delivery import PATIENCE_S, Delivery
from connectors.kafka.names import shard_of
from connectors.kafka.partition import KafkaPartition, Shared, SinkState
from connectors.kafka.routes import Route
from events.errors import InputError, RunError
from events.frames import Frame


class KafkaSink(FixedPartitionedSink[Frame, SinkState]):
    """Keeps all frames of these streams in their topics; nothing is lost or twice after a kill.

    Takes items `(instrument, Frame)`. Sink partition i writes partition i of all topics, with the instruments whose shard it is
    (`shard_of`); a topic with one partition has all. Messages are on their way at once, and waited for in each snapshot. On resume
    what was written behind the snapshot is looked up and not written again: rows by their number within the stream of an
    instrument, records by their id. The newest rows follow at each snapshot.

    A writer commits where it began to a group of its own, `{group}.{writer}`, with the identity of its run: so two runs never write
    the same, and a run without its recovery store does not write everything again.

    Args:
        connection: where the brokers are.
        routes: where the streams go; frames of other streams are ignored.
        writer: the name of the writer, such as `live` or `ingest.binance`: one at a time has it.
        run: the identity of the run, one word; that of a recovery store.
        wire: how columns travel, "arrow" or "json"; records are JSON.
        shards: the shards that this flow writes; all, if not given.
        own: whether the writer has an instrument, where several writers share a topic.
        stopping: set when the run is to stop, so that brokers that are away are not waited for as long.
        patience_s: how long brokers may take nothing before the run stops.

    Raises:
        InputError: a topic is not there or has another number of partitions than the others, or no broker answers.
        RunError: while running, when messages cannot be written, or another run has written there.
        SettingsError: the options of the connection do not fit.
    """

    def __init__(
        self,
        connection: Connection,
        routes: Mapping[str, Route],
        *,
        writer: str,
        run: str,
        wire: str = "arrow",
        shards: Collection[int] | None = None,
        own: Callable[[str], bool] = lambda instrument: True,
        stopping: Event | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        topics = sorted({topic for route in routes.values() for topic in (route.topic, route.latest) if topic})
        admin = connect_admin(connection)
        newest = {route.latest for route in routes.values()}
        partitions = partitions_of(
            connection, admin, [topic for topic in topics if topic not in newest], ("READ", "WRITE")
        )
        partitions |= partitions_of(connection, admin, [topic for topic in topics if topic in newest], ("WRITE",))
        most = max(partitions.values())
        for topic, count in partitions.items():
            if count not in (1, most) or (count != most and topic in newest):
                other = next(name for name, n in partitions.items() if n == most)
                raise InputError(
                    f"Topic {topic} has {count} partitions, and topic {other} {most}: instruments would be in different shards of "
                    "them. Make topics under another kafka.prefix with `tidewax topics create --apply`."
                )
        told = settings_of(connection, admin, topics)
        limits = {topic: int((told[topic] or {}).get("max.message.bytes", MESSAGE_BYTES)) for topic in topics}
        self.partitions = most
        self._index = {
            shard: place for place, shard in enumerate(sorted(shards if shards is not None else range(most)))
        }
        self._shared = Shared(
            connection,
            dict(routes),
            wire,
            f"{connection.group}.{writer}",
            run,
            most,
            partitions,
            limits,
            own,
            lambda: Delivery(connection, limits, stopping, patience_s),
        )

    def takes(self, item: tuple[str, Frame]) -> bool:
        """Whether an item is of a stream that has a topic, and of a shard that this flow writes: not all that a flow says is of an
        instrument.
        """
        instrument, frame = item
        return frame.name in self._shared.routes and shard_of(instrument, self.partitions) in self._index

    def list_parts(self) -> list[str]:
        """One for each shard that this flow writes, by its number."""
        return [f"{shard:03}" for shard in self._index]

    def part_fn(self, item_key: str) -> int:
        """The place of an instrument's shard among those of this flow.

        Raises:
            RunError: it is not one of them.
        """
        shard = shard_of(item_key, self.partitions)
        if shard not in self._index:
            raise RunError(
                f"{item_key} belongs to shard {shard}, which this flow does not write: this is a bug; please report it with the "
                "command and the settings."
            )
        return self._index[shard]

    def build_part(self, step_id: str, for_part: str, resume_state: SinkState | None) -> KafkaPartition:
        """The writer of a shard, which knows what was written behind the resume state."""
        return KafkaPartition(self._shared, int(for_part), resume_state)
