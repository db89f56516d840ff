"""What a feed hands out, as frames; and where an instrument stands after a frame, which is all that a restart needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from connectors.exchange.overlap import REMEMBERED
from connectors.exchange.sequencer import Row
from events.feeds import FEEDS, TRADES
from events.frames import NO_CONTROL, Array, Frame
from events.rows import TRADE
from events.schema import COVERAGE, NEVER

NO_TRADES = FEEDS[TRADES].empty


class Said(NamedTuple):
    """What is said of a stream between its rows: a newer watermark, or a control row."""

    watermark: int = NEVER
    control: Array = NO_CONTROL


class Together(NamedTuple):
    """Frames of an instrument that are handed out in one batch."""

    frames: tuple[Frame, ...]


Item = tuple[str, Row | Said | Together]
"""What waits in the queue of a feed: of an instrument, a trade or what is said."""


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
    """Items as frames: the rows of an instrument that come without anything said between them share one.

    >>> row = (5, 6, 1, 1, 2.0, 3.0, 1, 0)
    >>> [(key, len(f.rows), f.watermark == 60) for key, f in frames_of([("x", row), ("y", row), ("x", Said(60))])]
    [('x', 1, False), ('x', 0, True), ('y', 1, False)]
    """
    rows: dict[str, list[Row]] = {}
    out: list[tuple[str, Frame]] = []
    for instrument, item in items:
        if isinstance(item, Said | Together):
            if instrument in rows:
                out.append((instrument, _frame(instrument, rows.pop(instrument))))
            if isinstance(item, Said):
                out.append((instrument, Frame(instrument, TRADES, NO_TRADES, item.watermark, item.control)))
            else:
                out += [(instrument, frame) for frame in item.frames]
        elif instrument in rows:
            rows[instrument].append(item)
        else:
            rows[instrument] = [item]
    out += [(instrument, _frame(instrument, kept)) for instrument, kept in rows.items()]
    return out


def _frame(instrument: str, rows: list[Row]) -> Frame:
    array = np.array(rows, TRADE)
    array.flags.writeable = False
    return Frame(instrument, TRADES, array, NEVER)


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
