"""As-of joins at boundaries of the base timeframe, at a cost that depends neither on how many rows came nor on their columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from events.frames import Array, Rows, concat, missing
from events.schema import NEVER, VOID
from operators.maths import kernel


class Latest:
    """In: one stream of any rate. Out: the same stream with the last row of each interval (t - base, t] only.

    A row of t itself counts for t, so the row of t leaves when the watermark is above t. `of_use` says of rows which of them
    count; all, if not given.
    """

    instrument = ""

    def __init__(self, name: str, base_ns: int, of_use: Callable[[Array], Array] | None = None) -> None:
        self.name, self.base_ns, self.of_use = name, base_ns, of_use
        self.outputs = (name,)
        self.open: Array | None = None  # the last row so far of the open interval

    def promise(self, name: str, watermark: int) -> int:
        """Up to the last boundary that is complete."""
        return (watermark - 1) // self.base_ns * self.base_ns + 1

    def advance(
        self, watermark: int, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> Iterable[tuple[str, Rows]]:
        """Close intervals."""
        new = rows.get(self.name)
        if new is not None and self.of_use is not None:
            new = new[self.of_use(new)]
        parts = [part for part in (self.open, new) if part is not None and len(part)]
        if not parts:
            return
        known = concat(parts)
        boundary = (watermark - 1) // self.base_ns * self.base_ns
        interval = -(-known["available_at"] // self.base_ns)
        last = known[np.append(interval[1:] != interval[:-1], True)]
        n = int(last["available_at"].searchsorted(boundary, side="right"))
        self.open = last[n:].copy() if n < len(last) else None
        yield self.name, last[:n]

    def snapshot(self) -> Any:
        """The open interval's row."""
        return self.open

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.open = snapshot


class Input(NamedTuple):
    """A stream of a join: its row type, and how old a row may be (`ttl_ns`); older ones are missing."""

    name: str
    dtype: np.dtype[Any]
    ttl_ns: int

    def identity(self) -> list[Any]:
        """What of it decides the result, as plain data."""
        return [self.name, str(self.dtype.descr), self.ttl_ns]


@kernel
def _pick(available_at: Array, times: Array, ttl_ns: int, hidden: Array, row: Array, age: Array) -> None:
    """Per time the last row available by then and its age; row 0, which stands for none, if there is none, too old or hidden."""
    at = 0
    for i in range(len(times)):
        while at + 1 < len(available_at) and available_at[at + 1] <= times[i]:
            at += 1
        if at > 0 and times[i] - available_at[at] <= ttl_ns and not hidden[i]:
            row[i], age[i] = at, times[i] - available_at[at]
        else:
            row[i], age[i] = 0, NEVER


class AsOf:
    """The newest row of each input at given times, with its age (NEVER and a row of nothing where it is missing).

    Not a core but what joining cores are made of. Times must not go back, and the caller's watermark must be above them.
    """

    def __init__(self, inputs: tuple[Input, ...]) -> None:
        self.inputs = inputs
        self.none = {i.name: missing(i.dtype) for i in inputs}
        self.last: dict[str, Array] = {}
        self.voids: dict[str, tuple[tuple[int, int], ...]] = {}

    def having(self, inputs: tuple[Input, ...]) -> AsOf:
        """The same with other inputs; what is known of those that stay is kept."""
        out, names = AsOf(inputs), {one.name for one in inputs}
        out.last = {name: row for name, row in self.last.items() if name in names}
        out.voids = {name: spans for name, spans in self.voids.items() if name in names}
        return out

    def advance(
        self, watermark: int, times: Array, rows: Mapping[str, Array], control: Mapping[str, Array]
    ) -> dict[str, tuple[Array, Array]]:
        """Per input (rows, ages), one a time of `times`; remembers what later times may need."""
        out = {}
        for name, _, ttl_ns in self.inputs:
            if name in control:
                new = [(c[2], c[3]) for c in control[name].tolist() if c[1] == VOID]
                self.voids[name] = (*self.voids.get(name, ()), *new)
            known = [self.none[name], *([self.last[name]] if name in self.last else ())]
            if name in rows:
                known.append(rows[name])
                self.last[name] = rows[name][-1:].copy()  # any later time sees this row or a newer one
            if len(times):
                hidden = np.zeros(len(times), np.bool_)
                for since, until in self.voids.get(name, ()):
                    hidden |= (times >= since) & (times <= until)
                candidates = concat(known) if len(known) > 1 else known[0]
                row, age = np.empty(len(times), np.int64), np.empty(len(times), np.int64)
                _pick(np.ascontiguousarray(candidates["available_at"]), times, ttl_ns, hidden, row, age)
                out[name] = candidates[row], age
            if name in self.voids:
                self.voids[name] = tuple(void for void in self.voids[name] if void[1] >= watermark)
        return out

    def snapshot(self) -> Any:
        """The newest row of each input, and the voids that still hide something."""
        return dict(self.last), dict(self.voids)

    def restore(self, snapshot: Any) -> None:
        """Go on from a snapshot."""
        self.last, self.voids = dict(snapshot[0]), dict(snapshot[1])
