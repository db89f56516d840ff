"""The project's own indicators by name, with what the runtime must know of them (file 03 section 11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from events.frames import Array
from operators.indicators.base import Indicator
from operators.indicators.heikin_ashi import heikin_ashi
from operators.indicators.rolling import z_score
from operators.indicators.structure import bos_score, structure, sweep_score, swings
from operators.indicators.volatility import efficiency_ratio, parkinson_volatility, range_position
from operators.indicators.volume import accumulation_slope, chaikin_money_flow, on_balance_volume
from operators.indicators.zones import levels

_HLC: Final = ("high", "low", "close")
_HLCV: Final = (*_HLC, "volume")
_AUTOMATON: Final = 256
"""Declared stable length of what follows swings."""


def _bos(high: Array, low: Array, close: Array, atr: Array) -> tuple[Array, Array]:
    score, silent = bos_score(structure(high, low, close, atr)[3])
    return score, silent


def _sweep(high: Array, low: Array, close: Array, atr: Array) -> tuple[Array, Array]:
    score, silent = sweep_score(structure(high, low, close, atr)[4], atr)
    return score, silent


def _levels(high: Array, low: Array, close: Array, atr: Array) -> tuple[Array, Array, Array]:
    above, below, _, _, none_above, none_below = levels(*swings(high, low), close, atr)
    return above, below, none_above | none_below


def _own(
    columns: tuple[str, ...], function: Callable[..., Any], inputs: tuple[str, ...], history: int, lookback: int, stable: int = 0,
    silent: bool = False,
) -> Indicator:  # fmt: skip
    source = ("tidewax", columns[0], 1)
    return Indicator(columns, function, inputs, history, stable or lookback + 1, lookback, source, silent=silent)


BUILTIN: Final[dict[str, Indicator]] = {
    "adl_20": _own(("adl_20",), accumulation_slope, _HLCV, 64, 19),
    "adl_z": _own(("adl_z",), z_score, ("adl_20",), 512, 32, 257),
    "bos": _own(("bos_score",), _bos, (*_HLC, "atr_14"), 512, 10, _AUTOMATON, silent=True),
    "cmf_20": _own(("cmf_20",), chaikin_money_flow, _HLCV, 64, 19),
    "er_20": _own(("er_20",), efficiency_ratio, ("close",), 64, 20),
    "heikin_ashi": _own(("ha.open", "ha.high", "ha.low", "ha.close"), heikin_ashi, ("open", *_HLC), 64, 0, 27),
    "levels": _own(("d_res", "d_sup"), _levels, (*_HLC, "atr_14"), 512, 10, _AUTOMATON, silent=True),
    "obv_14": _own(("obv_14",), on_balance_volume, ("close", "volume"), 64, 14),
    "park_60": _own(("park_60",), parkinson_volatility, ("high", "low"), 64, 59),
    "range_pos": _own(("range_pos",), range_position, _HLC, 64, 49),
    "sweep": _own(("sweep_score",), _sweep, (*_HLC, "atr_14"), 512, 10, _AUTOMATON, silent=True),
}
"""Indicators by their name in settings; `adl_z` takes `adl_20`, what follows swings takes `atr_14`."""


def builtin_indicator(name: str) -> Indicator:
    """The project's own indicator of this name.

    >>> builtin_indicator("obv_14").columns
    ('obv_14',)

    Raises:
        ValueError: there is none of this name.
    """
    if name not in BUILTIN:
        raise ValueError(f"no built-in indicator {name!r}; there are {', '.join(sorted(BUILTIN))}")
    return BUILTIN[name]
