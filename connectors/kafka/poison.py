"""Messages that cannot be read, as dead letters that say where they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from events.frames import Frame
from events.records import ALL, DeadLetter
from events.schema import NEVER

UNDECODABLE: Final = "UNDECODABLE"
STEP: Final = "kafka"
_SHOWN: Final = 400


def dead_letter(
    topic: str,
    partition: int,
    offset: int,
    at_ns: int,
    key: bytes | None,
    headers: Iterable[tuple[str, bytes | None]],
    value: bytes | None,
    why: str,
) -> tuple[str, Frame]:
    """The dead letter of a message, under the instrument that it names, or "*" where it names none.

    >>> _, frame = dead_letter("tidewax.market", 3, 17, 60, b"x:A/B", [], b"?", "it is no JSON")
    >>> print(frame.rows[0].detail)
    message 17 of tidewax.market, partition 3, cannot be read: it is no JSON

    Args:
        topic: its topic.
        partition: its partition.
        offset: its offset.
        at_ns: its time, of whoever wrote it.
        key: its key.
        headers: its headers.
        value: its value, of which the beginning is shown.
        why: why it cannot be read.
    """
    name = _text(key) or ALL
    letter = DeadLetter(
        key=name,
        ts=at_ns,
        source=f"{topic}/{partition}",
        offset=offset,
        ts_event=at_ns,
        ts_recv=at_ns,
        step=STEP,
        reason=UNDECODABLE,
        detail=f"message {offset} of {topic}, partition {partition}, cannot be read: {why}",
        raw={
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "headers": {header: shown(said) for header, said in headers},
            "value": shown(value),
        },
    )
    return name, Frame(name, DeadLetter.stream, (letter,), NEVER)


def shown(value: bytes | None) -> str | None:
    """The beginning of bytes as text; hex digits where they are none.

    >>> shown(b"abc"), shown(bytes([255, 1]))
    ('abc', 'ff01')
    """
    if value is None:
        return None
    text = _text(value[:_SHOWN])
    return value[: _SHOWN // 2].hex() if text is None or not text.isprintable() else text


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
