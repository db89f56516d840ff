"""Who takes part in what is of all instruments, where instruments join and leave while the run goes on.

Changes come as rows of `members`, with a promise of their own, and are taken in the order of their times, each when all else is
known up to it. So whoever takes part at a time is certain, in whatever order frames arrive.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from events.frames import Frame
from events.schema import END, NEVER


class Change(NamedTuple):
    """An instrument joins (1) or leaves (-1): it takes part in what is later than `ts`, or in nothing later."""

    ts: int
    instrument: str
    change: int


class Members:
    """Changes that are known and not taken yet.

    Args:
        named: who takes part from the beginning.
        likes: the names under which changes are said; each has a promise of its own.

    >>> import numpy as np
    >>> from events.rows import MEMBER_ROW
    >>> members = Members(["x:C/D"], ["x:*"])
    >>> members.push(Frame("x:*", "members", np.array([(5, b"x:A/B", 1, 0), (9, b"x:A/B", -1, 0)], MEMBER_ROW), 8))
    >>> members.certain, members.take(6)
    (1, [Change(ts=0, instrument='x:C/D', change=1)])
    >>> members.certain, members.take(6), members.certain
    (6, [Change(ts=5, instrument='x:A/B', change=1)], 8)
    """

    def __init__(self, named: Iterable[str], likes: Iterable[str]) -> None:
        self.promises = dict.fromkeys(likes, NEVER)
        self.waiting = [Change(0, name, 1) for name in named]

    @property
    def known(self) -> int:
        """Up to when (exclusive) all changes are here."""
        return min(self.promises.values())

    def push(self, frame: Frame) -> None:
        """Take a frame of `members` in."""
        if len(frame.rows):
            said = frame.rows[["available_at", "member", "change"]].tolist()
            self.waiting += [Change(ts, member.decode(), change) for ts, member, change in said]
            self.waiting.sort(
                key=lambda change: change.ts
            )  # a stable sort: of an instrument all is said under one name
        self.promises[frame.instrument] = max(self.promises[frame.instrument], frame.watermark)

    @property
    def certain(self) -> int:
        """Up to when (exclusive) who takes part is known and taken."""
        return min(self.known, self.waiting[0].ts + 1) if self.waiting else self.known

    def take(self, reached: int) -> list[Change]:
        """The changes of the next time, once that is certain, and all else is known up to it (exclusive, `reached`)."""
        if not self.waiting or self.waiting[0].ts >= min(self.known, reached):
            return []
        ts = self.waiting[0].ts
        n = sum(change.ts == ts for change in self.waiting)
        taken, self.waiting = self.waiting[:n], self.waiting[n:]
        return taken

    def snapshot(self) -> Any:
        """What is known and not taken."""
        return dict(self.promises), tuple(self.waiting)

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        promises, waiting = snapshot
        self.promises, self.waiting = dict(promises), list(waiting)


class Gate:
    """Lets through the frames of streams of the membership that goes on, without the END of it. Those of a later one, behind that
    END, are kept until it begins; what is left of an earlier one, up to its END, is dropped.
    """

    def __init__(self) -> None:
        self.begun: set[str] = set()
        self.ahead: dict[str, int] = {}  # how many ENDs of a stream were heard, less the memberships that are over
        self.kept: dict[str, list[Frame]] = {}

    def push(self, name: str, frame: Frame) -> list[Frame]:
        """What of a frame gets through now."""
        ends, ahead = len(frame.control) > 0 and END in frame.control["kind"], self.ahead.get(name, 0)
        through = ahead == 0 and name in self.begun
        if ahead >= 0 and not through:
            self.kept.setdefault(name, []).append(frame)
        elif ends:
            self._count(name, 1)
            frame = frame._replace(control=frame.control[frame.control["kind"] != END])
        return [frame] if through else []

    def begin(self, name: str) -> list[Frame]:
        """A membership begins; the frames of it that were kept."""
        self.begun.add(name)
        return [through for frame in self.kept.pop(name, ()) for through in self.push(name, frame)]

    def end(self, name: str) -> None:
        """It is over."""
        self.begun.discard(name)
        self._count(name, -1)

    def _count(self, name: str, by: int) -> None:
        self.ahead[name] = self.ahead.get(name, 0) + by
        if not self.ahead[name]:
            del self.ahead[name]

    def snapshot(self) -> Any:
        """Whose membership goes on, and what is kept."""
        kept = {name: tuple(frames) for name, frames in self.kept.items()}
        return tuple(sorted(self.begun)), dict(self.ahead), kept

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        begun, ahead, kept = snapshot
        self.begun, self.ahead = set(begun), dict(ahead)
        self.kept = {name: list(frames) for name, frames in kept.items()}
