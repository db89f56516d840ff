"""How frames travel as messages: how they are cut, and frames from messages again. A message without rows has an empty value; what
headers say, `connectors.kafka.headers` tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from connectors.kafka.codecs import arrow_of, json_of
from connectors.kafka.headers import Header, Position, position_of, says
from connectors.kafka.parts import joined, parts_of
from connectors.kafka.undecodable import Undecodable
from events.feeds import BOOKS, FEEDS
from events.frames import Array, Frame
from events.schema import NEVER
from events.streams import Columns, Records, Stream

__all__ = ["MARKET", "WIRES", "Message", "Place", "Position", "Undecodable", "encode", "frames_of", "position_of"]

MARKET: Final[Mapping[str, Columns]] = {name: Columns(name, feed.dtype) for name, feed in FEEDS.items()}
"""The streams of a market topic."""

WIRES: Final = ("arrow", "json")


class Message(NamedTuple):
    """A message, as producers take it."""

    key: bytes
    value: bytes
    headers: list[Header]


class Place(NamedTuple):
    """How far a stream of an instrument has been written: how many rows, and the watermark."""

    rows: int = 0
    watermark: int = NEVER


def encode(frame: Frame, stream: Stream, first: int, wire: str, most_bytes: int) -> list[Message]:
    """The messages of a frame; none where it says nothing.

    A large frame is cut by rows, but an update of a book stays whole. Records are JSON on every wire, and what else frames of
    records say is left out.

    >>> heartbeat = Frame("x:A/B", "trades", FEEDS["trades"].empty, 60)
    >>> encode(heartbeat, MARKET["trades"], 0, "arrow", 1_000_000)
    [Message(key=b'x:A/B', value=b'', headers=[('stream', b'trades'), ('watermark', b'60'), ('schema', b'1')])]

    Args:
        frame: the frame.
        stream: what its rows are, such as `MARKET[frame.name]`.
        first: how many rows of the stream of the instrument came before.
        wire: "arrow" or "json".
        most_bytes: of the value of a message. A row or an update of a book that takes more is a message nevertheless.
    """
    key, name = frame.instrument.encode(), frame.name.encode()
    if isinstance(stream, Records):
        return [
            Message(key, record.canonical().encode(), [("stream", name), ("id", record.record_id.encode())])
            for record in frame.rows
        ]
    out: list[Message] = []
    if len(frame.rows):
        flag = [("in_order", b"1")] if frame.in_order and wire == "arrow" else []
        for value, count in _values(frame, stream, wire, most_bytes):
            headers = [("id", b"%b:%d" % (name, first)), *flag]
            if count != 1:
                headers.append(("count", b"%d" % count))
            out.append(Message(key, value, headers))
            first += count
    said = says(frame)
    if said and out:
        out[-1].headers.extend(said)
    elif said:
        out.append(Message(key, b"", [("stream", name), *said]))
    return out


def _values(frame: Frame, columns: Columns, wire: str, most_bytes: int) -> Iterable[tuple[bytes, int]]:
    if wire == "json":
        return json_of(columns).encode(frame.instrument, frame.rows)
    codec, rows = arrow_of(columns), frame.rows
    ends = [*_ends(frame, codec.most_rows(most_bytes)), len(rows)]
    return [(codec.encode(rows[a:b]), b - a) for a, b in pairwise([0, *ends])]


def _ends(frame: Frame, most: int) -> list[int]:
    """Where to cut a frame into parts of at most `most` rows; an update of a book stays in one piece."""
    rows = len(frame.rows)
    if frame.name != BOOKS:
        return list(range(most, rows, most))
    ends, updates, at = list[int](), np.flatnonzero(frame.rows["last"]) + 1, 0
    while rows - at > most:
        place = int(updates.searchsorted(at + most, side="right"))
        at = int(updates[place - 1]) if place and updates[place - 1] > at else _next(updates, place, rows)
        if at < rows:
            ends.append(at)
    return ends


def _next(updates: Array, place: int, rows: int) -> int:
    return int(updates[place]) if place < len(updates) else rows


def frames_of(messages: Sequence[Message], streams: Mapping[str, Columns]) -> list[tuple[str, Frame]]:
    """The frames of messages; what comes of an instrument and stream without anything said of it between shares one.

    Raises:
        Undecodable: one of them cannot be read.
    """
    keys, values, headers = zip(*messages) if messages else ((), (), ())
    parts, bad = parts_of(keys, values, headers)
    for _, why in bad:
        raise why
    return joined(parts, streams)
