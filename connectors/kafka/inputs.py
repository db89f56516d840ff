"""What a run on Kafka reads: the market topic of a deployment, or some partitions of it, and what is known of its contents."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from connectors.kafka.client import Connection, connect_admin, described, partitions_of
from connectors.kafka.names import Topics, shard_of
from connectors.kafka.source import KafkaSource, Reading
from connectors.kafka.universe import Announced, read_universe
from connectors.tape import Universe
from events.errors import SettingsError
from events.feeds import PRELOAD, TRADES
from events.identity import id_of, is_among
from events.streams import Columns

MARKET: Final = "market"
CROSS: Final = "cross"
"""What names of source partitions begin with: of the market topic, and of that in which instruments are told of each other."""
WAIT_S: Final = 10.0
"""How long a first writer is waited for, so that one may be started together with its readers."""


@dataclass(frozen=True)
class KafkaInputs:
    """Partitions of the market topic of a deployment.

    Attributes:
        connection: to the brokers.
        topics: their names.
        announced: what its writers have announced; the same whatever partitions are read.
        topic_id: of the market topic, another one where it was deleted and made again.
        shards: how many partitions it has.
        partitions: those that are read.
        sharded: whether others read the rest, or other parts of this program do.
    """

    connection: Connection
    topics: Topics
    announced: Announced
    topic_id: str
    shards: int
    partitions: tuple[int, ...]
    sharded: bool = False

    def only(self, partitions: Collection[int]) -> KafkaInputs:
        """Some partitions of the same, or all, as shards.

        Raises:
            SettingsError: there is none of such a number.
        """
        for number in partitions:
            if not 0 <= number < self.shards:
                raise SettingsError(
                    f"there is no shard {number}: {self.topics.market} has {self.shards} partitions, so shards are 0 to "
                    f"{self.shards - 1}"
                )
        return replace(self, partitions=tuple(sorted(set(partitions))), sharded=True)

    @property
    def instruments(self) -> tuple[str, ...]:
        """The instruments of all partitions, and the names that stand for those that come and go."""
        return self.announced.universe.instruments

    @property
    def own(self) -> tuple[str, ...]:
        """The instruments of the partitions that are read, as far as they are named."""
        return tuple(name for name in self.instruments if not name.endswith("*") and self.has(name))

    def has(self, instrument: str) -> bool:
        """Whether an instrument belongs to a partition that is read."""
        return shard_of(instrument, self.shards) in self.partitions

    @property
    def feeds(self) -> frozenset[str]:
        """The streams."""
        return self.announced.universe.feeds

    @property
    def lacking(self) -> Mapping[str, frozenset[str]]:
        """The streams of the run that an instrument does not have, where there are any."""
        return self.announced.universe.lacking

    @property
    def live(self) -> bool:
        """Whether its writers are exchanges, now or when they were recorded, and not files."""
        return self.announced.live

    def sequenced(self, instrument: str) -> bool:
        """Whether the trades of an instrument have consecutive ids."""
        return is_among(instrument, self.announced.universe.sequenced)

    @property
    def total_bytes(self) -> int:
        """0: nobody knows where it ends."""
        return 0

    @property
    def fingerprint(self) -> str:
        """What has to be the same for a run to go on where another one stopped."""
        return id_of("kafka", self.topics.market, self.topic_id, self.shards, *self.partitions)

    def describe(self) -> list[dict[str, Any]]:
        """The topic, how many shards there are, and which of them are read, with their instruments."""
        return [
            {
                "topic": self.topics.market,
                "topic_id": self.topic_id,
                "shards": self.shards,
                "partitions": list(self.partitions),
                "feeds": sorted(self.feeds),
                "instruments": list(self.own),
            }
        ]

    def source(self, told: Mapping[str, Columns], tail: bool = True) -> KafkaSource:
        """The source of these partitions.

        Args:
            told: the streams in which instruments are told of each other, which come in a topic of their own, if any.
            tail: whether to wait for more at the end.

        Raises:
            InputError: that topic is missing, or has another number of partitions.
        """
        common = Reading(self.topics.market, self.shards, self.partitions)
        market = common._replace(
            lacking=self.lacking,
            preloaded=PRELOAD in self.feeds,
            foreign=() if self.announced.writers else self.instruments,
        )
        readings = {MARKET: market}
        if told:
            readings[CROSS] = common._replace(topic=self.topics.cross, streams=told)
        return KafkaSource(self.connection, readings, tail)


def open_kafka(
    connection: Connection, prefix: str, instruments: Collection[str] = (), wait_s: float = WAIT_S
) -> KafkaInputs:
    """All partitions of a deployment, as its brokers and its writers tell.

    Args:
        connection: to the brokers.
        prefix: of the names of topics.
        instruments: those of a topic that another program writes, of which nobody announces anything.
        wait_s: how long a first writer is waited for.

    Raises:
        InputError: the brokers cannot be reached, a topic is missing or may not be read, or nobody has announced anything.
        SettingsError: the options do not fit.
    """
    topics, admin = Topics(prefix), connect_admin(connection)
    shards = partitions_of(connection, admin, [topics.market])[topics.market]
    topic_id = str(described(connection, admin, [topics.market])[topics.market].topic_id)
    if instruments:
        announced = Announced(Universe(tuple(instruments), frozenset(), frozenset({TRADES})), True, 0.0, {}, {})
    else:
        announced = read_universe(connection, topics.universe, wait_s)
    return KafkaInputs(connection, topics, announced, topic_id, shards, tuple(range(shards)))
