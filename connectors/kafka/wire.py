"""How frames travel as messages: how they are cut, what the headers say, and frames from messages again.

Headers: `stream`; `id`, of rows "stream:first", where `first` counts the rows of that stream of that instrument before; of a
record its own id; `count`, rows of the message, where it is not 1; `in_order` as in a frame. The last message of a frame also
has what the frame says: `watermark`, `control` (JSON lists of the values of control rows) and `schema`, the version. A message
without rows has an empty value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Final, NamedTuple

import msgspec
import numpy as np

from connectors.kafka.arrow_rows import ArrowRows
from connectors.kafka.json_books import JsonBooks
from connectors.kafka.json_rows import JsonRows
from connectors.kafka.json_trades import JsonTrades
from connectors.kafka.undecodable import Undecodable
from events.feeds import BOOKS, FEEDS, TRADES
from events.frames import CONTROL, NO_CONTROL, NO_ROWS, Array, Frame, concat
from events.schema import FOREVER, NEVER, SCHEMA_VERSION
from events.streams import Columns, Records, Stream

MARKET: Final[Mapping[str, Columns]] = {name: Columns(name, feed.dtype) for name, feed in FEEDS.items()}
"""The streams of a market topic."""

WIRES: Final = ("arrow", "json")
Header = tuple[str, bytes]


class Message(NamedTuple):
    """A message, as producers take it."""

    key: bytes
    value: bytes
    headers: list[Header]


class Place(NamedTuple):
    """How far a stream of an instrument has been written: how many rows, and the watermark."""

    rows: int = 0
    watermark: int = NEVER


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


def encode(frame: Frame, stream: Stream, first: int, wire: str, most_bytes: int) -> list[Message]:
    """The messages of a frame; none where it says nothing.

    A large frame is cut by rows, but an update of a book stays whole. Records are JSON on every wire, and what else frames of
    records say is left out.

    >>> heartbeat = Frame("x:A/B", TRADES, FEEDS[TRADES].empty, 60)
    >>> encode(heartbeat, MARKET[TRADES], 0, "arrow", 1_000_000)
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
        flag = [("in_order", b"1")] if frame.in_order else []
        for value, count in _values(frame, stream, wire, most_bytes):
            headers = [("stream", name), ("id", b"%b:%d" % (name, first)), *flag]
            if count != 1:
                headers.append(("count", b"%d" % count))
            out.append(Message(key, value, headers))
            first += count
    says = _says(frame)
    if says and out:
        out[-1].headers.extend(says)
    elif says:
        out.append(Message(key, b"", [("stream", name), *says]))
    return out


def _values(frame: Frame, columns: Columns, wire: str, most_bytes: int) -> Iterable[tuple[bytes, int]]:
    if wire == "json":
        return _json(columns).encode(frame.instrument, frame.rows)
    codec, rows = _arrow(columns), frame.rows
    ends = [*_ends(frame, codec.most_rows(most_bytes)), len(rows)]
    return [(codec.encode(rows[a:b]), b - a) for a, b in zip([0, *ends], ends)]


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


def _says(frame: Frame) -> list[Header]:
    out: list[Header] = []
    if frame.watermark > NEVER:
        out.append(("watermark", b"%d" % frame.watermark))
    if len(frame.control):
        out.append(("control", msgspec.json.encode(frame.control.tolist())))
    return [*out, ("schema", _VERSION)] if out else out


_VERSION: Final = b"%d" % SCHEMA_VERSION
_said = msgspec.json.Decoder(list[tuple[int, int, int, int, int, int, int]])


def position_of(headers: Iterable[Header] | None) -> Position:
    """What the headers of a message say.

    >>> position_of([("stream", b"bars.1m"), ("id", b"bars.1m:7"), ("count", b"3")])[:4]
    ('bars.1m', 'bars.1m:7', 7, 3)

    Raises:
        Undecodable: they are not ours, or of another version.
    """
    found = dict(headers or ())
    if "stream" not in found:
        raise Undecodable("it has no header 'stream', so it is not one of Tidewax")
    if found.get("schema", _VERSION) != _VERSION:
        raise Undecodable(f"it is of schema version {_text(found['schema'])}, and this program of {SCHEMA_VERSION}")
    stream, name = _text(found["stream"]), _text(found.get("id", b""))
    try:
        first = int(name[len(stream) + 1 :]) if name.startswith(f"{stream}:") else -1
        count = int(found.get("count", 1)) if name else 0
        watermark = int(found.get("watermark", NEVER))
        said = _said.decode(found["control"]) if "control" in found else ()
        control = np.array(said, CONTROL) if said else NO_CONTROL
    except (ValueError, OverflowError) as error:
        raise Undecodable(f"its headers cannot be read: {error}") from error
    if first < -1 or count < 0 or not NEVER <= watermark <= FOREVER:
        raise Undecodable("its headers have numbers out of range")
    control.flags.writeable = False
    return Position(stream, name, first, count, watermark, control, "in_order" in found)


def _text(value: bytes | None) -> str:
    try:
        return (value or b"").decode()
    except UnicodeDecodeError:
        raise Undecodable("its headers are no text") from None


class Part(NamedTuple):
    """A message whose rows are not decoded yet; the first `skip` of them are to be left out."""

    instrument: str
    position: Position
    value: bytes
    skip: int = 0


def part_of(message: Message) -> Part:
    """A message with what its key and headers say.

    Raises:
        Undecodable: it is not ours.
    """
    try:
        instrument = (message.key or b"").decode()
    except UnicodeDecodeError:
        raise Undecodable("its key is no text") from None
    if not instrument:
        raise Undecodable("it has no key")
    position = position_of(message.headers)
    if position.rows and position.first < 0:
        raise Undecodable("its id has no number of a row")
    return Part(instrument, position, message.value or b"")


def frames_of(messages: Iterable[Message], streams: Mapping[str, Columns]) -> list[tuple[str, Frame]]:
    """The frames of messages, as `joined` gives them.

    Raises:
        Undecodable: one of them cannot be read.
    """
    return joined([part_of(message) for message in messages], streams)


class _Group:
    """Parts that make one frame."""

    def __init__(self, part: Part) -> None:
        self.instrument, self.stream = part.instrument, part.position.stream
        self.parts: list[Part] = []
        self.watermark, self.control = NEVER, NO_CONTROL
        self.rows: Array = NO_ROWS

    def frame(self) -> Frame:
        """The frame."""
        ordered = bool(self.parts) and all(part.position.in_order for part in self.parts)
        return Frame(
            self.instrument,
            self.stream,
            self.rows,
            self.watermark,
            self.control,
            ordered and (len(self.parts) == 1 or _is_ordered(self.rows)),
        )


def joined(parts: Sequence[Part], streams: Mapping[str, Columns]) -> list[tuple[str, Frame]]:
    """Frames: what comes of an instrument and stream without anything said of it between shares one. That is as it must be: whether
    a row is late, and where a hole begins, depends on what was said before it.

    Args:
        parts: in their order.
        streams: what rows the streams have.

    Raises:
        Undecodable: one of them cannot be read.
    """
    groups: list[_Group] = []
    open_groups: dict[tuple[str, str], _Group] = {}
    closed: dict[tuple[str, str], _Group] = {}
    for part in parts:
        position, at = part.position, (part.instrument, part.position.stream)
        said = len(position.control) > 0
        group = open_groups.get(at)
        if group is None:
            before = closed.get(at)
            if before is not None and not position.rows and not said and not len(before.control):
                before.watermark = max(before.watermark, position.watermark)  # a heartbeat behind another
                continue
            group = open_groups[at] = _Group(part)
            groups.append(group)
        if position.rows > part.skip:
            group.parts.append(part)
        if said or position.watermark > NEVER:
            group.watermark, group.control = position.watermark, position.control
            closed[at] = open_groups.pop(at)
    _fill(groups, streams)
    return [(group.instrument, group.frame()) for group in groups if _is_told(group)]


def _is_told(group: _Group) -> bool:
    return bool(group.parts) or group.watermark > NEVER or len(group.control) > 0


def _fill(groups: Iterable[_Group], streams: Mapping[str, Columns]) -> None:
    """Decode the rows of all groups, those of a stream together."""
    by_stream: dict[str, list[_Group]] = {}
    for group in groups:
        columns = streams.get(group.stream)
        if columns is None:
            raise Undecodable(f"this program knows no stream {group.stream!r} here")
        group.rows = FEEDS[group.stream].empty if group.stream in FEEDS else _empty(columns)
        if group.parts:
            by_stream.setdefault(group.stream, []).append(group)
    for stream, mine in by_stream.items():
        rows = _decoded([part for group in mine for part in group.parts], streams[stream])
        at = 0
        for group in mine:
            begin = at
            at += sum(part.position.rows for part in group.parts)
            group.rows = rows[begin:at]
            if any(part.skip for part in group.parts):
                group.rows = _trimmed(group)


def _trimmed(group: _Group) -> Array:
    kept, at = list[Array](), 0
    for part in group.parts:
        kept.append(group.rows[at + part.skip : at + part.position.rows])
        at += part.position.rows
    return concat(kept)


def _decoded(parts: Sequence[Part], columns: Columns) -> Array:
    found = [
        _decoded_alike(list(alike), columns) for _, alike in groupby(parts, lambda part: part.value.startswith(b"{"))
    ]
    rows = concat(found)
    rows.flags.writeable = False
    return rows


def _decoded_alike(parts: list[Part], columns: Columns) -> Array:
    """The rows of messages of one wire; a writer may have gone over from one to the other."""
    values = [part.value for part in parts]
    rows, counts = (_json(columns) if values[0].startswith(b"{") else _arrow(columns)).decode(values)
    if counts != [part.position.rows for part in parts]:
        raise Undecodable("it has more or fewer rows than its headers say")
    return rows


def _is_ordered(rows: Array) -> bool:
    """Whether rows are in canonical order."""
    at = rows["available_at"]
    seq = rows["seq"] if "seq" in (rows.dtype.names or ()) else at
    return bool(((at[1:] > at[:-1]) | ((at[1:] == at[:-1]) & (seq[1:] >= seq[:-1]))).all())


@lru_cache(maxsize=1_024)
def _arrow(columns: Columns) -> ArrowRows:
    return ArrowRows(columns)


@lru_cache(maxsize=1_024)
def _json(columns: Columns) -> JsonRows | JsonTrades | JsonBooks:
    if columns.name == TRADES:
        return JsonTrades()
    return JsonBooks() if columns.name == BOOKS else JsonRows(columns)


@lru_cache(maxsize=1_024)
def _empty(columns: Columns) -> Array:
    empty = np.empty(0, columns.dtype)
    empty.flags.writeable = False
    return empty
