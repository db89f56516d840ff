"""Risk levels and size of a signal: advisory figures, pure functions."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from events.records import Size

LOT: Final = 1e-8
"""Step of quantities where the venue does not tell."""
STOP_MIN: Final = 0.003
STOP_MAX: Final = 0.10
MULTIPLES: Final = (1.0, 2.0, 3.0)
TARGET_SIZES: Final = (0.5, 0.3, 0.2)
BEYOND_SWING: Final = 0.1
"""How far behind the swing a structural stop is, in ATR."""


class RiskSettings(NamedTuple):
    """How stops and sizes are made.

    Attributes:
        stop_atr: k, the stop's distance in ATR.
        equity: in quote units, None for no size.
        risk: fraction of the equity at risk in one signal.
        cap: largest notional as a fraction of the equity.
        leverage: largest notional in multiples of the equity.
        structural: whether the stop goes behind the newest swing where that is nearer.
    """

    stop_atr: float = 2.0
    equity: float | None = None
    risk: float = 0.01
    cap: float = 0.10
    leverage: float = 3.0
    structural: bool = True


class Levels(NamedTuple):
    """The stop and the targets of an entry, the stop's distance, and what set it: "structure" or "atr"."""

    stop: float
    targets: tuple[float, ...]
    distance: float
    source: str


def levels(direction: int, price: float, atr: float, stop_atr: float = 2.0, swing: float = math.nan) -> Levels:
    """Stop and targets of an entry at `price`: the stop at `stop_atr` ATR, kept within 0.3 % and 10 % of the price.

    Where `swing`, the newest confirmed swing low (high for a short), with a tenth of an ATR is nearer, though not within 0.3 %,
    the stop goes there. NaN stands for no swing.

    >>> levels(1, 60000.0, 210.0)
    Levels(stop=59580.0, targets=(60420.0, 60840.0, 61260.0), distance=420.0, source='atr')
    >>> levels(1, 60000.0, 210.0, swing=59700.0)
    Levels(stop=59679.0, targets=(60321.0, 60642.0, 60963.0), distance=321.0, source='structure')
    >>> levels(-1, 60000.0, 50.0).stop
    60180.0
    """
    distance, source = min(max(stop_atr * atr, STOP_MIN * price), STOP_MAX * price), "atr"
    behind = direction * (price - swing) + BEYOND_SWING * atr
    if STOP_MIN * price <= behind < distance:
        distance, source = behind, "structure"
    targets = tuple(price + direction * multiple * distance for multiple in MULTIPLES)
    return Levels(price - direction * distance, targets, distance, source)


def size(price: float, distance: float, settings: RiskSettings, lot: float = LOT) -> tuple[Size | None, str | None]:
    """(size, None), or (None, reason); never rounded up.

    >>> size(60000.0, 420.0, RiskSettings(equity=10000.0), 0.001)[0].qty
    0.016
    >>> size(60000.0, 3000.0, RiskSettings(equity=100.0), 0.001)
    (None, 'below_minimum')
    """
    equity = settings.equity
    if equity is None:
        return None, "no_equity"
    wanted = min(equity * settings.risk / distance, equity * settings.cap / price, settings.leverage * equity / price)
    steps = math.floor(wanted / lot + 1e-9)
    if steps < 1:
        return None, "below_minimum"
    qty = round(steps * lot, 12)
    return Size(qty=qty, notional=qty * price, risk=qty * distance), None
