"""The volume dimension: participation."""

from __future__ import annotations

import numpy as np

from events.frames import Array
from operators.dimensions.base import Score, as_it_is
from operators.maths import kernel, squash


@kernel
def squash_score(z: Array) -> Array:
    """tanh(z / 2).

    >>> float(round(squash_score(np.array([1.0]))[0], 12))
    0.46211715726
    """
    out = np.empty(len(z))
    for i in range(len(z)):
        out[i] = squash(z[i])
    return out


VOLUME = (
    Score("cmf", "volume", 0.25, ("cmf_20",), as_it_is),
    Score("obv", "volume", 0.20, ("obv_14",), as_it_is),
    Score("adl", "volume", 0.20, ("adl_z",), squash_score),
)
