"""The one primitive: rows of several streams, handed on only when nothing below them can still come.

The first of the streams drives: its own voids are waited for, and are passed on under the names of the outputs, for joins; the
core gets them with what else is said of the stream. Waited for, too, is a void of any stream that follows from the instrument's
own trades. A void of another stream stands in for it: the stream's effective watermark is then past the void's end. Since a void
is known by the time it is effective, and hides the stream in all of [since, until] whatever rows still come, arrival decides
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from events.frames import NO_ROWS, Array, Frame, concat, control
from events.identity import id_hash
from events.schema import LEAVE, NEVER, VOID
from operators.core import Core
from operators.maths import kernel

LARGE = 4096
"""From so many rows on, copying them costs more than another call of a core."""


@kernel
def _sorted(available_at: Array, seq: Array) -> bool:
    """Whether rows are in canonical order."""
    disorder = False
    for i in range(1, len(available_at)):  # without a branch: ties are frequent, and no pattern predicts them
        tie = available_at[i] == available_at[i - 1]
        disorder |= (available_at[i] < available_at[i - 1]) | (tie & (seq[i] < seq[i - 1]))
    return not disorder


def _seq(rows: Array) -> Array:
    return rows["seq"] if "seq" in (rows.dtype.names or ()) else rows["available_at"]  # derived streams have no ties


def void_end(row: tuple[int, ...]) -> int:
    """Up to where (exclusive) a VOID row stands in for its stream: behind its span, or where the next row can come, if it says."""
    return row[3] + 1 if row[6] == NEVER else row[6]


def meets(since: int, watermark: int) -> bool:
    """Whether a void that begins there leaves nothing open behind a watermark; before 1970 there is nothing.

    >>> meets(0, NEVER), meets(5, 5), meets(5, 4)
    (True, True, False)
    """
    return since <= max(watermark, 0)


class Ordered:
    """Holds back what `core` may not see yet.

    Args:
        core: whose input it is.
        streams: all that it waits for; one that nobody sends must not be among them.
        driven: whether the first of them drives; else each is waited for or void.
    """

    def __init__(self, core: Core, streams: tuple[str, ...], driven: bool = True) -> None:
        self.core, self.streams = core, streams
        self.driver = streams[0] if driven else None
        self.watermark = dict.fromkeys(streams, NEVER)
        self.waiting: dict[str, list[Array]] = {name: [] for name in streams}
        self.in_order = dict.fromkeys(streams, True)  # what waits, each part by itself
        self.controls: dict[str, list[Array]] = {name: [] for name in streams}
        self.voids: dict[str, list[tuple[int, int]]] = {}  # of the streams that do not drive: (since, end)
        self.forward: list[Frame] = []
        self.instrument = ""
        self.reached = NEVER  # what the core has consumed
        self.leaves: dict[str, int] = {}  # when the instrument leaves the universe, by stream
        self.left = False  # whether it has: all streams said so, and the core has consumed what came before
        self.handed = dict(self.watermark)  # up to where each stream's rows were handed on
        forever = (1 << 63) - 1
        promising = [name for name in core.outputs if core.promise(name, forever) > NEVER]
        self.promised = dict.fromkeys(promising, NEVER)

    def begin(self, name: str) -> None:
        """Wait for another stream from now on."""
        self.streams = (*self.streams, name)
        self.watermark[name], self.handed[name] = NEVER, NEVER
        self.waiting[name], self.controls[name], self.in_order[name] = [], [], True

    def end(self, name: str) -> None:
        """Wait for a stream no more, and forget what waits of it."""
        self.streams = tuple(stream for stream in self.streams if stream != name)
        for held in (self.watermark, self.handed, self.waiting, self.controls, self.in_order):
            del held[name]
        self.voids.pop(name, None)

    def push(self, frame: Frame) -> None:
        """Take a frame in; nothing is computed yet, so many small frames cost one `advance`."""
        name = frame.name
        if not self.instrument:
            self.instrument = self.core.instrument = frame.instrument
        if len(frame.rows):
            self.waiting[name].append(frame.rows)
            self.in_order[name] &= frame.in_order
        if len(frame.control):
            self._take_control(name, frame.control)
        self.watermark[name] = max(self.watermark[name], frame.watermark)

    def advance(self) -> list[Frame]:
        """The frames that the core makes of what has become certain."""
        out, self.forward = self.forward, []
        watermark = min(self.watermark.values()) if not self.voids else min(map(self._effective, self.streams))
        leaves = not self.left and len(self.leaves) == len(self.streams) and max(self.leaves.values()) < watermark
        if watermark <= self.reached and not leaves:
            return out
        for step in self._steps(watermark):
            out += self._advance(step)
        return out + self._leave() if leaves else out

    def _leave(self) -> list[Frame]:
        """The instrument has left the universe: all that is made here ends too."""
        ts = max(self.leaves.values())
        self.left, said = True, control(LEAVE, ts, ts)
        return [Frame(self.instrument, name, NO_ROWS, max(at, ts + 1), said) for name, at in self.promised.items()]

    def _steps(self, watermark: int) -> Iterator[int]:
        """The watermark, in two steps where that saves copying a large part behind what waited for it.

        What a core makes does not depend on the steps by which its watermark rises.
        """
        name = self.streams[0]
        parts = self.waiting[name]
        if len(self.streams) == 1 and self.in_order[name] and len(parts) == 2 and len(parts[1]) >= LARGE:
            first, rest = parts
            at = rest["available_at"]
            if first["available_at"][-1] <= at[0] < watermark - 1:
                ties = int(at.searchsorted(at[0], side="right"))
                self.waiting[name], self.in_order[name] = [concat([first, rest[:ties]])], False
                yield int(at[0]) + 1
                self.waiting[name], self.in_order[name] = [rest[ties:]], True
        yield watermark

    def _advance(self, watermark: int) -> list[Frame]:
        """Take the core to this watermark."""
        rows, controls = {}, {}
        for name in self.streams:
            limit = min(watermark, self.watermark[name])
            if self.waiting[name]:
                taken = self._take(name, limit)
                if len(taken):
                    rows[name] = taken
            self.handed[name] = max(self.handed[name], limit)
            if self.controls[name]:
                known = concat(self.controls[name])
                due = known["available_at"] < watermark
                if due.any():
                    controls[name] = known[due]
                    self.controls[name] = [known[~due]] if not due.all() else []
        self.reached = watermark
        if self.voids:
            kept = {name: [v for v in voids if v[1] > watermark] for name, voids in self.voids.items()}
            self.voids = {name: voids for name, voids in kept.items() if voids}
        out: list[Frame] = []
        made: dict[str, Any] = {}
        for name, produced in self.core.advance(watermark, rows, controls):
            if len(produced):
                made[name] = produced
        for name, promised in self.promised.items():
            promise = self.core.promise(name, watermark)
            if promise > promised or name in made:
                self.promised[name] = promise
                out.append(Frame(self.instrument, name, made.pop(name, NO_ROWS), promise, in_order=True))
        out += [Frame(self.instrument, name, produced, NEVER, in_order=True) for name, produced in made.items()]
        return out

    def _take_control(self, name: str, rows: Array) -> None:
        for ts in rows["available_at"][rows["kind"] == LEAVE].tolist():
            self.leaves[name] = ts
        if name == self.driver:
            is_void = rows["kind"] == VOID
            for row in rows[is_void].tolist():
                for output in self.promised:
                    since = self.core.promise(output, row[2]) if row[2] > 0 else row[2]  # nothing was promised yet
                    end = self.core.promise(output, void_end(row))
                    if since <= row[3]:
                        void = control(VOID, since, since, row[3], id_from=row[5], id_to=end)
                        self.forward.append(Frame(self.instrument, output, NO_ROWS, NEVER, void))
        else:
            is_void = rows["kind"] == VOID
            if is_void.any():
                own = id_hash(self.instrument)
                for row in rows[is_void].tolist():
                    if row[5] != own:
                        self.voids.setdefault(name, []).append((row[2], void_end(row)))
                rows = rows[~is_void | (rows["id_from"] != own)]
        if len(rows):
            self.controls[name].append(rows)

    def _effective(self, name: str) -> int:
        watermark = max(self.watermark[name], self.reached)  # voids that took it there are forgotten
        for since, end in sorted(self.voids.get(name, ())):
            if meets(since, watermark) and watermark < end:
                watermark = end
        return watermark

    def _take(self, name: str, watermark: int) -> Array:
        parts = self.waiting[name]
        rows = concat(parts)
        known = self.in_order[name] and len(parts) == 1
        if not known and not _sorted(rows["available_at"], _seq(rows)):
            rows = rows[np.lexsort((_seq(rows), rows["available_at"]))]
        n = int(rows["available_at"].searchsorted(watermark))
        if rows["available_at"][0] < self.handed[name]:
            raise ValueError(
                f"{name} of {self.instrument}: a row of {rows['available_at'][0]} came after everything before "
                f"{self.handed[name]} was promised; whoever makes the watermark must take late rows out"
            )
        self.waiting[name], self.in_order[name] = [rows[n:]] if n < len(rows) else [], True
        return rows[:n]

    def snapshot(self) -> Any:
        """Everything `restore` needs."""
        waiting = {name: concat(parts) for name, parts in self.waiting.items() if parts}
        controls = {name: concat(parts) for name, parts in self.controls.items() if parts}
        voids = {name: tuple(spans) for name, spans in self.voids.items()}
        marks = tuple(self.watermark.values()), self.reached, tuple(self.handed.values()), tuple(self.promised.values())
        leaves = tuple(self.leaves.items()), self.left
        return self.instrument, marks, waiting, controls, voids, tuple(self.forward), leaves, self.core.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.instrument, marks, waiting, controls, voids, forward, leaves, core = snapshot
        self.core.instrument = self.instrument
        watermark, self.reached, handed, promised = marks
        self.watermark, self.handed = dict(zip(self.streams, watermark)), dict(zip(self.streams, handed))
        self.promised = dict(zip(self.promised, promised))
        self.waiting = {name: [waiting[name]] if name in waiting else [] for name in self.streams}
        self.controls = {name: [controls[name]] if name in controls else [] for name in self.streams}
        self.in_order = dict.fromkeys(self.streams, False)
        self.voids = {name: list(spans) for name, spans in voids.items()}
        self.forward, (said, self.left) = list(forward), leaves
        self.leaves = dict(said)
        self.core.restore(core)
