"""The smart money dimension, as far as bars show it: where stops were run, and where large moves began."""

from __future__ import annotations

from operators.dimensions.base import Score, as_it_is

SMART_MONEY = (
    Score("sweep", "smart_money", 0.20, ("sweep_score",), as_it_is),
    Score("order_blocks", "smart_money", 0.20, ("ob_score",), as_it_is),
)
