"""What crosses from one instrument to others: the bars of a reference to all, the bars of all to one place, and its rows back.

Members, here, are the instruments that a run has from its beginning on. One that a file turns out to hold beyond them takes no
part, nor does one that leaves and comes again: the streams that go to all are said to be none for it (END), so that it waits not.
Where instruments join and leave, and it is said when, `open_relay` and `open_market` stand in place of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from events.feeds import MEMBERS
from events.frames import NO_CONTROL, NO_ROWS, Array, Frame, control
from events.schema import COLD, END, FOLD_MISSING, FOREVER, LEAVE, NEVER, PARTIAL, VOID
from operators.ordered import meets, void_end

Item = tuple[str, Frame]

CLOSE_ROW: Final = np.dtype([("available_at", "i8"), ("g", "i8"), ("close", "f8"), ("flags", "i8")])
"""What others need of a bar."""

AVERAGE_ROW: Final = np.dtype([("available_at", "i8"), ("ema", "f8")])
"""What others need of a feature row: the average that a close is above or below; NaN where it has no value."""


def closes(bars: Array) -> Array:
    """The closes of whole bars; those flagged PARTIAL or FOLD_MISSING are of no history.

    >>> from events.rows import BAR
    >>> bars = np.zeros(3, BAR)
    >>> bars["close"], bars["flags"] = [1.0, 2.0, 3.0], [PARTIAL, 0, 0]
    >>> closes(bars)["close"].tolist()
    [2.0, 3.0]
    """
    bars = bars[bars["flags"] & (PARTIAL | FOLD_MISSING) == 0]
    out = np.empty(len(bars), CLOSE_ROW)
    for field in CLOSE_ROW.names or ():
        out[field] = bars[field]
    return out


def averages(features: Array, column: int) -> Array:
    """One column of feature rows."""
    out = np.empty(len(features), AVERAGE_ROW)
    out["available_at"] = features["available_at"]
    out["ema"] = np.where(features["status"][:, column] >= COLD, np.nan, features["values"][:, column])
    return out


def said(frame: Frame) -> Array:
    """The control rows of a frame for the steps of another key: that an instrument leaves the universe is the end of its stream
    there, since it is not that other key which leaves.
    """
    if not len(frame.control):
        return NO_CONTROL
    rows = frame.control[np.isin(frame.control["kind"], (VOID, LEAVE, END))].copy()
    rows["kind"][rows["kind"] == LEAVE] = END
    return rows


def to_reference(reference: str, timeframes: Iterable[str], told: bool = False) -> Callable[[Frame], list[Item]]:
    """A flat map of frames: the closes of the reference to its key; of others, that they are there, and when they leave, if that
    is not `told` by `members`.
    """
    names = [f"bars.{name}" for name in timeframes]

    def hear(frame: Frame) -> list[Item]:
        if told and frame.instrument != reference:
            return [(reference, frame)] if frame.name == MEMBERS else []
        if frame.name not in names or (frame.instrument != reference and frame.name != names[0]):
            return []
        rows = closes(frame.rows) if frame.instrument == reference and len(frame.rows) else NO_ROWS
        return [(reference, frame._replace(rows=rows, control=said(frame)))]

    return hear


class Fanout:
    """Who gets the frames of streams that go to all: each member until it leaves.

    Args:
        members: the instruments.
        streams: the names of the streams.
    """

    def __init__(self, members: Iterable[str], streams: Iterable[str]) -> None:
        self.streams = tuple(streams)
        self.active = dict.fromkeys(members)
        self.known = dict.fromkeys(self.streams, NEVER)  # up to where each stream was sent, or is void
        self.leaving: dict[str, int] = {}  # members that have left, while some stream is not known up to then
        self.later: dict[str, list[Frame]] = {}  # what was heard of them since: that they are there again, and leave
        self.told: set[str] = set()  # others that know that there is nothing for them

    def hear(self, frame: Frame) -> list[Frame]:
        """Take note of a frame of an instrument; what that instrument is to be told."""
        instrument, ends = frame.instrument, len(frame.control) > 0 and END in frame.control["kind"]
        if instrument in self.leaving:  # it may join and leave again meanwhile
            held = self.later.setdefault(instrument, [])
            if ends or not held or len(held[-1].control):
                held.append(frame._replace(rows=NO_ROWS, control=frame.control if ends else NO_CONTROL))
            return []
        ts = int(frame.control["available_at"][frame.control["kind"] == END][-1]) if ends else NEVER
        if instrument in self.active:
            if ends:
                self.leaving[instrument] = ts
            return self._let_go() if ends else []
        if ends:
            self.told.discard(instrument)
            return [self._leave(instrument, name, ts) for name in self.streams]
        if instrument in self.told:
            return []
        self.told.add(instrument)
        return [Frame(instrument, name, NO_ROWS, FOREVER, control(END, NEVER)) for name in self.streams]

    def send(self, name: str, frame: Frame) -> list[Frame]:
        """A frame for all members, of the stream `name`."""
        if self.known[name] == FOREVER:
            return []  # it has ended
        self.known[name] = effective(max(self.known[name], frame.watermark), frame.control)
        out = [frame._replace(instrument=instrument, name=name) for instrument in self.active]
        return out + self._let_go() if self.leaving else out

    def _let_go(self) -> list[Frame]:
        """Members that have left get nothing more from where all streams are known up to then."""
        certain, out = min(self.known.values()), list[Frame]()
        for instrument, ts in list(self.leaving.items()):
            if certain > ts:
                del self.leaving[instrument], self.active[instrument]
                out += [self._leave(instrument, name, ts) for name in self.streams]
                for held in self.later.pop(instrument, ()):
                    out += self.hear(held)
        return out

    def _leave(self, instrument: str, name: str, ts: int) -> Frame:
        return Frame(instrument, name, NO_ROWS, max(self.known[name], ts + 1), control(LEAVE, ts, ts))

    def snapshot(self) -> Any:
        """Who takes part, and how far the streams are known."""
        later = {instrument: tuple(frames) for instrument, frames in self.later.items()}
        return tuple(self.active), dict(self.known), dict(self.leaving), later, tuple(sorted(self.told))

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        active, self.known, self.leaving, later, told = snapshot
        self.later = {instrument: list(frames) for instrument, frames in later.items()}
        self.active, self.told = dict.fromkeys(active), set(told)
        self.known, self.leaving = dict(self.known), dict(self.leaving)


def effective(watermark: int, control: Array) -> int:
    """The watermark behind the voids among control rows that begin at or below it."""
    if len(control):
        for row in sorted(control[control["kind"] == VOID].tolist()):
            if meets(row[2], watermark) and watermark < void_end(row):
                watermark = void_end(row)
    return watermark


class Relay:
    """A stage of the reference. In: what `to_reference` gives. Out: its closes as "reference.{timeframe}" of each member of the run
    but the reference itself; its voids travel with them.

    Args:
        reference: the instrument.
        members: the instruments of the run.
        timeframes: names.
    """

    def __init__(self, reference: str, members: Iterable[str], timeframes: Iterable[str]) -> None:
        self.reference = reference
        self.names = {f"bars.{name}": f"reference.{name}" for name in timeframes}
        self.fanout = Fanout((name for name in members if name != reference), self.names.values())
        self.base = next(iter(self.names))
        self.out: list[Frame] = []

    def push(self, frame: Frame) -> None:
        """Take a frame in."""
        if frame.name == self.base:
            self.out += self.fanout.hear(frame)
        if frame.instrument == self.reference:
            ends = len(frame.control) > 0 and END in frame.control["kind"]
            self.out += self.fanout.send(self.names[frame.name], frame._replace(watermark=FOREVER) if ends else frame)

    def advance(self) -> list[Frame]:
        """What was to be sent."""
        out, self.out = self.out, []
        return out

    @property
    def left(self) -> bool:
        """False: it is of all instruments, whoever leaves."""
        return False

    def snapshot(self) -> Any:
        """Who takes part."""
        return self.fanout.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.fanout.restore(snapshot)
