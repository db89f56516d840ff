"""What a feed hands out, as frames; and where an instrument stands after a frame, which is all that a restart needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from connectors.exchange.book_rows import Packed, unpacked
from connectors.exchange.overlap import REMEMBERED
from connectors.exchange.sequencer import Row
from events.feeds import BOOKS, FEEDS, TRADES
from events.frames import NO_CONTROL, Array, Frame
from events.schema import COVERAGE, NEVER

NO_TRADES = FEEDS[TRADES].empty


class Said(NamedTuple):
    """What is said of a stream between its rows: a newer watermark, or a control row."""

    watermark: int = NEVER
    control: Array = NO_CONTROL


class Other(NamedTuple):
    """Of another stream than trades: rows that stay together in one frame, a newer watermark, or a control row."""

    stream: str
    rows: tuple[tuple[Any, ...], ...] = ()
    watermark: int = NEVER
    control: Array = NO_CONTROL


class Together(NamedTuple):
    """Frames of an instrument that are handed out in one batch."""

    frames: tuple[Frame, ...]


Item = tuple[str, Row | Said | Other | Packed | Together]
"""What waits in the queue of a feed: of an instrument, a trade, what is said of its trades, or what is of another stream."""


class Position(NamedTuple):
    """Where the trades of an instrument stand: what was handed out last.

    Attributes:
        next_id: the id that comes next; of a venue whose ids do not count, how many rows were handed out.
        last_ns: the time of the last trade.
        recent: of a venue whose ids do not count, the ids handed out last.
    """

    next_id: int
    last_ns: int
    recent: tuple[int, ...] = ()


def frames_of(items: Iterable[Item]) -> list[tuple[str, Frame]]:
    """Items as frames: the rows of an instrument and stream that come without anything said of it between them share one.

    >>> row = (5, 6, 1, 1, 2.0, 3.0, 1, 0)
    >>> [(key, len(f.rows), f.watermark == 60) for key, f in frames_of([("x", row), ("y", row), ("x", Said(60))])]
    [('x', 1, False), ('x', 0, True), ('y', 1, False)]
    >>> quote = Other("top", ((5, 6, 1, 2.0, 3.0, 4.0, 5.0, 0, 0),))
    >>> [(f.name, len(f.rows)) for _, f in frames_of([("x", quote), ("x", row), ("x", quote)])]
    [('top', 2), ('trades', 1)]
    """
    waiting: dict[tuple[str, str], list[Any]] = {}
    out: list[tuple[str, Frame]] = []
    for instrument, item in items:
        if not isinstance(item, Said | Other | Packed | Together):  # a trade, as most are
            if (at := (instrument, TRADES)) in waiting:
                waiting[at].append(item)
            else:
                waiting[at] = [item]
        elif isinstance(item, Packed):
            waiting.setdefault((instrument, BOOKS), []).append(item.rows)
        elif isinstance(item, Together):
            _flush(waiting, (instrument, TRADES), out)
            out += [(instrument, frame) for frame in item.frames]
        else:
            at, watermark, said = (instrument, TRADES), item.watermark, item.control
            if isinstance(item, Other):
                at = (instrument, item.stream)
                if item.rows:
                    waiting.setdefault(at, []).extend(item.rows)
            if watermark > NEVER or len(said):
                _flush(waiting, at, out)
                out.append((instrument, Frame(*at, FEEDS[at[1]].empty, watermark, said)))
    for at in list(waiting):
        _flush(waiting, at, out)
    return out


def _flush(waiting: dict[tuple[str, str], list[Any]], at: tuple[str, str], out: list[tuple[str, Frame]]) -> None:
    rows = waiting.pop(at, None)
    if rows is not None:
        array = unpacked(rows) if at[1] == BOOKS else np.array(rows, FEEDS[at[1]].dtype)
        array.flags.writeable = False
        out.append((at[0], Frame(*at, array, NEVER)))


def advanced(position: Position | None, frame: Frame, counts: bool = True) -> Position | None:
    """Where an instrument stands after a frame; what it was if the frame says nothing of its trades.

    A tape can so tell from its frames from where the source has to go on.

    Args:
        position: where it stood, None at the beginning.
        frame: a frame that the source handed out.
        counts: whether the ids of the venue count.
    """
    if frame.name != TRADES:
        return position
    for said in frame.control[frame.control["kind"] == COVERAGE]:
        recent = () if counts else (int(said["id_to"]),)
        position = Position(int(said["id_from"]), int(said["since"]), recent)
    if not len(frame.rows):
        return position
    last = frame.rows[-1]
    if counts:
        return Position(int(last["trade_id"]) + 1, int(last["available_at"]))
    known = () if position is None else position.recent
    recent = (*known, *frame.rows["trade_id"].tolist())[-REMEMBERED:]
    return Position(int(last["seq"]) + 1, int(last["available_at"]), recent)
