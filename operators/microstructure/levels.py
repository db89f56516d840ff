"""Kernels of one side of a book: price levels in order, the best of them last, so that what changes often moves least.

A side is two arrays, keys and quantities, of which the first `n` count. A key is the price of a bid, and less the price of an
ask: the larger it is, the better the level, so one code serves both sides, and the same exactly.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from events.frames import Array
from operators.maths import kernel

MOST_LEVELS: Final = 1000
"""Of a side; the worst go."""
UNTOUCHED: Final = 1 << 30
"""The index of a change that changes nothing."""


@kernel
def place(keys: Array, n: int, key: float) -> int:
    """The index of the first of `n` keys that is not below `key`.

    >>> import numpy as np
    >>> place(np.array([98.0, 99.0, 100.0]), 3, 99.5)
    2
    """
    low, high = 0, n
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _pull(values: Array, start: int, end: int) -> None:
    """Each of [start, end) takes the value after it."""
    one = np.uintp(1)  # unsigned indices: they cannot count from the end, so the loop compiles to wide moves
    for i in range(np.uintp(start), np.uintp(end)):
        values[i] = values[i + one]


@kernel
def _push(values: Array, start: int, end: int) -> None:
    """Each of (start, end] takes the value before it."""
    one, last = np.uintp(1), np.uintp(end)
    for k in range(np.uintp(end - start)):
        values[last - k] = values[last - k - one]


@kernel
def set_level(keys: Array, quantities: Array, n: int, key: float, quantity: float) -> tuple[int, int]:
    """Set one level to a quantity, 0 deletes it. Gives (levels now, index from the best of what changed or UNTOUCHED).

    A level worse than all of a full side is not kept; a better one pushes the worst out.

    >>> import numpy as np
    >>> keys, quantities = np.array([98.0, 99.0, 0.0]), np.array([1.0, 2.0, 0.0])
    >>> set_level(keys, quantities, 2, 98.5, 4.0), keys.tolist(), quantities.tolist()
    ((3, 1), [98.0, 98.5, 99.0], [1.0, 4.0, 2.0])
    """
    at = place(keys, n, key)
    if at < n and keys[at] == key:
        if quantities[at] == quantity:
            return n, UNTOUCHED
        if quantity > 0.0:
            quantities[at] = quantity
            return n, n - 1 - at
        _pull(keys, at, n - 1)
        _pull(quantities, at, n - 1)
        return n - 1, n - 1 - at
    if quantity == 0.0:
        return n, UNTOUCHED
    if n == len(keys):
        if at == 0:
            return n, UNTOUCHED
        at -= 1
        _pull(keys, 0, at)
        _pull(quantities, 0, at)
        keys[at], quantities[at] = key, quantity
        return n, n - 1 - at
    _push(keys, at, n)
    _push(quantities, at, n)
    keys[at], quantities[at] = key, quantity
    return n + 1, n - at
