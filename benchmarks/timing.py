"""Measuring: contenders take turns, the best of their turns counts, and how far the worst lay behind it is told."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple


class Took(NamedTuple):
    """What a run gives that was timed otherwise: only these seconds count."""

    seconds: float


@dataclass(frozen=True)
class Contender:
    """Something to time.

    Attributes:
        what: its row in the table.
        rows: how many rows one run takes in.
        run: one run; what it gives is thrown away, unless it is `Took`.
        best, worst: seconds, once measured.
    """

    what: str
    rows: int
    run: Callable[[], Any]
    best: float = 0.0
    worst: float = 0.0

    @property
    def rate(self) -> float:
        """Rows a second, of the best run."""
        return self.rows / self.best


def measure(contenders: Sequence[Contender], rounds: int, warm: bool = True) -> list[Contender]:
    """Time all contenders `rounds` times, one after the other in each round, after one run each to `warm` up."""
    for contender in contenders if warm else ():
        contender.run()
    seconds: list[list[float]] = [[] for _ in contenders]
    for _ in range(rounds):
        for spent, contender in zip(seconds, contenders):
            spent.append(_once(contender.run))
    return [replace(c, best=min(spent), worst=max(spent)) for c, spent in zip(contenders, seconds)]


def by_processor(run: Callable[[], Any]) -> Callable[[], Took]:
    """The run, timed by the processor time of this process: long runs meet other load, which this leaves out."""

    def timed() -> Took:
        began = time.process_time()
        run()
        return Took(time.process_time() - began)

    return timed


def _once(run: Callable[[], Any]) -> float:
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        given = run()
        spent = time.perf_counter() - began
        return given.seconds if isinstance(given, Took) else spent
    finally:
        gc.enable()
