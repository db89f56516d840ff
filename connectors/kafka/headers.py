"""What the headers of a message say.

`id`: of rows "stream:first", where `first` counts the rows of that stream of that instrument before; of a record its own id.
`stream`, where the id does not say it: of records, and without rows. `count`: rows of the message, where it is not 1. `in_order`
as in a frame, on the wire of Arrow. The last message of a frame also has what the frame says: `watermark`, `control` (JSON lists of
the values of control rows) and `schema`, the version. Most messages so have one header: with two, reading takes a tenth longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
import numpy as np

from connectors.kafka.undecodable import Undecodable
from events.frames import CONTROL, NO_CONTROL, Array, Frame
from events.schema import FOREVER, NEVER, SCHEMA_VERSION

Header = tuple[str, bytes]
_VERSION: Final = b"%d" % SCHEMA_VERSION
_said = msgspec.json.Decoder(list[tuple[int, int, int, int, int, int, int]])


class Position(NamedTuple):
    """What the headers of a message say.

    Attributes:
        stream: of what stream it is.
        id: the id of its rows, or of its record; empty where it has none.
        first: rows of that stream of the instrument before its own; -1 for a record, and without rows.
        rows: how many it has.
        watermark: of the frame, in its last message; else NEVER.
        control: control rows of the frame, in its last message.
        in_order: whether the rows of the frame are in canonical order.
    """

    stream: str
    id: str
    first: int
    rows: int
    watermark: int = NEVER
    control: Array = NO_CONTROL
    in_order: bool = False


def says(frame: Frame) -> list[Header]:
    """What a frame says beside its rows."""
    out: list[Header] = []
    if frame.watermark > NEVER:
        out.append(("watermark", b"%d" % frame.watermark))
    if len(frame.control):
        out.append(("control", msgspec.json.encode(frame.control.tolist())))
    return [*out, ("schema", _VERSION)] if out else out


def position_of(headers: Iterable[Header] | None) -> Position:
    """What the headers of a message say.

    >>> position_of([("id", b"bars.1m:7"), ("count", b"3")])[:4]
    ('bars.1m', 'bars.1m:7', 7, 3)

    Raises:
        Undecodable: they are not ours, or of another version.
    """
    found = dict(headers or ())
    if found.get("schema", _VERSION) != _VERSION:
        raise Undecodable(f"it is of schema version {_text(found['schema'])}, and this program of {SCHEMA_VERSION}")
    stream, name = _text(found.get("stream")), _text(found.get("id"))
    try:
        first, count = -1, int(found.get("count", 1)) if name else 0
        if name and not stream:
            stream, _, number = name.rpartition(":")
            first = int(number)
        watermark = int(found.get("watermark", NEVER))
        said = _said.decode(found["control"]) if "control" in found else ()
        control = np.array(said, CONTROL) if said else NO_CONTROL
    except (ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise Undecodable(f"its headers cannot be read: {error}") from error
    if not stream:
        raise Undecodable("its headers say no stream, so it is not one of Tidewax")
    if first < -1 or count < 0 or not NEVER <= watermark <= FOREVER:
        raise Undecodable("its headers have numbers out of range")
    control.flags.writeable = False
    return Position(stream, name, first, count, watermark, control, "in_order" in found)


def _text(value: bytes | None) -> str:
    try:
        return (value or b"").decode()
    except UnicodeDecodeError:
        raise Undecodable("its headers are no text") from None
