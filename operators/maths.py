"""The maths of cores: compiled scalars, sequential in row order, so that the same bits come out whatever the vector unit.

numpy's `exp`, `log`, `tanh` and its reductions depend on the processor's vector width, so cores use these instead; a lint
(`tests/test_lints.py`) keeps it so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

from events.frames import Array

_F = TypeVar("_F", bound=Callable[..., Any])


def kernel(function: _F) -> _F:
    """Compile a function of arrays and scalars; exact IEEE arithmetic in the order as written, cached on disk."""
    return cast(_F, numba.njit(cache=True, fastmath=False)(function))


@kernel
def soft(z: float, a: float) -> float:
    """sgn(z) * max(|z| - a, 0): zero within `a` of zero.

    >>> round(soft(1.8, 1.0), 12)
    0.8
    """
    return math.copysign(max(abs(z) - a, 0.0), z)


@kernel
def clip(x: float, low: float, high: float) -> float:
    """`x` kept within [low, high]; NaN stays NaN.

    >>> clip(3.0, -1.0, 1.0)
    1.0
    """
    if x < low:
        return low
    if x > high:
        return high
    return x


@kernel
def squash(z: float) -> float:
    """tanh(z / 2): a z score as a direction in [-1, 1].

    >>> squash(1.0)
    0.46211715726000974
    """
    return math.tanh(z / 2.0)


@kernel
def extend_runs(upper: Array, lower: Array, runs: Array, since: int, end: int) -> None:
    """Continue `runs` over rows [since, end): for how many rows, up to each, one price has been all there was.

    >>> import numpy as np
    >>> runs = np.array([0, 0, 0, 0])
    >>> extend_runs(np.array([2.0, 2.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0, 3.0]), runs, 0, 4)
    >>> runs.tolist()
    [0, 1, 2, 1]
    """
    for i in range(since, end):
        if upper[i] != lower[i]:
            runs[i] = 0
        elif i > 0 and runs[i - 1] > 0 and upper[i - 1] == upper[i]:
            runs[i] = runs[i - 1] + 1
        else:
            runs[i] = 1
