"""Which topic a stream goes to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from connectors.kafka.names import Topics
from connectors.kafka.wire import MARKET
from events.streams import Columns, Stream

_KINDS: Final = {"bars": "bars", "features": "features", "micro": "features", "beta": "features"}
"""The kind of a stream, by what its name begins with; that of others is their name."""
_NO_STATE: Final = frozenset({"dead_letters"})
"""Kinds of which the newest says nothing of how things are."""


class Route(NamedTuple):
    """Where a stream goes.

    Attributes:
        topic: columns travel there as frames, records as JSON.
        stream: what its rows are.
        latest: the compacted topic of the newest row of each instrument, if there is one.
    """

    topic: str
    stream: Stream
    latest: str | None = None


def kind_of(stream: str) -> str | None:
    """The kind of results that a stream belongs to; None for what stays out of Kafka.

    >>> kind_of("bars.5m"), kind_of("micro.1m"), kind_of("signals"), kind_of("bars.open.5m"), kind_of("counts")
    ('bars', 'features', 'signals', None, None)
    """
    if stream.startswith("bars.open"):
        return None
    stem, dot, _ = stream.partition(".")
    kind = _KINDS.get(stem) if dot else stream
    return kind if kind in ("bars", "features", "confluence", "signals", "updates", "dead_letters") else None


def has_latest(kind: str) -> bool:
    """Whether there is a topic of the newest of a kind.

    >>> has_latest("bars"), has_latest("dead_letters")
    (True, False)
    """
    return kind not in _NO_STATE


def market_routes(topics: Topics) -> dict[str, Route]:
    """Where the streams of sources go: all to the market topic."""
    return {name: Route(topics.market, stream) for name, stream in MARKET.items()}


def result_routes(topics: Topics, streams: Mapping[str, Stream], kinds: Collection[str]) -> dict[str, Route]:
    """Where results go.

    Args:
        topics: the names of topics.
        streams: all that leaves the graph, as of `Plan.streams`.
        kinds: what is to be written, of `config.kafka_section.KINDS`.

    >>> from events.streams import base_streams
    >>> routes = result_routes(Topics("t"), base_streams(["1m"]), ["bars", "dead_letters"])
    >>> [(name, route.topic, route.latest) for name, route in routes.items()]
    [('bars.1m', 't.bars', 't.latest.bars'), ('dead_letters', 't.dead_letters', None)]
    """
    found: dict[str, Route] = {}
    for name, stream in streams.items():
        kind = kind_of(name)
        if kind is not None and kind in kinds:
            found[name] = Route(topics.result(kind), stream, topics.latest(kind) if has_latest(kind) else None)
    return found


def cross_routes(topics: Topics, streams: Mapping[str, Columns], together: str) -> dict[str, Route]:
    """Where goes what `flows.market` tells: `together`, the figures of all instruments, to a topic of its own, the rest to each
    instrument.
    """
    return {
        name: Route(topics.result("global") if name == together else topics.cross, stream)
        for name, stream in streams.items()
    }
