"""Messages as parts of frames, and the frames that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import msgspec

from connectors.kafka.codecs import arrow_of, empty_of, json_of
from connectors.kafka.headers import Header, Position, position_of
from connectors.kafka.undecodable import Undecodable
from events.frames import NO_CONTROL, NO_ROWS, Array, Frame, concat
from events.schema import NEVER
from events.streams import Columns

_MANY = 8  # messages behind each other that are worth a look whether they are all of one stream
_numbers = msgspec.json.Decoder(list[int])


class Part(NamedTuple):
    """Messages of one instrument and stream, one behind the other, whose rows are not decoded yet.

    Attributes:
        instrument: it.
        position: what their headers say, of all together.
        values: of each message with rows.
        counts: the rows of each.
        places: which of the messages that were taken they are.
        skip: how many of the first rows are to be left out.
    """

    instrument: str
    position: Position
    values: list[bytes]
    counts: list[int]
    places: list[int]
    skip: int = 0


def part_of(key: bytes | None, value: bytes | None, headers: Sequence[Header] | None, place: int = 0) -> Part:
    """One message.

    Raises:
        Undecodable: it is not ours.
    """
    position = position_of(headers)
    if position.rows and position.first < 0:
        raise Undecodable("its id has no number of a row")
    values = [value or b""] if position.rows else []
    return Part(_instrument(key), position, values, [position.rows] if values else [], [place])


def parts_of(
    keys: Sequence[bytes | None], values: Sequence[bytes | None], headers: Sequence[Sequence[Header] | None]
) -> tuple[list[Part], list[tuple[int, Undecodable]]]:
    """The parts of messages, and which of them are not ours, and why.

    Nearly all messages of the JSON wire hold one row and have the header `id` alone. Those of an instrument and stream with
    nothing said between them are taken together, since looking at each for itself takes longer than decoding it.
    """
    out, bad = list[Part](), list[tuple[int, Undecodable]]()
    runs: dict[tuple[bytes | None, bytes], list[int]] = {}

    def alone(place: int) -> None:
        try:
            out.append(part_of(keys[place], values[place], headers[place], place))
        except Undecodable as why:
            bad.append((place, why))

    def together(key: bytes | None, prefix: bytes, ids: list[bytes], places: list[int]) -> bool:
        """Whether they are rows that follow on each other."""
        if not prefix or headers[places[0]][0][0] != "id":  # type: ignore[index]
            return False
        try:
            numbers = _numbers.decode(b"[%b]" % b",".join(ids).replace(prefix, b""))
            if numbers != list(range(numbers[0], numbers[0] + len(ids))) or numbers[0] < 0:
                return False
            position = Position(prefix[:-1].decode(), ids[0].decode(), numbers[0], len(ids))
            part = Part(_instrument(key), position, [values[k] or b"" for k in places], [1] * len(ids), places)
        except (ValueError, msgspec.MsgspecError):  # of any kind: each for itself tells
            return False
        out.append(part)
        return True

    def end(at: tuple[bytes | None, bytes]) -> None:
        places = runs.pop(at, [])
        if places and not together(*at, [headers[place][0][1] for place in places], places):  # type: ignore[index]
            for place in places:
                alone(place)

    marks = [key if head and len(head) == 1 and head[0][1] else None for key, head in zip(keys, headers)]
    place = 0
    for key, alike in groupby(marks):
        first, place = place, place + sum(1 for _ in alike)
        if key is None:
            for one in range(first, place):
                end((keys[one], _prefix(headers[one])))
                alone(one)
            continue
        ids: list[bytes] = [head[0][1] for head in headers[first:place]]  # type: ignore[index]
        prefix = ids[0][: ids[0].rfind(b":") + 1]
        if len(ids) >= _MANY:
            end((key, prefix))
            if together(key, prefix, ids, list(range(first, place))):
                continue
        for one, name in enumerate(ids, first):
            runs.setdefault((key, name[: name.rfind(b":") + 1]), []).append(one)
    for at in list(runs):
        end(at)
    out.sort(key=lambda part: part.places[0])
    return out, bad


def _prefix(headers: Sequence[Header] | None) -> bytes:
    """What the ids of rows of the stream begin with."""
    found = dict(headers or ())
    name = found.get("id") or b""
    return name[: name.rfind(b":") + 1] if name else b"%b:" % (found.get("stream") or b"")


def apart(part: Part) -> list[Part]:
    """A part as one for each message."""
    if len(part.places) == 1:
        return [part]
    out, first, skip = list[Part](), part.position.first, part.skip
    for value, count, place in zip(part.values, part.counts, part.places):
        position = part.position._replace(first=first, rows=count)
        out.append(Part(part.instrument, position, [value], [count], [place], min(skip, count)))
        first, skip = first + count, skip - min(skip, count)
    return out


def _instrument(key: bytes | None) -> str:
    try:
        instrument = (key or b"").decode()
    except UnicodeDecodeError:
        raise Undecodable("its key is no text") from None
    if not instrument:
        raise Undecodable("it has no key")
    return instrument


class _Group:
    """Parts that make one frame."""

    def __init__(self, part: Part) -> None:
        self.instrument, self.stream = part.instrument, part.position.stream
        self.parts: list[Part] = []
        self.watermark, self.control = NEVER, NO_CONTROL
        self.rows: Array = NO_ROWS

    @property
    def told(self) -> bool:
        """Whether it says anything."""
        return bool(self.parts) or self.watermark > NEVER or len(self.control) > 0

    def frame(self) -> Frame:
        """The frame."""
        ordered = bool(self.parts) and all(part.position.in_order for part in self.parts)
        ordered = ordered and (len(self.parts) == 1 or _is_ordered(self.rows))
        return Frame(self.instrument, self.stream, self.rows, self.watermark, self.control, ordered)

    def take(self, rows: Array, at: int) -> int:
        """Take the rows of its parts from those of all; where the next group's begin."""
        begin = at
        at += sum(part.position.rows for part in self.parts)
        self.rows = rows[begin:at]
        if any(part.skip for part in self.parts):
            kept, at_part = list[Array](), begin
            for part in self.parts:
                kept.append(rows[at_part + part.skip : at_part + part.position.rows])
                at_part += part.position.rows
            self.rows = concat(kept)
        return at


def joined(parts: Iterable[Part], streams: Mapping[str, Columns]) -> list[tuple[str, Frame]]:
    """Frames: what comes of an instrument and stream without anything said of it between shares one. That is as it must be: whether
    a row is late, and where a hole begins, depends on what was said before it.

    Args:
        parts: in their order.
        streams: what rows the streams have.

    Raises:
        Undecodable: one of them cannot be read.
    """
    groups, running, closed = list[_Group](), dict[tuple[str, str], _Group](), dict[tuple[str, str], _Group]()
    for part in parts:
        position, at = part.position, (part.instrument, part.position.stream)
        said = len(position.control) > 0
        group = running.get(at)
        if group is None:
            before = closed.get(at)
            if before is not None and not position.rows and not said and not len(before.control):
                before.watermark = max(before.watermark, position.watermark)  # a heartbeat behind another
                continue
            group = running[at] = _Group(part)
            groups.append(group)
        if position.rows > part.skip:
            group.parts.append(part)
        if said or position.watermark > NEVER:
            group.watermark, group.control = position.watermark, position.control
            closed[at] = running.pop(at)
    _fill(groups, streams)
    return [(group.instrument, group.frame()) for group in groups if group.told]


def _fill(groups: Iterable[_Group], streams: Mapping[str, Columns]) -> None:
    """Decode the rows of all groups, those of a stream together."""
    by_stream: dict[str, list[_Group]] = {}
    for group in groups:
        columns = streams.get(group.stream)
        if columns is None:
            raise Undecodable(f"this program knows no stream {group.stream!r} here")
        if group.parts:
            by_stream.setdefault(group.stream, []).append(group)
        else:
            group.rows = empty_of(columns)
    for stream, mine in by_stream.items():
        rows = _decoded([part for group in mine for part in group.parts], streams[stream])
        at = 0
        for group in mine:
            at = group.take(rows, at)


def _decoded(parts: Sequence[Part], columns: Columns) -> Array:
    """All rows of parts."""
    values = [value for part in parts for value in part.values]
    counts = [count for part in parts for count in part.counts]
    try:
        rows = _of_one_wire(values, counts, columns)
    except Undecodable:
        in_json = [value[:1] == b"{" for value in values]
        places = [k for k in range(1, len(values)) if in_json[k] != in_json[k - 1]]
        if not places:
            raise
        ends = [*places, len(values)]  # the writer went over from one wire to the other
        rows = concat([_of_one_wire(values[a:b], counts[a:b], columns) for a, b in pairwise((0, *ends))])
    rows.flags.writeable = False
    return rows


def _of_one_wire(values: list[bytes], counts: list[int], columns: Columns) -> Array:
    rows, known = (json_of(columns) if values[0].startswith(b"{") else arrow_of(columns)).decode(values)
    if known != counts:
        raise Undecodable("it has more or fewer rows than its headers say")
    return rows


def _is_ordered(rows: Array) -> bool:
    """Whether rows are in canonical order."""
    at = rows["available_at"]
    seq = rows["seq"] if "seq" in (rows.dtype.names or ()) else at
    return bool(((at[1:] > at[:-1]) | ((at[1:] == at[:-1]) & (seq[1:] >= seq[:-1]))).all())
