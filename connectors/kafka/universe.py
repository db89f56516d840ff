"""Who writes what to the market topic: each writer announces it before its first frame, and every reader asks there.

An announcement is the newest message of its writer in a compacted topic of one partition. It says all that the plan of a run
has to know before the first frame, as the head of a tape does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from connectors.kafka.client import REACH_S, Connection, consuming, opened
from connectors.kafka.faults import Said, kafka_error, kafka_errors
from connectors.tape import Universe
from events.errors import InputError, RunError
from events.feeds import DRIVING, FEEDS, MEMBERS, UNIVERSE
from events.identity import like
from events.schema import SCHEMA_VERSION

_CONSUME: Final = 500
_POLL_S: Final = 0.2
_NEW: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
_NEW_S: Final = 2.0


@dataclass(frozen=True)
class Announcement:
    """What a writer says of itself.

    Attributes:
        writer: its name, the key of the message.
        run: id of its run; a restart has the same.
        universe: its instruments and their streams.
        live: whether exchanges send the trades, now or when the tape that is written was recorded.
        wire: how rows travel, `arrow` or `json`.
        lateness_s: by how much rows may be out of order that are not live.
        created_by: the version of Tidewax.
        schema_v: of the row types.
    """

    writer: str
    run: str
    universe: Universe
    live: bool
    wire: str
    lateness_s: float = 0.0
    created_by: str = ""
    schema_v: int = SCHEMA_VERSION

    def to_json(self) -> bytes:
        """The value of the message.

        >>> universe = Universe(("x:A/B",), frozenset(), frozenset({"trades"}))
        >>> made = Announcement("x", "5f1e", universe, True, "arrow")
        >>> announcement_of("topic", "x", made.to_json()) == made
        True
        """
        tree = {name: value for name, value in vars(self).items() if name not in ("writer", "universe")}
        return json.dumps({**self.universe.tree, **tree}, sort_keys=True).encode()


def announcement_of(topic: str, writer: str, value: bytes) -> Announcement:
    """The announcement of which this is the value.

    Raises:
        InputError: it is of another version, or is none.
    """
    try:
        tree: dict[str, Any] = json.loads(value)
        schema_v, feeds, created_by = tree["schema_v"], tree["feeds"], tree["created_by"]
        unknown = [name for name in feeds if name not in FEEDS]
        if schema_v != SCHEMA_VERSION or unknown:
            why = (
                f"has streams that this one does not know ({', '.join(unknown)})" if unknown else "has other row types"
            )
            raise InputError(
                f"{writer} writes to Kafka with Tidewax {created_by} (schema version {schema_v}; this one has {SCHEMA_VERSION}), "
                f"says {topic}, and {why}. Run one version on both sides."
            )
        given = {name: tree[name] for name in ("run", "live", "wire", "lateness_s", "created_by", "schema_v")}
        return Announcement(writer, universe=Universe.of(tree), **given)
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{topic} has a message of {writer!r} that is no announcement of a writer. Give kafka.prefix another value, or "
            "remove that message."
        ) from None


@dataclass(frozen=True)
class Announced:
    """What all writers together say.

    Attributes:
        universe: every instrument; the streams of all; where an instrument lacks one of them.
        live: whether exchanges send the trades; all writers agree on it.
        lateness_s: by how much rows may be out of order that are not live.
        unsaid: streams of others that an instrument's own writer knows nothing of, so that nobody says in the topic that nothing
            of them will come: whoever reads has to.
        writers: their announcements, by name.
    """

    universe: Universe
    live: bool
    lateness_s: float
    unsaid: Mapping[str, frozenset[str]]
    writers: Mapping[str, Announcement]


def together(announcements: Iterable[Announcement], topic: str = "the topic") -> Announced:
    """The union of what writers announce, in the order of their names.

    Raises:
        InputError: two of them claim an instrument, or some are live and others are not.

    >>> of_trades = Universe(("a:A/B",), frozenset({"a:A/B"}), frozenset({"trades"}))
    >>> with_books = Universe(("b:A/B",), frozenset(), frozenset({"trades", "book"}))
    >>> both = together(Announcement(u.instruments[0][0], "5f1e", u, True, "arrow") for u in (with_books, of_trades))
    >>> both.universe.instruments, sorted(both.universe.feeds), both.universe.lacking, both.unsaid
    (('a:A/B', 'b:A/B'), ['book', 'trades'], {'a:A/B': frozenset({'book'})}, {'a:A/B': frozenset({'book'})})
    """
    writers = {said.writer: said for said in sorted(announcements, key=lambda said: said.writer)}
    owners = _owners(writers, topic)
    if len({said.live for said in writers.values()}) > 1:
        live, stored = (next(name for name, said in writers.items() if said.live is kind) for kind in (True, False))
        raise InputError(
            f"{live} writes to {topic} what exchanges send, and {stored} what files hold, which have other rules of lateness. "
            "Run one of them with another kafka.prefix."
        )
    feeds = frozenset[str]().union(*(said.universe.feeds for said in writers.values()))
    unsaid = {
        instrument: missing
        for said in writers.values()
        if (missing := feeds - said.universe.feeds - {*DRIVING, UNIVERSE, MEMBERS})
        for instrument in said.universe.instruments
    }
    lacking = {name: streams for said in writers.values() for name, streams in said.universe.lacking.items()}
    lacking |= {name: lacking.get(name, frozenset()) | streams for name, streams in unsaid.items()}
    sequenced = frozenset[str]().union(*(said.universe.sequenced for said in writers.values()))
    universe = Universe(tuple(owners), sequenced, feeds, lacking)
    return Announced(
        universe,
        any(said.live for said in writers.values()),
        max((said.lateness_s for said in writers.values()), default=0.0),
        unsaid,
        writers,
    )


def _owners(writers: Mapping[str, Announcement], topic: str) -> dict[str, str]:
    """Which writer has each instrument.

    Raises:
        InputError: two have the same, by its name or by that of all that are like it.
    """
    owners, kinds = dict[str, str](), dict[str, str]()
    for name, said in writers.items():
        for instrument in said.universe.instruments:
            kind = like(instrument)
            other = owners.get(instrument, owners.get(kind, kinds.get(kind) if instrument == kind else None))
            if other not in (None, name):
                raise InputError(
                    f"{other} and {name} both write {instrument} to {topic}, so every row of it would come twice. Run one of them "
                    "with another kafka.prefix, or without that instrument."
                )
            owners[instrument] = name
        kinds |= {like(instrument): name for instrument in said.universe.instruments}
    return owners


def read_universe(connection: Connection, topic: str, wait_s: float = 0.0) -> Announced:
    """What the writers announce in a universe topic; where nobody has yet, it is waited for.

    Raises:
        InputError: nobody announces anything in time, announcements do not go together, or the topic cannot be read.
    """
    found = read_announcements(connection, topic, wait_s)
    if not found:
        raise InputError(
            f"nobody has announced in {topic} of Kafka at {connection.servers} what the market topic has. Start `tidewax ingest` "
            "with this kafka.prefix, or name kafka.instruments if another program writes trades there."
        )
    return together(found, topic)


def read_announcements(connection: Connection, topic: str, wait_s: float = 0.0) -> tuple[Announcement, ...]:
    """The newest announcement of each writer; the first ones that come within `wait_s`, if there are none yet.

    Raises:
        InputError: the topic cannot be read, or has one of another version.
    """
    said, found = Said(), dict[str, Announcement]()
    options = {"enable.partition.eof": True}
    with (
        consuming(connection, said, options) as consumer,
        kafka_errors(connection.servers, topic=topic, right="READ"),
    ):
        first = _first_offset(consumer, topic)
        consumer.assign([TopicPartition(topic, 0, first)])
        reached_s, waits_s = time.monotonic() + REACH_S, time.monotonic() + wait_s
        ended = False
        while not ended or not (found or time.monotonic() >= waits_s):
            for message in consumer.consume(_CONSUME, _POLL_S):
                ended |= _took(connection, topic, message, found)
            if not ended and time.monotonic() > reached_s:
                why = said.why or KafkaError(KafkaError._TIMED_OUT)
                raise kafka_error(connection.servers, why, topic=topic, right="READ")
    return tuple(found.values())


def _first_offset(consumer: Consumer, topic: str) -> int:
    """The first offset of the universe topic; one that was made a moment ago may not be known to every broker yet.

    Raises:
        KafkaException: the brokers do not say it.
    """
    ends_s = time.monotonic() + _NEW_S
    while True:
        try:
            return int(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=REACH_S)[0])
        except KafkaException as error:
            if error.args[0].code() not in _NEW or time.monotonic() > ends_s:
                raise
            time.sleep(_POLL_S)


def _took(connection: Connection, topic: str, message: Message, found: dict[str, Announcement]) -> bool:
    """Take a message of the universe topic; whether it says that there are no more."""
    error = message.error()
    if error is not None:
        if error.code() == KafkaError._PARTITION_EOF:
            return True
        raise kafka_error(connection.servers, error, topic=topic, right="READ")
    writer, value = (message.key() or b"").decode(errors="replace"), message.value()
    found.pop(writer, None)
    if value:
        found[writer] = announcement_of(topic, writer, value)
    return False


def announce(connection: Connection, topic: str, mine: Announcement) -> None:
    """Announce what a writer is about to write; a restart, which has announced it before, says it again only if it changed.

    Raises:
        InputError: the topic cannot be read or written, another writer has one of the instruments, or it does not go together
            with what others write.
        RunError: another run has written under this name.
    """
    before = {said.writer: said for said in read_announcements(connection, topic)}
    earlier = before.get(mine.writer)
    if earlier is not None and earlier.run != mine.run:
        raise RunError(_other_run(topic, earlier))
    together((before | {mine.writer: mine}).values(), topic)
    if earlier == mine:
        return
    _send(connection, topic, mine.writer, mine.to_json())
    now = {said.writer: said for said in read_announcements(connection, topic)}
    if now.get(mine.writer, mine).run != mine.run:  # both have begun at the same time
        raise RunError(_other_run(topic, now[mine.writer]))
    try:
        together(now.values(), topic)
    except InputError:
        if earlier is None:
            _send(connection, topic, mine.writer, None)
        raise


def withdraw(connection: Connection, topic: str, writer: str, run: str) -> None:
    """Take back what a run has announced, if that is the newest of its writer: it has written nothing, or nobody shall read it.

    Raises:
        InputError: the topic cannot be read or written.
    """
    if any(said.writer == writer and said.run == run for said in read_announcements(connection, topic)):
        _send(connection, topic, writer, None)


def _other_run(topic: str, said: Announcement) -> str:
    return (
        f"{topic} says that another run ({said.run}) has written as {said.writer}, of {len(said.universe.instruments)} "
        f"instruments: rows would come twice. Go on in the directory of that run, give this one another name "
        "(kafka.writer) and other instruments, or write to topics of another kafka.prefix."
    )


def _send(connection: Connection, topic: str, writer: str, value: bytes | None) -> None:
    """Write a message to the universe topic, and wait until it is there.

    Raises:
        InputError: it cannot be written.
    """
    said, failed = Said(), list[KafkaError]()

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = opened(Producer, connection, said)
    with kafka_errors(connection.servers, topic=topic, right="WRITE"):
        producer.produce(topic, value, writer.encode(), partition=0, on_delivery=delivered)
        left = producer.flush(REACH_S)
    if left:
        producer.purge()
        failed.append(said.why or KafkaError(KafkaError._TIMED_OUT))
    if failed:
        raise kafka_error(connection.servers, failed[0], topic=topic, right="WRITE")
