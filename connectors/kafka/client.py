"""Clients of Kafka: the options of librdkafka, and the brokers as this program looks at them before a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from connectors.kafka.faults import AWAY, Said, kafka_error, kafka_errors, options_error
from events.errors import SettingsError

REACH_S: Final = 8.0
"""How long brokers that do not answer are waited for before a run begins."""
CLOSE_S: Final = 3.0
"""How long they are waited for when something is closed."""
ANEW_S: Final = 10.0
"""How long a client asks before another takes its place: one that a broker, as it comes back, tells that there are no brokers may
find none for good (librdkafka 2.10 and above, issue 5301 there)."""
TRIED_S: Final = 3.0
"""The same before a run begins."""
_NEWS_S: Final = 2.0  # until all brokers know of a topic that was just made
MESSAGE_BYTES: Final = 1_000_000
"""What a message may have where the topic's own limit may not be read; brokers allow a little more."""

_silent = logging.getLogger(f"{__name__}.librdkafka")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False  # a library's lines on the terminal are of no use to anybody, and who knows what is in them

Answer = TypeVar("Answer")
Asker = TypeVar("Asker")
Within = Callable[[], float]
"""For how many seconds brokers that do not answer are waited for; asked again and again, as a run that is to stop waits less."""
_Client = TypeVar("_Client", AdminClient, Producer, Consumer)

SOON: Final = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._NOENT,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._WAIT_COORD,
)
"""What brokers say that have not caught up with each other yet."""
_COMMON: Final[dict[str, Any]] = {
    "client.id": "tidewax",
    "log_level": 0,  # errors are told as sentences
    "reconnect.backoff.max.ms": 1_000,
    "topic.metadata.refresh.interval.ms": 30_000,
}
_DEFAULTS: Final[dict[type, dict[str, Any]]] = {
    AdminClient: {},
    Producer: {
        "linger.ms": 5,
        "compression.type": "lz4",
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 128 << 10,
    },
    Consumer: {"fetch.wait.max.ms": 50, "queued.max.messages.kbytes": 64 << 10},
}
"""What `options` of a connection may set otherwise."""

_PROMISED: Final[dict[type, dict[str, Any]]] = {
    AdminClient: {},
    Producer: {
        "acks": "all",
        "enable.idempotence": True,
        # A message that cannot be written stops the producer, so that nothing behind it is written in its place.
        "enable.gapless.guarantee": True,
        "message.timeout.ms": 0,  # how long to try is the sink's to decide: what is given up here would be a gap
    },
    Consumer: {
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "allow.auto.create.topics": False,
        "isolation.level": "read_committed",
    },
}
"""What nothing is lost and nothing comes twice by."""

_OWN: Final = frozenset(
    """bootstrap.servers metadata.broker.list group.id group.instance.id group.protocol request.required.acks delivery.timeout.ms
    max.in.flight max.in.flight.requests.per.connection retries message.send.max.retries transactional.id message.max.bytes
    batch.size partitioner enable.partition.eof delivery.report.only.error""".split()  # noqa: SIM905
).union(*_PROMISED.values())


@dataclass(frozen=True)
class Connection:
    """Where the brokers are, and how to log in to them.

    Args:
        servers: host and port of one or more brokers, with commas between.
        options: of librdkafka, such as `security.protocol`; never shown.
        group: the consumer group of what this program commits.

    >>> Connection("localhost:9092", {"sasl.password": "secret"})
    Connection(servers='localhost:9092', group='tidewax')
    """

    servers: str
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict, repr=False)
    group: str = "tidewax"


def client_options(kind: type[_Client], connection: Connection, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The options of librdkafka for a client: its defaults, then those of the user, then what the promises of this program hang on.

    Args:
        kind: AdminClient, Producer or Consumer.
        connection: where to.
        own: more options, which win over all others.

    Raises:
        SettingsError: the user sets one that is this program's to set.

    >>> options = client_options(Producer, Connection("localhost:9092", {"linger.ms": 20}))
    >>> options["linger.ms"], options["enable.idempotence"]
    (20, True)
    """
    for name in connection.options:
        if name in _OWN:
            raise SettingsError(
                f"kafka.options sets {name}, which this program sets by itself, since its promises hang on it; leave it out"
            )
    promised = {"bootstrap.servers": connection.servers, **_PROMISED[kind], **(own or {})}
    if kind is Consumer:
        promised.setdefault("group.id", connection.group)
    return {**_COMMON, **_DEFAULTS[kind], **connection.options, **promised}


def opened(
    kind: type[_Client], connection: Connection, said: Said | None = None, own: Mapping[str, Any] | None = None
) -> _Client:
    """A client that connects by itself when it is used.

    What brokers know of groups is not for an AdminClient to ask: librdkafka 2.16 aborts the process, or reads through a null
    pointer, where the connection to the coordinator of a group breaks, or that is not ready, amid such a request.

    Args:
        kind: AdminClient, Producer or Consumer.
        connection: where to.
        said: collects what is said of its connections; it is told whenever the client is polled.
        own: more options, which win over all others.

    Raises:
        SettingsError: `kafka.options` does not fit; it names the options, without their values.
    """
    options = {**client_options(kind, connection, own), "logger": _silent}
    if said is not None:
        options["error_cb"] = said
    try:
        return kind(options)
    except KafkaException as error:
        raise options_error(error.args[0], connection.options) from None
    except (TypeError, ValueError):
        raise SettingsError("kafka.options has a value of a type that librdkafka does not take") from None


def close_within(consumer: Consumer, within_s: float = CLOSE_S) -> bool:
    """Close a consumer; brokers that are away are waited for no longer than this. Whether it is closed."""
    # librdkafka waits for what was committed, a minute where nobody answers, or longer; a stop must not
    closing = Thread(target=consumer.close, daemon=True)
    closing.start()
    closing.join(within_s)
    return not closing.is_alive()


@contextmanager
def consuming(connection: Connection, said: Said | None, own: Mapping[str, Any]) -> Iterator[Consumer]:
    """A consumer, as `opened` makes it, until the end of the block."""
    consumer = opened(Consumer, connection, said, own)
    try:
        yield consumer
    finally:
        close_within(consumer)


def connect_admin(connection: Connection, within_s: float = REACH_S) -> AdminClient:
    """A client for what stands around messages, once a broker has answered it.

    Raises:
        InputError: none answered in time, or it refused the login.
        SettingsError: `kafka.options` does not fit.
    """
    said = Said()
    ends_s = time.monotonic() + within_s
    while True:
        admin, anew_s = opened(AdminClient, connection, said), time.monotonic() + TRIED_S
        while time.monotonic() < anew_s:
            try:
                admin.list_topics(timeout=1.0)
            except KafkaException as error:
                admin.poll(0)
                if said.final or time.monotonic() >= ends_s:
                    raise kafka_error(connection.servers, said.why or error.args[0]) from None
            else:
                return admin


def partitions_of(
    connection: Connection, admin: AdminClient, topics: Collection[str], rights: Collection[str] = ()
) -> dict[str, int]:
    """How many partitions each of these topics has.

    Args:
        connection: where the brokers are.
        admin: a client of theirs.
        topics: their names.
        rights: what the user has to be allowed to do with them, such as READ and WRITE.

    Raises:
        InputError: one is not there, or the user lacks a right to it; or the brokers do not answer.
    """
    ends_s = time.monotonic() + _NEWS_S
    while True:
        found = described(connection, admin, topics)
        wrong = [(topic, answer) for topic, answer in found.items() if isinstance(answer, KafkaError)]
        if not wrong:
            break
        if time.monotonic() > ends_s:
            raise kafka_error(connection.servers, wrong[0][1], topic=wrong[0][0], right="DESCRIBE")
        time.sleep(0.1)
    for topic in topics:
        allowed = {right.name for right in found[topic].authorized_operations or ()}
        for right in rights if allowed else ():
            if right not in allowed:
                refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
                raise kafka_error(connection.servers, refused, topic=topic, right=right)
    return {topic: len(found[topic].partitions) for topic in topics}


def described(connection: Connection, admin: AdminClient, topics: Collection[str]) -> dict[str, Any]:
    """What the brokers say of topics: a description, or the error of one that is not there or must not be looked at.

    Raises:
        InputError: the brokers do not answer.
    """
    names = TopicCollection(list(topics))
    with kafka_errors(connection.servers):
        asked = admin.describe_topics(names, include_authorized_operations=True, request_timeout=REACH_S)
    return {topic: _answer(connection, asked[topic]) for topic in topics}


def settings_of(
    connection: Connection, admin: AdminClient, topics: Collection[str]
) -> dict[str, dict[str, str] | None]:
    """The settings of topics that are there, such as `max.message.bytes`; None of one whose settings must not be looked at.

    Raises:
        InputError: the brokers do not answer.
    """
    if not topics:
        return {}
    with kafka_errors(connection.servers):
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        asked = admin.describe_configs(resources, request_timeout=REACH_S)
    found: dict[str, dict[str, str] | None] = {}
    for resource, future in asked.items():
        answer = _answer(connection, future)
        told = None if isinstance(answer, KafkaError) else {name: entry.value for name, entry in answer.items()}
        found[resource.name] = told
    return found


def at_start() -> float:
    """How long brokers are waited for before a run begins, in seconds."""
    return REACH_S


def patiently(
    connected: Callable[[], AbstractContextManager[Asker]],
    ask: Callable[[Asker], Answer],
    within: Within = at_start,
    meanwhile: Callable[[Asker], object] = lambda _: time.sleep(0.1),
) -> Answer:
    """What `ask` returns, asked again while the brokers are away, or say that they are not ready yet, as after a start of theirs.

    Args:
        connected: a client, closed at the end; made anew every ANEW_S.
        ask: asks the brokers once.
        within: from when on they are not asked again.
        meanwhile: what is done before they are.

    Raises:
        KafkaException: they say something else, or are away or not ready for too long.
    """
    began_s = time.monotonic()
    while True:
        with connected() as client:
            anew_s = time.monotonic() + ANEW_S
            while time.monotonic() < anew_s:
                try:
                    return ask(client)
                except KafkaException as error:
                    if error.args[0].code() not in (*SOON, *AWAY) or time.monotonic() - began_s > within():
                        raise
                meanwhile(client)


def _answer(connection: Connection, future: Future[Any]) -> Any:
    """What was asked for, or what the brokers said against it.

    Raises:
        InputError: they do not answer.
    """
    with kafka_errors(connection.servers):
        try:
            return future.result(REACH_S + 1)
        except KafkaException as error:
            if error.args[0].code() < 0:  # of librdkafka, not of a broker
                raise
            return error.args[0]
