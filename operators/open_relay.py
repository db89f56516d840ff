"""The stage of the reference in a run whose instruments join and leave: `members` say whom its bars go to, and if it is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from events.feeds import MEMBERS
from events.frames import NO_CONTROL, NO_ROWS, Array, Frame, concat, control
from events.schema import ABSENT, END, FOREVER, LEAVE, NEVER, VOID
from operators.broadcast import CLOSE_ROW, effective
from operators.members import Change, Gate, Members

HISTORY_BARS: Final = 1024
"""So many closes of the past, of each timeframe, one that joins is given: more than the windows of `beta` take."""


class _Line:
    """What goes to all of one timeframe: closes, up to where they are sent, and the voids among them."""

    def __init__(self, length_ns: int) -> None:
        self.past_ns = HISTORY_BARS * length_ns
        self.waiting = np.empty(0, CLOSE_ROW)  # until it is certain whom they go to
        self.past, self.voids = [np.empty(0, CLOSE_ROW)], [NO_CONTROL]
        self.heard = self.sent = self.known = NEVER  # up to where all is here; is out; and is out or void

    def take(self, frame: Frame) -> Array:
        """Keep the rows of a frame, and give what is said of it, which goes out at once; of what was heard before (of an earlier
        membership) nothing is taken again.
        """
        said: Array = frame.control[frame.control["kind"] == VOID]
        if len(said) and self.heard > NEVER:
            said["since"], said["available_at"] = (
                np.maximum(said[name], self.heard) for name in ("since", "available_at")
            )
            said = said[said["since"] <= said["until"]]
        if len(frame.rows):
            self.waiting = concat([self.waiting, frame.rows[frame.rows["available_at"] >= self.heard]])
        if len(said):
            self.voids.append(said)
            self.reach(self.known)
        self.heard = max(self.heard, frame.watermark)
        return said

    def send(self, certain: int) -> Array | None:
        """The rows before a time, which are sent now; None where nothing is new."""
        until = min(certain, self.heard)
        if until <= self.sent:
            return None
        n = int(self.waiting["available_at"].searchsorted(until))
        rows, self.waiting = self.waiting[:n], self.waiting[n:]
        self.past.append(rows)
        self.sent = until
        self.reach(until)
        return rows

    def reach(self, at: int) -> None:
        """All is known up to a time, and behind it as far as voids go, some of which come before what they begin behind."""
        self.known = max(self.known, at)
        voids = concat(self.voids)
        self.known = effective(self.known, voids[np.maximum(voids["until"], voids["id_to"]) >= self.known])

    def history(self, ts: int) -> Frame:
        """What one that joins at a time is given, without whose it is."""
        self.forget(ts)
        return Frame("", "", self.past[0], self.sent, self.voids[0])

    def forget(self, ts: int) -> None:
        """Forget what nobody is given who joins at a time or later."""
        since, past, voids = ts - self.past_ns, concat(self.past), concat(self.voids)
        self.past, self.voids = [past[past["available_at"] > since]], [voids[voids["until"] > since]]


class OpenRelay:
    """A stage of the reference. In: what `to_reference` gives, `members` too. Out: its closes as "reference.{timeframe}" of each
    member but the reference itself, with those of the past to one that joins; its voids travel with them.

    While the reference is not a member, its streams are void for those who are, with the reason ABSENT, and END is said to itself:
    there is no reference of it. State: 1,024 closes of each timeframe.

    Args:
        reference: the instrument.
        lengths: in ns, by the name of the timeframe.
        named, likes: as for `Members`.
    """

    def __init__(self, reference: str, lengths: Mapping[str, int], named: Iterable[str], likes: Iterable[str]) -> None:
        self.reference = reference
        self.names = {f"bars.{name}": f"reference.{name}" for name in lengths}
        self.lines = {f"bars.{name}": _Line(length_ns) for name, length_ns in lengths.items()}
        self.members, self.gate = Members(named, likes), Gate()
        self.followers: dict[str, None] = {}
        self.there = False
        self.left_ns = NEVER  # since when the reference is not there
        self.told_ns = NEVER  # and up to when (exclusive) that is said
        self.forgot_ns = NEVER
        self.out: list[Frame] = []

    def push(self, frame: Frame) -> None:
        """Take a frame in."""
        if frame.name == MEMBERS:
            self.members.push(frame)
        elif frame.instrument == self.reference and frame.name in self.lines:
            for through in self.gate.push(frame.name, frame):
                self._take(frame.name, through)

    def advance(self) -> list[Frame]:
        """What is certain to go to those who are there, and what those get who join."""
        self._send()
        while changes := self.members.take(self._reached()):
            for change in sorted(
                changes, key=lambda change: change.instrument != self.reference
            ):  # the reference first
                self._change(change)
            self._send()
        if not self.there:
            self._absent(self.members.known)
        if self.members.certain > self.forgot_ns:  # nobody joins before that any more
            self.forgot_ns = self.members.certain
            for line in self.lines.values():
                line.forget(self.forgot_ns - 1)
        out, self.out = self.out, []
        return out

    def _reached(self) -> int:
        """Up to when (exclusive) all that goes out is known."""
        return min(line.known for line in self.lines.values()) if self.there else FOREVER

    def _take(self, name: str, frame: Frame) -> None:
        said = self.lines[name].take(frame)
        if len(said):
            self._tell(name, NO_ROWS, NEVER, said)

    def _send(self) -> None:
        """The closes that are certain to be of who is there now, so that how frames came decides nothing about who gets which."""
        for name, line in self.lines.items():
            rows = line.send(self.members.certain)
            if rows is not None:
                self._tell(name, rows, line.sent)

    def _tell(self, name: str, rows: Array, watermark: int, said: Array = NO_CONTROL) -> None:
        stream = self.names[name]
        self.out += [Frame(follower, stream, rows, watermark, said) for follower in self.followers]

    def _change(self, change: Change) -> None:
        ts, instrument, joins = change.ts, change.instrument, change.change > 0
        if instrument == self.reference:
            if joins != self.there:
                self._arrive(ts) if joins else self._depart(ts)
        elif joins and instrument not in self.followers:
            for name, line in self.lines.items():
                self.out.append(line.history(ts)._replace(instrument=instrument, name=self.names[name]))
            if not self.there:
                self._say_absent([instrument], self.left_ns, self.told_ns)
            self.followers[instrument] = None
        elif not joins and instrument in self.followers:
            del self.followers[instrument]
            self._say_leave(instrument, ts)

    def _arrive(self, ts: int) -> None:
        self._absent(ts + 1)
        self.there = True
        for name, line in self.lines.items():
            line.reach(ts + 1)
            self.out.append(Frame(self.reference, self.names[name], NO_ROWS, FOREVER, control(END, NEVER)))
            for through in self.gate.begin(name):
                self._take(name, through)

    def _depart(self, ts: int) -> None:
        self.there, self.left_ns, self.told_ns = False, ts + 1, ts + 1
        self._say_leave(self.reference, ts)
        for name in self.lines:
            self.gate.end(name)

    def _absent(self, until: int) -> None:
        """The reference is not there up to a time (exclusive)."""
        if until > self.told_ns:
            self._say_absent(self.followers, self.told_ns, until)
            self.told_ns = until

    def _say_absent(self, followers: Any, since: int, until: int) -> None:
        if since < until:
            said = control(VOID, since, since, until - 1, ABSENT)
            names = self.names.values()
            self.out += [Frame(follower, name, NO_ROWS, NEVER, said) for follower in followers for name in names]

    def _say_leave(self, instrument: str, ts: int) -> None:
        for name, line in self.lines.items():
            said = control(LEAVE, ts, ts)
            self.out.append(Frame(instrument, self.names[name], NO_ROWS, max(line.sent, ts + 1), said))

    @property
    def left(self) -> bool:
        """False: it is of all instruments, whoever leaves."""
        return False

    def snapshot(self) -> Any:
        """Who takes part, and what the next to join is given."""
        lines = tuple(
            (x.waiting, concat(x.past), concat(x.voids), x.heard, x.sent, x.known) for x in self.lines.values()
        )
        where = self.there, self.left_ns, self.told_ns, self.forgot_ns
        return lines, where, self.members.snapshot(), self.gate.snapshot(), tuple(self.followers)

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        lines, (self.there, self.left_ns, self.told_ns, self.forgot_ns), members, gate, followers = snapshot
        for line, (waiting, past, voids, *marks) in zip(self.lines.values(), lines):
            line.waiting, line.past, line.voids = waiting, [past], [voids]
            line.heard, line.sent, line.known = marks
        self.members.restore(members)
        self.gate.restore(gate)
        self.followers = dict.fromkeys(followers)
