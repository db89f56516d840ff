"""What a live source says of who takes part in its run, where the exchange's largest markets come and go (stream `members`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from connectors.exchange import Standing
from connectors.tape.records import Items
from events.feeds import FEEDS, MEMBERS, UNIVERSE
from events.frames import Array, Frame
from events.rows import MEMBER_ROW
from events.schema import NEVER
from events.times import HOUR_NS, MINUTE_NS


def changed(items: Items, likes: Mapping[str, str]) -> Items:
    """What rows of `universe` among frames say, as frames of `members`.

    Args:
        items: frames.
        likes: the name under which it is said, by exchange.
    """
    rows: dict[str, list[tuple[int, str, int]]] = {}
    for instrument, frame in items:
        if frame.name == UNIVERSE:
            said = frame.rows[["available_at", "change"]].tolist()
            like = likes[instrument.partition(":")[0]]
            rows.setdefault(like, []).extend((ts, instrument, change) for ts, change in said)
    return [(like, Frame(like, MEMBERS, _rows(found), NEVER)) for like, found in rows.items() if found]


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


def promised(
    before_ns: int, until_ns: int, likes: Mapping[str, str], named: Iterable[str], followed: Collection[str]
) -> Items:
    """A promise that no change up to the newest base boundary is still to come; once an hour with who is there and who of those
    named is not, for those who read a tape whose beginning was removed. Nothing where that is promised already.

    >>> minute, given = MINUTE_NS, ({"x": "x:*"}, [], ["x:A/B"])
    >>> [(key, frame.watermark, frame.rows["member"].tolist()) for key, frame in promised(NEVER, 3 * minute + 5, *given)]
    [('x:*', 180000000001, [b'x:A/B'])]
    >>> promised(3 * minute + 1, 4 * minute - 1, *given)
    []

    Args:
        before_ns: what was promised before.
        until_ns: up to when (inclusive) all is known.
        likes: as for `changed`.
        named: who took part at the beginning.
        followed: who takes part now.
    """
    boundary = until_ns // MINUTE_NS * MINUTE_NS
    if boundary < before_ns:
        return []
    out: Items = []
    for exchange, like in likes.items():
        rows: Array = FEEDS[MEMBERS].empty
        if before_ns // HOUR_NS < boundary // HOUR_NS:
            ours = sorted(name for name in {*named, *followed} if name.partition(":")[0] == exchange)
            rows = _rows([(boundary, name, 1 if name in followed else -1) for name in ours])
        out.append((like, Frame(like, MEMBERS, rows, boundary + 1)))
    return out


def _rows(rows: list[tuple[int, str, int]]) -> Array:
    out = np.array([(ts, name.encode(), change, 0) for ts, name, change in rows], MEMBER_ROW)
    out.flags.writeable = False
    return out
