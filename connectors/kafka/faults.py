"""What goes wrong with Kafka, as sentences: what it was, and what to do. No value of `kafka.options` is ever in one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from events.errors import InputError, SettingsError, TidewaxError

_LOGIN: Final = (
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError.ILLEGAL_SASL_STATE,
)
AWAY: Final = (
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._MSG_TIMED_OUT,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION,
)
_ABSENT: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
RIGHTS: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)
_TELLING: Final = (*_LOGIN, KafkaError._SSL, KafkaError._RESOLVE, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)
"""Of several errors, the first of these says most."""
_UNLIKE: Final = ", as if security.protocol in kafka.options were not what they expect"
_SPEAKING: Final = {
    "Connection refused": ": nobody listens there (connection refused)",
    "No route to host": ": there is no route to the host",
    "broker listener": f": they hang up{_UNLIKE}",
    "SSL listener": f": they hang up{_UNLIKE}",
    "brokers are down": f": they do not answer{_UNLIKE}",
    "imed out": ": they do not answer in time",
}
"""What librdkafka says of connections, and what is told of it."""


class Said:
    """What librdkafka says of the connections of a client (its `error_cb`), the newest of each kind."""

    def __init__(self) -> None:
        self._newest: dict[int, KafkaError] = {}

    def __call__(self, error: KafkaError) -> None:
        """Take what is said."""
        self._newest[error.code()] = error

    @property
    def why(self) -> KafkaError | None:
        """What says most about why nothing goes on; None if nothing was said."""
        told = (self._newest[code] for code in _TELLING if code in self._newest)
        return next(told, next(iter(self._newest.values()), None))

    @property
    def final(self) -> bool:
        """Whether trying again would not help: the login or the certificates are refused."""
        why = self.why
        return why is not None and why.code() in (*_LOGIN, KafkaError._SSL)

    def forget(self) -> None:
        """The connections work again."""
        self._newest.clear()


def kafka_error(
    servers: str,
    error: KafkaError,
    *,
    topic: str = "",
    group: str = "",
    right: str = "",
    kind: type[TidewaxError] = InputError,
) -> TidewaxError:
    """An error of librdkafka or of a broker as one that says what to do.

    Args:
        servers: those of the connection.
        error: what was said.
        topic: the topic that it is about, if any.
        group: the consumer group that it is about, if any.
        right: what the user of the brokers has to be allowed to do, such as READ.
        kind: of the error that is made; options that do not fit are a SettingsError.
    """
    code = error.code()
    at = f"Kafka at {servers}"
    if code in _LOGIN:
        return SettingsError(
            f"{at} refuses the login. Check sasl.mechanism, sasl.username and sasl.password in kafka.options, and that "
            "security.protocol is what the brokers expect."
        )
    if code == KafkaError._SSL:
        return SettingsError(
            f"{at}: TLS fails, as one side does not accept the other's certificate. Check ssl.ca.location and the other ssl "
            "settings in kafka.options, and that kafka.servers has the names of the certificates."
        )
    if code == KafkaError._RESOLVE:
        return kind(f"{at} cannot be found: the name of a host is unknown. Check kafka.servers.")
    if code in AWAY:
        return kind(
            f"{at} cannot be reached{_reason(error)}. See that the brokers run and that kafka.servers names them."
        )
    if code in _ABSENT:
        return kind(f"{at} has no topic {topic}. Make it with `tidewax topics create --apply`, or check kafka.prefix.")
    if code in RIGHTS:
        what = f"topic {topic}" if code == KafkaError.TOPIC_AUTHORIZATION_FAILED else f"group {group}"
        what = "the cluster" if code == KafkaError.CLUSTER_AUTHORIZATION_FAILED else what
        need = right if code != KafkaError.GROUP_AUTHORIZATION_FAILED else "READ"
        return kind(f"{at}: the user has no right {need or 'to use it'} on {what}. Grant it, then start again.")
    about = f" about topic {topic}" if topic else ""
    return kind(
        f"{at} says{about}: {error.str().strip().rstrip('.')} ({error.name()}). Look at the brokers, then start again."
    )


@contextmanager
def kafka_errors(
    servers: str, *, topic: str = "", group: str = "", right: str = "", kind: type[TidewaxError] = InputError
) -> Iterator[None]:
    """Turn a KafkaException of the block, or a TimeoutError, into an error as `kafka_error` makes them."""
    try:
        yield
    except TimeoutError:
        silent = KafkaError(KafkaError._TIMED_OUT)
        raise kafka_error(servers, silent, topic=topic, group=group, right=right, kind=kind) from None
    except KafkaException as error:
        raise kafka_error(servers, error.args[0], topic=topic, group=group, right=right, kind=kind) from None


def options_error(error: KafkaError, options: Iterable[str]) -> SettingsError:
    """What librdkafka has against options, without their values.

    >>> print(options_error(KafkaError(-186, 'Invalid value "x" for configuration property "acks"'), ["acks"]))
    kafka.options: acks cannot be used as it is. Check it against librdkafka's list of options.
    """
    text = error.str()
    unknown = re.match(r'No such configuration property: "([^"]*)"', text)
    if unknown:
        return SettingsError(
            f"kafka.options: librdkafka knows no option {unknown[1]}. Check it against librdkafka's list of options."
        )
    words = set(re.findall(r"[a-z0-9_]+(?:\.[a-z0-9_]+)*", text))
    named = sorted(words & set(options)) or sorted(name for name in words if name.startswith(("sasl.", "ssl.")))
    if not named and "SASL" in text:
        named = ["sasl.mechanism"]
    what = " and ".join(named) or "the options"
    verb = "cannot be used as it is. Check it" if len(named) == 1 else "cannot be used as they are. Check them"
    return SettingsError(f"kafka.options: {what} {verb} against librdkafka's list of options.")


def _reason(error: KafkaError) -> str:
    """Why brokers are away, where librdkafka says it."""
    text = error.str()
    return next((said for word, said in _SPEAKING.items() if word in text), "")
