"""What a live source says of who takes part in its run, where the exchange's largest markets come and go (stream `members`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from connectors.exchange import Standing
from connectors.tape.records import Items
from events.feeds import FEEDS, GLOBAL, MEMBERS, UNIVERSE
from events.frames import Array, Frame
from events.rows import MEMBER_ROW
from events.schema import NEVER
from events.times import HOUR_NS, MINUTE_NS


def members_at(ts: int, instruments: Iterable[str], change: int = 1) -> Items:
    """One frame that says of instruments that they join at a time, or leave.

    >>> [(key, frame.rows["member"].tolist()) for key, frame in members_at(0, ["x:A/B"])]
    [('GLOBAL', [b'x:A/B'])]
    >>> members_at(0, [])
    []
    """
    return _said([(ts, name, change) for name in instruments])


def changed(items: Items) -> Items:
    """What rows of `universe` among frames say, as a frame of `members`."""
    rows = [
        (row["available_at"].item(), instrument, row["change"].item())
        for instrument, frame in items
        if frame.name == UNIVERSE
        for row in frame.rows
    ]
    return _said(rows)


def certain_until(clocks: Mapping[str, int], standings: Mapping[str, Standing], choosing: Collection[str]) -> int:
    """Up to when it is certain who takes part: up to the clocks of the exchanges whose markets come and go, or up to what is known
    of these, if that is later. One without a clock chooses nobody before it has one, and holds nobody.

    >>> certain_until({"x": 50, "y": 40}, {"x:A/B": Standing(watermark_ns=60)}, {"x", "z"}), certain_until({}, {}, {"x"}) == NEVER
    (60, True)
    """
    reached = {
        exchange: max([now_ns, *(at.watermark_ns for name, at in standings.items() if name.startswith(f"{exchange}:"))])
        for exchange, now_ns in clocks.items()
    }
    return min([at for exchange, at in reached.items() if exchange in choosing] or reached.values(), default=NEVER)


def promised(before_ns: int, now_ns: int, instruments: Iterable[str]) -> Items:
    """A promise that no change up to the newest base boundary is still to come; once an hour with all members, for those who read
    a tape whose beginning was removed. Nothing where that is promised already.

    >>> minute = MINUTE_NS
    >>> [frame.watermark for _, frame in promised(NEVER, 3 * minute + 5, []) + promised(3 * minute + 1, 4 * minute - 1, [])]
    [180000000001]
    """
    boundary = now_ns // MINUTE_NS * MINUTE_NS
    if boundary < before_ns:
        return []
    rows: Array = FEEDS[MEMBERS].empty
    if before_ns // HOUR_NS < boundary // HOUR_NS:
        rows = _rows([(boundary, name, 1) for name in sorted(instruments)])
    return [(GLOBAL, Frame(GLOBAL, MEMBERS, rows, boundary + 1))]


def _said(rows: list[tuple[int, str, int]]) -> Items:
    return [(GLOBAL, Frame(GLOBAL, MEMBERS, _rows(rows), NEVER))] if rows else []


def _rows(rows: list[tuple[int, str, int]]) -> Array:
    out = np.array([(ts, name.encode(), change, 0) for ts, name, change in rows], MEMBER_ROW)
    out.flags.writeable = False
    return out
