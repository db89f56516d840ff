"""The prices of a book of the model, and when the quantity at each of them changes."""

from __future__ import annotations

from typing import Final

import numpy as np

from events.frames import Array

SIZES: Final = 1_024
"""How many sizes a level is drawn from."""
MULTIPLIERS: Final = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_NEAR: Final = 24
"""Ticks from the best price within which every price is there; then twice as far only every second one, and so on."""
_SPACING: Final = 2 ** np.arange(1, 15)[:, None]
_BEGIN: Final = _NEAR * _SPACING // 2
_STEPS_OUT: Final = np.arange(_NEAR // 2) * _SPACING
_BUSY, _CALM = 6, 64
"""Steps between two changes of the quantity at an odd price, and at any other one."""


class Ladder:
    """The prices of a book by its best bid and best ask, and the rhythm in which the quantity at each of them changes.

    Attributes:
        ticks: all prices, bids first, on each side the best one first.
        bids: how many of them are bids.
    """

    def __init__(self, bid: int, ask: int, salt: int) -> None:
        below, above = _prices(bid, -1), _prices(ask, 1)
        self.ticks = np.concatenate([below, above])
        self.bids, self._salt = len(below), salt
        self._keys = self.ticks.astype(np.uint64) * np.uint64(2)
        self._keys[self.bids :] += np.uint64(1)
        zeros = np.frexp((self.ticks & -self.ticks).astype(np.float64))[1] - 1
        self._weight = 1 + np.minimum(zeros, len(_SPACING))
        odd = zeros == 0
        self._period = np.where(odd, _BUSY, _CALM)
        own = (_mixed(self._keys, salt) >> np.uint64(7)).astype(np.int64)
        self._phase = np.where(odd, self.ticks >> 1, own) % self._period

    def due(self, step: int) -> Array:
        """The places of the levels whose quantity is drawn anew in that step: never none."""
        return np.flatnonzero((step + self._phase) % self._period == 0)

    def lots(self, step: int, sizes: Array, places: Array | slice = slice(None)) -> Array:
        """The lots at these places in that step, from a table of sizes: more at rounder prices."""
        version = (step + self._phase[places]) // self._period[places]
        drawn = _mixed(self._keys[places] ^ (version.astype(np.uint64) << np.uint64(20)), self._salt)
        lots: Array = sizes[(drawn >> np.uint64(17)) % np.uint64(SIZES)] * self._weight[places]
        return lots


def _prices(best: int, sign: int) -> Array:
    """From the best price outwards, at most a quarter of it away."""
    far = best + sign * _BEGIN
    first = -(-far // _SPACING) if sign > 0 else far // _SPACING
    out = np.concatenate([best + sign * np.arange(_NEAR), (first * _SPACING + sign * _STEPS_OUT).ravel()])
    return out[(out > 0) & (abs(out - best) <= best // 4 + _NEAR)]


def _mixed(keys: Array, salt: int) -> Array:
    """A hash of each key."""
    first, second, third = (np.uint64(m) for m in MULTIPLIERS)
    x = (keys + np.uint64(salt)) * first
    x ^= x >> np.uint64(30)
    x *= second
    x ^= x >> np.uint64(27)
    x *= third
    return x ^ (x >> np.uint64(31))
