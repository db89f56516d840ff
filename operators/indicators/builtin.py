"""The project's own indicators by name, with what the runtime must know of them (file 03 section 11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from events.frames import Array
from operators.indicators.base import Indicator, Wide
from operators.indicators.heikin_ashi import heikin_ashi
from operators.indicators.momentum import awesome_oscillator
from operators.indicators.regime import RegimeHandle, p_trend, regime_codes
from operators.indicators.rolling import percentile_rank, z_score
from operators.indicators.structure import PIVOT_BARS, bos_score, newest_swings, structure, sweep_score, swings
from operators.indicators.talib_functions import talib_by_column
from operators.indicators.volatility import efficiency_ratio, parkinson_volatility, range_position, realised_volatility
from operators.indicators.volume import (
    accumulation_slope,
    chaikin_money_flow,
    day_vwap,
    on_balance_volume,
    relative_volume,
)
from operators.indicators.wide import DayVwap, RealisedVolatility, RelativeVolume
from operators.indicators.zones import levels, order_blocks

_HLC: Final = ("high", "low", "close")
_HLCV: Final = (*_HLC, "volume")
_REGIME: Final = ("adx_14", "plus_di_14", "minus_di_14", "atr_pctl")
_AUTOMATON: Final = 256
"""Declared stable length of what follows swings."""


def _with(function: Callable[..., Any], *parameters: int) -> Callable[..., Any]:
    """The function with its parameters given: a compiled one is called far faster without defaults to fill in."""
    return lambda *inputs: function(*inputs, *parameters)


def _bos(high: Array, low: Array, close: Array, atr: Array) -> tuple[Array, Array]:
    score, silent = bos_score(structure(high, low, close, atr, PIVOT_BARS)[3], PIVOT_BARS)
    return score, silent


def _sweep(high: Array, low: Array, close: Array, atr: Array) -> tuple[Array, Array]:
    score, silent = sweep_score(structure(high, low, close, atr, PIVOT_BARS)[4], atr, PIVOT_BARS)
    return score, silent


def _structure(high: Array, low: Array, close: Array, atr: Array) -> tuple[Array, Array, Array]:
    _, _, trend, broken, swept = structure(high, low, close, atr, PIVOT_BARS)
    return trend, broken, swept


def _blocks(open_: Array, high: Array, low: Array, close: Array, atr: Array) -> tuple[Array, Array]:
    broken = structure(high, low, close, atr, PIVOT_BARS)[3]
    score, silent = order_blocks(open_, high, low, close, atr, broken, PIVOT_BARS)[:2]
    return score, silent


def _adl_z(adl: Array, since: int = 0) -> Array:
    return z_score(adl, 256, 32, since)


def _atr_percentile(natr: Array, since: int = 0) -> Array:
    return percentile_rank(natr, 512, since)


def _swing(high: Array, low: Array, since: int = 0) -> tuple[Array, Array]:
    return newest_swings(high, low, PIVOT_BARS, since)


def _levels(high: Array, low: Array, close: Array, atr: Array, since: int = 0) -> tuple[Array, Array, Array]:
    above, below, _, _, none_above, none_below = levels(*swings(high, low, PIVOT_BARS), close, atr, PIVOT_BARS, since)
    return above, below, none_above | none_below


def _own(
    columns: tuple[str, ...], function: Callable[..., Any], inputs: tuple[str, ...], history: int, lookback: int, stable: int = 0,
    silent: bool = False, newest: bool = False, windowed: bool = False, open: Callable[..., Any] | None = None,
) -> Indicator:  # fmt: skip
    source = ("tidewax", columns[0], 1)
    stable = stable or lookback + 1
    return Indicator(
        columns,
        function,
        inputs,
        history,
        stable,
        lookback,
        source,
        open,
        silent=silent,
        newest=newest,
        windowed=windowed,
    )


def _wide(
    columns: tuple[str, ...], function: Callable[..., Any], lookback: int, wide: Callable[[int], Wide]
) -> Indicator:
    return Indicator(columns, function, (), 64, lookback + 1, lookback, ("tidewax", columns[0], 1), wide=wide)


BUILTIN: Final[dict[str, Indicator]] = {
    "adl_20": _own(("adl_20",), _with(accumulation_slope, 20), _HLCV, 64, 19, windowed=True),
    "adl_z": _own(("adl_z",), _adl_z, ("adl_20",), 512, 32, 257, newest=True),
    "ao_5_34": _own(("ao_5_34",), _with(awesome_oscillator, 5, 34), ("high", "low"), 64, 33, windowed=True),
    "atr_pctl": _own(("atr_pctl",), _atr_percentile, ("natr_14",), 512, 128, 512, newest=True),
    "bos": _own(("bos_score",), _bos, (*_HLC, "atr_14"), 512, 10, _AUTOMATON, silent=True),
    "cmf_20": _own(("cmf_20",), _with(chaikin_money_flow, 20), _HLCV, 64, 19, windowed=True),
    "er_20": _own(("er_20",), _with(efficiency_ratio, 20), ("close",), 64, 20, windowed=True),
    "heikin_ashi": _own(("ha.open", "ha.high", "ha.low", "ha.close"), heikin_ashi, ("open", *_HLC), 64, 0, 27),
    "levels": _own(("d_res", "d_sup"), _levels, (*_HLC, "atr_14"), 512, 10, _AUTOMATON, silent=True, newest=True),
    "obv_14": _own(("obv_14",), _with(on_balance_volume, 14), ("close", "volume"), 64, 14, windowed=True),
    "order_blocks": _own(("ob_score",), _blocks, ("open", *_HLC, "atr_14"), 512, 10, _AUTOMATON, silent=True),
    "p_trend": _own(("p_trend",), p_trend, ("adx_14",), 64, 0, windowed=True),
    "park_60": _own(("park_60",), _with(parkinson_volatility, 60), ("high", "low"), 64, 59, windowed=True),
    "range_pos": _own(("range_pos",), _with(range_position, 50), _HLC, 64, 49, windowed=True),
    "rv_60": _wide(("rv_60",), realised_volatility, 60, RealisedVolatility),
    "rvol": _wide(("rvol",), relative_volume, 30, RelativeVolume),
    "vwap": _wide(("vwap_d", "vwap_band"), day_vwap, 0, DayVwap),
    "regime": _own(("regime",), regime_codes, _REGIME, 512, 0, 512, open=RegimeHandle),
    "structure": _own(("trend", "break_event", "sweep_event"), _structure, (*_HLC, "atr_14"), 512, 0, _AUTOMATON),
    "sweep": _own(("sweep_score",), _sweep, (*_HLC, "atr_14"), 512, 10, _AUTOMATON, silent=True),
    "swing": _own(("swing.high", "swing.low"), _swing, ("high", "low"), 512, 10, _AUTOMATON, newest=True),
}
"""Indicators by their name in settings."""


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


def indicator_of(column: str) -> Indicator:
    """What makes a column of this name: an indicator of the project's own, or a TA-Lib function by its name and parameters.

    >>> indicator_of("vwap_band").columns, indicator_of("rsi_7").source[:2]
    (('vwap_d', 'vwap_band'), ('talib', 'RSI'))

    Raises:
        ValueError: nothing does.
    """
    for indicator in BUILTIN.values():
        if column in indicator.columns:
            return indicator
    found = talib_by_column(column)
    if found is None:
        raise ValueError(f"no indicator makes a column {column!r}")
    return found
