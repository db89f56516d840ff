"""Records of a tape, as many at a time as a source hands out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from connectors.tape.records import Items
from events.errors import InputError
from events.feeds import FEEDS, MEMBERS, PRELOAD
from events.frames import Frame
from events.schema import FOREVER, LEAVE, NEVER, VOID

BATCH_ROWS: Final = 100_000
BATCH_FRAMES: Final = 1_000


def absent(instrument: str, lacking: Mapping[str, frozenset[str]]) -> Items:
    """What is said once of each stream of a run that an instrument does not have: that nothing of it will come.

    >>> [(frame.name, frame.watermark == FOREVER) for _, frame in absent("x:A/B", {"x:A/B": frozenset({"funding"})})]
    [('funding', True)]
    """
    streams = sorted(lacking.get(instrument, ()))
    return [(instrument, Frame(instrument, name, FEEDS[name].empty, FOREVER)) for name in streams]


def opened(
    items: Items, begun: set[str], preloaded: bool = True, lacking: Mapping[str, frozenset[str]] | None = None
) -> Items:
    """The frames of a tape whose beginning was removed, with the words that stood there in front of each instrument: that nothing
    comes of streams that it lacks; and that nothing was loaded before, if its own preload is not among them: bars of trades wait
    for one or the other.

    Args:
        items: frames in their order.
        begun: the instruments that have begun before, to which those that begin here are added.
        preloaded: whether instruments of the run have preloads.
        lacking: the streams of the run that an instrument does not have.

    >>> from events.feeds import FEEDS
    >>> heartbeat = Frame("x:A/B", "trades", FEEDS["trades"].empty, 60)
    >>> [frame.name for _, frame in opened([("x:A/B", heartbeat), ("x:A/B", heartbeat)], set())]
    ['preload', 'trades', 'trades']
    >>> [frame.name for _, frame in opened([("x:A/B", heartbeat)], set(), False, {"x:A/B": frozenset({"funding"})})]
    ['funding', 'trades']
    """
    out: Items = []
    for instrument, frame in items:
        if instrument not in begun and _begins(frame):
            begun.add(instrument)
            if preloaded and frame.name != PRELOAD:
                out.append((instrument, Frame(instrument, PRELOAD, FEEDS[PRELOAD].empty, FOREVER)))
            out += absent(instrument, lacking or {})
        if len(frame.control) and LEAVE in frame.control["kind"]:
            begun.discard(instrument)  # should it join again, it begins anew
        out.append((instrument, frame))
    return out


def _begins(frame: Frame) -> bool:
    """Whether it says more of an instrument than that nothing is known."""
    if frame.name == MEMBERS:
        return False
    return len(frame.rows) > 0 or frame.watermark > NEVER or bool((frame.control["kind"] != VOID).any())


def batches(records: Iterable[tuple[int, Items]], chunk: int = BATCH_ROWS) -> Iterator[tuple[int, Items]]:
    """The frames of some records at a time, up to about 100,000 rows, with the offset after them.

    Args:
        records: in their order.
        chunk: rows to which frames will be cut; then there are about 1,000 at a time.

    Raises:
        InputError: as reading the records does, once all that was before is handed out: a state never gets ahead of that.
    """
    records, ended = iter(records), False
    while not ended:
        out, rows, frames, after, error = Items(), 0, 0, 0, None
        try:
            while rows < BATCH_ROWS and frames < BATCH_FRAMES:
                after, items = next(records)
                out += items
                rows += sum(len(frame.rows) for _, frame in items)
                frames += sum(max(1, -(-len(frame.rows) // chunk)) for _, frame in items)
        except StopIteration:
            ended = True
        except InputError as met:
            ended, error = True, met
        if out:
            yield after, out
        if error is not None:
            raise error
