"""The section of settings about Kafka: what ingest writes, live runs read, and results go back to."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from config.section import Section

KINDS: Final = ("bars", "features", "confluence", "signals", "updates", "dead_letters")
"""The kinds of results, each with a topic of its own."""


def _topic_prefix(value: str) -> str:
    if not value or len(value) > 200 or not all(c.isascii() and (c.isalnum() or c in "._-") for c in value):
        raise ValueError(f"prefix is {value!r}: names of topics have letters, digits, '.', '_' and '-'")
    return value


def _writer(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", value):
        raise ValueError(f"writer is {value!r}: it is of letters, digits, '.', '_' and '-'")
    return value


class Kafka(Section):
    """Kafka: the log between exchanges and analysis, and where results go. It is used if `servers` are named."""

    servers: str | None = Field(
        None, description="Host and port of one or more brokers, with commas between, such as localhost:9092."
    )
    prefix: Annotated[str, AfterValidator(_topic_prefix)] = Field(
        "tidewax", description="What the names of all topics begin with."
    )
    shards: int = Field(
        8,
        ge=1,
        le=1_000,
        description="Partitions of the topics that `tidewax topics create` makes, and so the number of shards, for good.",
    )
    replication: int | None = Field(
        None, ge=1, description="Replicas of the topics that are made; as the brokers have it, if not given."
    )
    wire: Literal["arrow", "json"] = Field(
        "arrow",
        description="How rows travel: as record batches of Arrow, or as JSON of ccxt's unified names, a row a message.",
    )
    source: Literal["exchange", "kafka"] = Field(
        "kafka", description="Where a live run with `servers` takes its market data from."
    )
    results: tuple[Literal["bars", "features", "confluence", "signals", "updates", "dead_letters"], ...] = Field(
        KINDS, description="What a live run writes to Kafka."
    )
    writer: Annotated[str | None, AfterValidator(_writer)] = Field(
        None,
        description="Under which name `tidewax ingest` writes: one at a time has it. The names of its exchanges, if not given; two "
        "of the same exchange and other symbols need one each.",
    )
    group: str = Field(
        "tidewax", description="Consumer group under which offsets are committed, for tools that show its lag."
    )
    market: bool = Field(
        True,
        description="Whether figures of several instruments, bitcoin beta and GLOBAL, come from `flows.market`, which must run "
        "beside the shards; without it shards have none. A flow over all shards at once works them out itself.",
    )
    instruments: tuple[str, ...] = Field(
        (),
        description="Instruments of a market topic that another program writes, as exchange:SYMBOL: trades as JSON in ccxt's "
        "unified form, keyed by instrument. Not needed where `tidewax ingest` writes it.",
    )
    options: dict[str, str | int | float | bool] = Field(
        {},
        exclude=True,
        repr=False,
        description="Options of librdkafka, such as {security.protocol: SASL_SSL, sasl.username: '${USER}'}; they are passed "
        "on, and shown or stored nowhere.",
    )
