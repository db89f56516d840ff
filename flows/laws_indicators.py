"""The laws over one indicator: no look-ahead, any split, any start, memory as declared, values that are numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from events.frames import Array
from events.schema import COLD, SETTLED, SILENT, STATUS_NAMES
from events.times import MINUTE_NS, iso
from flows.laws_markets import drive
from operators.analysis import Analysis
from operators.history import FEW, Features
from operators.indicators import BAR_INPUTS, Indicator

TOLERANCE: Final = 1e-6
"""How much older bars than the stable length may change a value, as a share of the spread of its column."""
STEP_TOLERANCE: Final = 1e-9
"""How much steps may differ from the function, as a share of the spread of the column: both round, each in its own order."""
SINGLE_BARS: Final = 400
"""So many bars are given one by one; all of them in blocks."""
_LATE: Final = 217
_CUTS: Final = 32
_SAMPLES: Final = 12
_SPLITS: Final = ((1, 0.02), (FEW, 0.05), (FEW + 1, 0.0), (300, 0.2))
"""(bars a frame, share of restarts)."""


def features(analysis: Analysis, bars: Array, chunk: int = 1 << 40, restart: float = 0.0) -> tuple[Array, Any]:
    """(feature rows, dead letters) of these bars."""
    out = drive(lambda: Features("1m", MINUTE_NS, analysis), {"bars.1m": bars}, chunk, restart)
    return out.get("features.1m", np.empty(0, analysis.dtype)), out.get("dead_letters", ())


def where(market: str, bars: Array, at: int) -> str:
    """A bar, as people find it."""
    return f"bar {at} of {market!r} ({iso(int(bars['ts_open'][at]))})"


def first_unequal(a: Array, b: Array) -> int | None:
    """The first place at which two columns differ; NaN equals NaN.

    >>> first_unequal(np.array([1.0, np.nan, 2.0]), np.array([1.0, np.nan, 3.0]))
    2
    """
    apart = np.flatnonzero(~((a == b) | (np.isnan(a) & np.isnan(b))))
    return int(apart[0]) if len(apart) else None


class IndicatorLaws:
    """The laws over an indicator on one market.

    Args:
        indicator: the one that is judged.
        analysis: it, and what it takes.
        market: name of the market.
        bars: its bars.
    """

    def __init__(self, indicator: Indicator, analysis: Analysis, market: str, bars: Array) -> None:
        self.indicator, self.analysis, self.market, self.bars = indicator, analysis, market, bars
        self.rows, self.dead = features(analysis, bars)
        self.places = [analysis.index[column] for column in indicator.columns]
        self.inputs = [self._input(name) for name in indicator.inputs]
        self.mine = [d for d in self.dead if d.source.endswith(f"/{indicator.columns[0]}")]

    def _input(self, name: str) -> Array:
        if name in BAR_INPUTS:
            return np.ascontiguousarray(self.bars[name])
        return np.ascontiguousarray(self.rows["values"][:, self.analysis.index[name]])

    def faults(self) -> Iterator[str]:
        """A sentence for each law that is broken; what follows from a broken one is not told too."""
        failed = list(self._failures())
        yield from failed
        if failed:
            return
        ahead = list(self._prefix())
        yield from ahead
        repeats = list(self._repeats())
        yield from repeats
        if ahead or repeats:
            return
        yield from self._memory()
        split = list(self._splits())
        yield from split
        if not split:
            yield from self._starts()
            yield from self._steps() if self.indicator.wide is not None else ()

    def first_value(self, column: int) -> int | None:
        """The first bar on which a column has a value or is silent, None if there is none."""
        status = self.rows["status"][:, self.places[column]]
        found = np.flatnonzero((status < COLD) | (status == SILENT))
        return int(found[0]) if len(found) else None

    def statuses(self) -> dict[str, int]:
        """How many values have which status."""
        counts = np.bincount(self.rows["status"][:, self.places].ravel(), minlength=len(STATUS_NAMES))
        return {name: int(n) for name, n in zip(STATUS_NAMES, counts) if n}

    def _at(self, place: int) -> str:
        return where(self.market, self.bars, place)

    def _failures(self) -> Iterator[str]:
        if self.mine:
            first = self.mine[0]
            at = int(np.searchsorted(self.bars["g"], first.offset))
            reason = first.detail.partition(": ")[2]
            hint = "; it must not change its inputs" if "read-only" in reason else ""
            yield f"column {self.indicator.columns[0]} fails at {self._at(at)}: {reason}{hint} ({len(self.mine)} bars in all)"

    def _window(self, first: int, end: int) -> tuple[Array, ...]:
        return self.indicator.batch(*[column[first:end].copy() for column in self.inputs])

    def _prefix(self) -> Iterator[str]:
        """The values over some of the bars are those over all of them."""
        n, r = min(len(self.bars), 2 * self.indicator.history), np.random.default_rng(2)
        few = {1, 2, 3, self.indicator.lookback, self.indicator.lookback + 1, n - 1}
        cuts = sorted(cut for cut in {*few, *r.integers(1, n, _CUTS).tolist()} if 0 < cut < n)
        for base in sorted({0, max(0, len(self.bars) - n)}):
            whole = self._window(base, base + n)
            for cut in cuts:
                try:
                    part = self._window(base, base + cut)
                except Exception as error:
                    yield f"it raises when it gets the first {cut} bars only ({type(error).__name__}: {error}): give NaN there"
                    return
                if any(len(column) != cut for column in part):
                    yield f"of the first {cut} bars alone it gives {len(part[0])} values"
                    return
                told = list(self._changed(base, cut, part, whole))
                yield from told
                if told:
                    return

    def _changed(self, base: int, cut: int, part: tuple[Array, ...], whole: tuple[Array, ...]) -> Iterator[str]:
        for name, a, b in zip((*self.indicator.columns, "silent"), part, whole):
            at = first_unequal(a, b[:cut])
            if at is not None:
                yield (
                    f"column {name} looks ahead: its value at {self._at(base + at)} was {a[at]:g} when that bar and "
                    f"{cut - 1 - at} later ones were known, and became {b[at]:g} when later bars were added"
                )

    def _repeats(self) -> Iterator[str]:
        n = min(len(self.bars), 2 * self.indicator.history)
        given = [column[:n].copy() for column in self.inputs]
        kept = [column.copy() for column in given]
        first, second = self.indicator.batch(*given), self.indicator.batch(*given)
        for name, a, b in zip((*self.indicator.columns, "silent"), first, second):
            at = first_unequal(a, b)
            if at is not None:
                yield f"column {name} is not repeatable: of the same bars it gives {a[at]:g}, then {b[at]:g} at {self._at(at)}"
        for name, before, after in zip(self.indicator.inputs, kept, given):
            if first_unequal(before, after) is not None:
                yield f"it changes its input {name}"

    def _memory(self) -> Iterator[str]:
        """The last `stable` bars alone give what all the bars of two histories give."""
        n, stable = 2 * self.indicator.history, self.indicator.stable
        places = np.unique(np.linspace(n, len(self.bars), _SAMPLES).astype(int))
        worst: dict[str, tuple[float, int]] = {}
        late: dict[str, int] = {}
        for end in places[places >= n].tolist():
            if any(np.isnan(column[end - n : end]).any() for column in self.inputs):
                continue
            for k, name in enumerate(self.indicator.columns):
                long, short = (self._window(end - m, end)[k][-1] for m in (n, stable))
                if np.isnan(short) and not np.isnan(long):
                    late.setdefault(name, end - 1)
                    continue
                apart = 0.0 if np.isnan(long) and np.isnan(short) else abs(long - short)
                apart = np.inf if np.isnan(apart) else apart
                if apart > max(self._spread(k) * TOLERANCE, worst.get(name, (0.0, 0))[0]):
                    worst[name] = float(apart), end - 1
        for name, at in late.items():
            yield (
                f"column {name} has a value at {self._at(at)} of {n} bars up to it, and none of {stable} (stable): raise lookback"
            )
        for name, (apart, at) in worst.items():
            much = "a value is missing in one of them" if np.isinf(apart) else f"they differ by {apart:g}"
            yield (
                f"column {name} remembers more than it declares: of {stable} bars (stable) and of {n} bars up to {self._at(at)}, "
                f"{much}; raise stable, or history, if it ever forgets"
            )

    def _spread(self, k: int) -> float:
        values = self.rows["values"][:, self.places[k]]
        values = values[~np.isnan(values)]
        return float(values.max() - values.min()) if len(values) else 0.0

    def _splits(self) -> Iterator[str]:
        """One bar at a time, few and many, with restarts: the same values and statuses, and nothing fails."""
        for chunk, restart in _SPLITS:
            n = SINGLE_BARS if chunk == 1 else len(self.bars)
            got, dead = features(self.analysis, self.bars[:n], chunk, restart)
            for name, place in zip(self.indicator.columns, self.places):
                for field in ("values", "status"):
                    a = got[field][:, place].astype(np.float64)
                    b = self.rows[field][:n, place].astype(np.float64)
                    at = first_unequal(a, b)
                    if at is not None:
                        yield (
                            f"column {name} depends on how the bars arrive: {field} {a[at]:g} at {self._at(at)} with {chunk} bars "
                            f"a frame, {b[at]:g} with all in one"
                        )
                        return
            mine = [d for d in dead if d.source.endswith(f"/{self.indicator.columns[0]}")]
            if mine:
                yield f"it fails with {chunk} bars a frame only: {mine[0].detail}"
                return

    def _steps(self) -> Iterator[str]:
        """What the steps give is what the function gives of the same history."""
        g, history = self.bars["g"], self.indicator.history
        for at in np.unique(np.linspace(0, len(self.bars) - 1, 4 * _SAMPLES).astype(int)).tolist():
            since = int(np.searchsorted(g, (int(g[at]) // history - 1) * history))
            for k, (name, place) in enumerate(zip(self.indicator.columns, self.places)):
                stepped, whole = float(self.rows["values"][at, place]), float(self._window(since, at + 1)[k][-1])
                near = abs(stepped - whole) <= STEP_TOLERANCE * max(self._spread(k), abs(whole))
                if not (near or (np.isnan(stepped) and np.isnan(whole))):
                    yield f"column {name}: its steps give {stepped:g} at {self._at(at)}, its function of the same bars {whole:g}"
                    return

    def _starts(self) -> Iterator[str]:
        """Two starts agree where both say settled."""
        late, _ = features(self.analysis, self.bars[_LATE:], 99, 0.05)
        for name, place in zip(self.indicator.columns, self.places):
            both = (late["status"][:, place] == SETTLED) & (self.rows["status"][_LATE:, place] == SETTLED)
            a = np.where(both, late["values"][:, place], 0.0)
            b = np.where(both, self.rows["values"][_LATE:, place], 0.0)
            at = first_unequal(a, b)
            if at is not None:
                much = f"they differ by up to {np.abs(a - b).max():g}"
                yield f"column {name} depends on when the run began, though settled, first at {self._at(_LATE + at)}: {much}"


def scaling(indicator: Indicator, bars: Array) -> str | None:
    """What a price four times as high does to an indicator of bar columns, as a phrase; None where it does not say."""
    if not set(indicator.inputs) <= set(BAR_INPUTS):
        return None
    n = min(len(bars), 2 * indicator.history)
    plain = [np.ascontiguousarray(bars[name][:n]) for name in indicator.inputs]
    scaled = [column * (1.0 if name == "volume" else 4.0) for name, column in zip(indicator.inputs, plain)]
    a, b = indicator.batch(*plain), indicator.batch(*scaled)
    if all(first_unequal(x, y) is None for x, y in zip(a, b)):
        return "scale-free: the same at four times the price"
    if all(first_unequal(4.0 * x, y) is None for x, y in zip(a, b)):
        return "in units of the price"
    return None
