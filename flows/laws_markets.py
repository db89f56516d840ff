"""Generated markets that plugins are judged on: one of each kind that has broken indicators before. Seeded, so always the same."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from connectors.simulator import Market
from events.frames import Array, Frame, concat
from events.rows import BAR
from events.schema import PARTIAL
from events.times import DAY_NS, HOUR_NS, MINUTE_NS
from operators.bars import Bars
from operators.core import Core
from operators.ordered import Ordered

START_NS: Final = 19_675 * DAY_NS + 7 * HOUR_NS + 13 * MINUTE_NS
KEY: Final = "synthetic:LAWS/USDT"
MAX_FILL: Final = 60
_STRETCH: Final = 300
"""Minutes from one disturbance to the next."""


def markets(minutes: int) -> dict[str, Array]:
    """Trades of so many minutes by the name of the market.

    >>> {name: len(rows) > 200 for name, rows in markets(300).items()}
    {'a walk': True, 'trends': True, 'still hours': True, 'gaps': True, 'tiny prices': True}
    """
    days = minutes * MINUTE_NS / DAY_NS
    busy = {"trades_per_minute": 4.0, "instrument": KEY}
    found = {
        "a walk": Market(seed=11, **busy).trades(START_NS, days),  # type: ignore[arg-type]
        "trends": Market(seed=12, **busy).trades(START_NS, days),  # type: ignore[arg-type]
        "still hours": Market(seed=13, **busy).trades(START_NS, days),  # type: ignore[arg-type]
        "gaps": Market(seed=14, **busy).trades(START_NS, days),  # type: ignore[arg-type]
        "tiny prices": Market(seed=15, price=2e-6, tick=1e-8, **busy).trades(START_NS, days),  # type: ignore[arg-type]
    }
    minute = {name: (rows["available_at"] - START_NS) // MINUTE_NS for name, rows in found.items()}
    up = np.abs((minute["trends"] + 700) % 1400 - 700)  # rises for 700 minutes, falls for as many
    found["trends"]["price"] *= np.exp(5e-4 * up)
    within = minute["still hours"] % _STRETCH
    found["still hours"]["price"][within >= _STRETCH - 100] = 60_000.0
    found["still hours"] = found["still hours"][within < _STRETCH - 50]  # synthetic bars after an hour at one price
    found["gaps"] = found["gaps"][minute["gaps"] % _STRETCH < _STRETCH - 2 * MAX_FILL]  # more than is filled: no bars
    return found


def bars_of(trades: Array, timeframes: tuple[tuple[str, int], ...]) -> dict[str, Array]:
    """The closed bars of each timeframe, those that begin before the first trade left out."""
    made = drive(lambda: Bars(timeframes, MAX_FILL), {"trades": trades}, len(trades))
    found = {}
    for name, _ in timeframes:
        bars = made.get(f"bars.{name}", np.empty(0, BAR))
        found[f"bars.{name}"] = bars[bars["flags"] & PARTIAL == 0]
    return found


def drive(core: Callable[[], Core], streams: Mapping[str, Array], chunk: int, restart: float = 0.0) -> dict[str, Any]:
    """All rows that a core makes of its streams, the first of which drives.

    Args:
        core: makes the core.
        streams: its inputs, by name.
        chunk: rows of the first stream a frame.
        restart: how often it is replaced by its own pickled snapshot, as a share of the frames.
    """
    r, names = np.random.default_rng(1), tuple(streams)
    times = {name: np.ascontiguousarray(rows["available_at"]) for name, rows in streams.items()}
    stage, out, reached = Ordered(core(), names), [], dict.fromkeys(names, 0)
    clock = times[names[0]]
    for first in range(0, len(clock), chunk):
        newest = int(clock[min(first + chunk, len(clock)) - 1])
        for name, rows in streams.items():
            end = int(times[name].searchsorted(newest, side="right"))
            part = rows[reached[name] : end].copy()
            part.flags.writeable = False
            reached[name] = end
            stage.push(Frame(KEY, name, part, newest + 1))
        out += stage.advance()
        if r.random() < restart:
            stored, stage = pickle.dumps(stage.snapshot()), Ordered(core(), names)
            stage.restore(pickle.loads(stored))
    parts: dict[str, list[Any]] = {}
    for frame in out:
        if len(frame.rows):
            parts.setdefault(frame.name, []).append(frame.rows)
    return {
        name: tuple(row for part in found for row in part) if isinstance(found[0], tuple) else concat(found)
        for name, found in parts.items()
    }
