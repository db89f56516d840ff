"""TA-Lib functions as indicators: one batch call over an anchored block, or a TA-Lib stream handle for one bar, the same bits."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Final, NamedTuple

import talib
from talib import stream

from operators.indicators.base import Flat, Indicator


class _Function(NamedTuple):
    """What TA-Lib does not say of its function."""

    inputs: tuple[str, ...]
    defaults: tuple[tuple[str, int], ...]
    outputs: tuple[str, ...]
    recursion: str  # "ema", "wilder" or "window"
    flat: float | None  # published on a flat window
    lookback: str  # in terms of the parameters


_HLC: Final = ("high", "low", "close")
_C: Final = ("close",)
_N14: Final = (("timeperiod", 14),)
TALIB_FUNCTIONS: Final[dict[str, _Function]] = {
    "RSI": _Function(_C, _N14, (), "wilder", 50.0, "n"),
    "ATR": _Function(_HLC, _N14, (), "wilder", None, "n"),
    "NATR": _Function(_HLC, _N14, (), "wilder", None, "n"),
    "ADX": _Function(_HLC, _N14, (), "wilder", 0.0, "2n-1"),
    "PLUS_DI": _Function(_HLC, _N14, (), "wilder", 0.0, "n"),
    "MINUS_DI": _Function(_HLC, _N14, (), "wilder", 0.0, "n"),
    "EMA": _Function(_C, (("timeperiod", 30),), (), "ema", None, "n-1"),
    "SMA": _Function(_C, (("timeperiod", 30),), (), "window", None, "n-1"),
    "MACD": _Function(
        _C,
        (("fastperiod", 12), ("slowperiod", 26), ("signalperiod", 9)),
        ("line", "signal", "hist"),
        "ema",
        0.0,
        "macd",
    ),
}


def _lookback(rule: str, parameters: dict[str, int]) -> int:
    n = parameters.get("timeperiod", 0)
    slow = max(parameters.get("slowperiod", 0), parameters.get("fastperiod", 0))
    return {"n": n, "n-1": n - 1, "2n-1": 2 * n - 1, "macd": slow + parameters.get("signalperiod", 0) - 2}[rule]


def stable_length(recursion: str, period: int) -> int:
    """Bars after which what is older weighs less than 1e-8 in a recursion over `period`.

    >>> stable_length("wilder", 14), stable_length("ema", 50), stable_length("ema", 200)
    (249, 461, 1843)
    """
    rho = (period - 1) / (period + 1) if recursion == "ema" else 1 - 1 / period
    return math.ceil(math.log(1e-8) / math.log(rho)) if rho > 0 else 1


def talib_indicator(fn: str, **parameters: int) -> Indicator:
    """The TA-Lib function `fn` as an indicator.

    Columns are named by function and parameters in call order, outputs after a dot. Histories: recursive functions at least
    512 bars and lookback + stable length; windows at least 64 bars.

    >>> talib_indicator("MACD").columns
    ('macd_12_26_9.line', 'macd_12_26_9.signal', 'macd_12_26_9.hist')
    >>> talib_indicator("EMA", timeperiod=200).history
    2048

    Raises:
        ValueError: no such function or parameter, or a period below 2.
    """
    if fn not in TALIB_FUNCTIONS:
        raise ValueError(f"no indicator {fn!r}; there are {', '.join(sorted(TALIB_FUNCTIONS))}")
    known = TALIB_FUNCTIONS[fn]
    unknown = sorted(set(parameters) - {name for name, _ in known.defaults})
    if unknown:
        raise ValueError(
            f"{fn} has no parameter {unknown[0]!r}; it has {', '.join(name for name, _ in known.defaults)}"
        )
    used = {name: parameters.get(name, default) for name, default in known.defaults}
    small = [name for name, value in used.items() if not 2 <= value <= 4096]
    if small:
        raise ValueError(f"{fn}: {small[0]} is {used[small[0]]}, it must be from 2 to 4096")
    stem = "_".join([fn.lower(), *map(str, used.values())])
    lookback = _lookback(known.lookback, used)
    if known.recursion == "window":
        stable, least = lookback + 1, 64
    else:
        stable = max(stable_length(known.recursion, max(used.values())), lookback + 1)
        least = max(512, lookback + stable)
    flat = None
    if known.flat is not None:
        flat = Flat(known.flat, lookback + 1, closes=fn == "RSI")
    return Indicator(
        columns=tuple(f"{stem}.{output}" for output in known.outputs) or (stem,),
        function=partial(getattr(talib, fn), **used),
        inputs=known.inputs,
        history=1 << (max(least, lookback + 1) - 1).bit_length(),
        stable=stable,
        lookback=lookback,
        source=("talib", fn, *(value for pair in used.items() for value in pair)),
        open=partial(_open, fn, used),
        flat=flat,
    )


def _open(fn: str, parameters: dict[str, int], *inputs: Any) -> Any:
    try:
        return getattr(stream, fn)(*inputs, **parameters)
    except talib.InsufficientHistory as error:  # type: ignore[attr-defined]
        raise LookupError(str(error)) from error
