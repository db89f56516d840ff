"""The maths of cores: compiled scalars, sequential in row order, so that the same bits come out whatever the vector unit.

numpy's `exp`, `log`, `tanh` and its reductions depend on the processor's vector width, so cores use these instead; a lint
(`tests/test_lints.py`) keeps it so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

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
def run_lengths(high: Array, low: Array) -> Array:
    """Per row how many rows in a row, up to it, have had one and the same price throughout (0: the row itself moved).

    >>> run_lengths(np.array([2.0, 2.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0, 3.0])).tolist()
    [0, 1, 2, 1]
    """
    out = np.zeros(len(high), np.int64)
    for i in range(len(high)):
        if high[i] == low[i]:
            flat_before = i > 0 and out[i - 1] > 0 and high[i - 1] == high[i]
            out[i] = out[i - 1] + 1 if flat_before else 1
    return out
