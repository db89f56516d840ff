"""TA-Lib functions as indicators: one batch call over an anchored block, or a TA-Lib stream handle for one bar, the same bits."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from functools import partial
from typing import Any, Final

import numpy as np
import talib
from talib import abstract, stream

from events.frames import Array
from operators.indicators.base import BAR_INPUTS, Flat, Indicator

TALIB_FUNCTIONS: Final[tuple[str, ...]] = tuple(sorted(talib.get_functions()))  # type: ignore[no-untyped-call]
"""The names of all functions."""

EMA_FAMILY: Final = frozenset(
    {
        "ADOSC", "APO", "CVI", "DEMA", "EFI", "EMA", "ERI", "KC", "KDJ", "MACD", "MACDFIX", "MASSI", "PPO", "PVO", "SMI",
        "T3", "TEMA", "TRIX", "TSI", "ZLEMA",
    }
)  # fmt: skip
"""Recursions with the factor (n - 1) / (n + 1)."""
RECURSIVE: Final = EMA_FAMILY | {
    "AD", "ADX", "ADXR", "ATR", "CMO", "CUMSUM", "DX", "HA", "HT_DCPERIOD", "HT_DCPHASE", "HT_PHASOR", "HT_SINE",
    "HT_TRENDLINE", "HT_TRENDMODE", "KAMA", "MAMA", "MINUS_DI", "MINUS_DM", "NATR", "NVI", "OBV", "PLUS_DI", "PLUS_DM",
    "PVI", "PVT", "RMA", "RSI", "RVI", "SAR", "SAREXT", "STOCHRSI", "SUPERTREND", "VWAP", "WAD",
}  # fmt: skip
"""Functions whose value depends on more than their lookback: found by comparing windows with whole histories, all 201 of them."""
_WINDOWED_AVERAGES: Final = (0, 2, 5)  # matype: SMA, WMA, TRIMA; every other average is a recursion
_AGES: Final = frozenset({"MAXINDEX", "MININDEX", "MINMAXINDEX"})  # give places in the history, which the anchor moves
_FLAT: Final[dict[str, tuple[float, bool]]] = {
    "RSI": (50.0, True), "STOCHRSI": (50.0, True), "CMO": (0.0, True),
    "STOCH": (50.0, False), "STOCHF": (50.0, False), "MFI": (50.0, False), "ULTOSC": (50.0, False), "WILLR": (-50.0, False),
    "CCI": (0.0, False), "MACD": (0.0, False), "MACDFIX": (0.0, False), "MACDEXT": (0.0, False), "AROONOSC": (0.0, False),
    "ADX": (0.0, False), "ADXR": (0.0, False), "DX": (0.0, False), "PLUS_DI": (0.0, False), "MINUS_DI": (0.0, False),
    "BOP": (0.0, False), "AROON": (50.0, False),
}  # fmt: skip
"""What to publish on a flat window, and whether closes decide: the library's 0 would read as an extreme."""
_NO_PERIOD: Final = 14  # of a recursion without a period, such as SAR
MOST_BARS: Final = 1 << 16


def stable_length(recursion: str, period: int) -> int:
    """Bars after which what is older weighs less than 1e-8 in a recursion over `period`.

    >>> stable_length("wilder", 14), stable_length("ema", 50), stable_length("ema", 200)
    (249, 461, 1843)
    """
    rho = (period - 1) / (period + 1) if recursion == "ema" else 1 - 1 / period
    return math.ceil(math.log(1e-8) / math.log(rho)) if rho > 0 else 1


def talib_indicator(fn: str, **parameters: float) -> Indicator:
    """The TA-Lib function `fn` as an indicator.

    Columns are named by the function and the parameters given, in the order of its call; outputs stand after a dot. What is
    not given has TA-Lib's default. Histories: recursions at least 512 bars and lookback + stable length, windows at least 64.
    MININDEX and its kin give the age of the extreme, in bars.

    >>> talib_indicator("MACD", fastperiod=12, slowperiod=26, signalperiod=9).columns
    ('macd_12_26_9.line', 'macd_12_26_9.signal', 'macd_12_26_9.hist')
    >>> talib_indicator("BBANDS", timeperiod=20, nbdevup=2, nbdevdn=2, matype=0).columns[0]
    'bbands_20_2_2_0.upper'
    >>> talib_indicator("EMA", timeperiod=200).history, talib_indicator("SAR").columns
    (2048, ('sar',))

    Raises:
        ValueError: no such function or parameter, a value that TA-Lib refuses, or a history over 65,536 bars.
    """
    if fn not in TALIB_FUNCTIONS:
        raise ValueError(f"no indicator {fn!r}: TA-Lib has no function of that name")
    info = abstract.Function(fn)  # type: ignore[attr-defined]
    known = dict(info.get_parameters())
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise ValueError(f"{fn} has no parameter {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    used = {name: type(default)(parameters.get(name, default)) for name, default in known.items()}
    lossy = [name for name, value in parameters.items() if used[name] != value]
    if lossy:
        raise ValueError(f"{fn}: {lossy[0]} is {parameters[lossy[0]]}, it must be a whole number")
    try:
        info.set_parameters(used)
        lookback = int(info.lookback)
        if lookback < 0:
            raise ValueError("out of range")
    except Exception as error:
        given = ", ".join(f"{name} {value:g}" for name, value in used.items())
        raise ValueError(f"{fn} does not take {given}: {error}") from None
    stem = "_".join([fn.lower(), *(f"{used[name]:g}" for name in known if name in parameters)])
    stable, least = _memory(fn, used, lookback)
    history = 1 << (max(least, lookback + 1) - 1).bit_length()
    if history > MOST_BARS:
        raise ValueError(f"{fn}: a history of {history} bars is too long, the most is {MOST_BARS}")
    inputs = _inputs(info.input_names)
    call = partial(_call, fn, used, lookback, "periods" in inputs)
    columns = tuple(f"{stem}.{output}" for output in _outputs(fn, info.output_names)) or (stem,)
    return Indicator(
        columns=columns,
        function=call,
        inputs=tuple(name for name in inputs if name != "periods"),
        history=history,
        stable=stable,
        lookback=lookback,
        source=("talib", fn, *(value for pair in used.items() for value in pair)),
        open=None if fn in _AGES or "periods" in inputs else partial(_open, fn, used),
        flat=Flat(_FLAT[fn][0], lookback + 1, _FLAT[fn][1]) if fn in _FLAT else None,
    )


def talib_by_column(column: str) -> Indicator | None:
    """The indicator that makes a column of this name, None if no TA-Lib function does.

    >>> talib_by_column("macd_12_26_9.hist").source[:2], talib_by_column("plus_di_14").lookback, talib_by_column("nothing_9")
    (('talib', 'MACD'), 14, None)
    """
    stem, _, output = column.rpartition(".")
    stem = stem if output.isalpha() and stem else column
    for fn in sorted(TALIB_FUNCTIONS, key=len, reverse=True):
        name, _, given = stem.partition(fn.lower())
        numbers = given.split("_")[1:]
        if name or (given and not given.startswith("_")) or not all(re.fullmatch(r"-?[\d.]+", n) for n in numbers):
            continue
        parameters = abstract.Function(fn).get_parameters()  # type: ignore[attr-defined]
        if len(numbers) <= len(parameters):
            with suppress(ValueError):
                made = talib_indicator(fn, **{name: float(number) for name, number in zip(parameters, numbers)})
                return made if column in made.columns else None
    return None


def _memory(fn: str, used: dict[str, float], lookback: int) -> tuple[int, int]:
    """(stable length, least history)."""
    smoothed = any("matype" in name and value not in _WINDOWED_AVERAGES for name, value in used.items())
    if fn not in RECURSIVE and not smoothed:
        return lookback + 1, 64
    periods = [int(value) for name, value in used.items() if "period" in name and value >= 2]
    recursion = "ema" if fn in EMA_FAMILY or smoothed else "wilder"
    stable = max(stable_length(recursion, max(periods, default=_NO_PERIOD)), lookback + 1)
    return stable, max(512, lookback + stable)


def _inputs(names: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for value in names.values():
        found += value if isinstance(value, list | tuple) else [value]
    assert set(found) <= {*BAR_INPUTS, "periods"}
    return found


def _outputs(fn: str, names: list[str]) -> tuple[str, ...]:
    """Short names of several outputs; none for one."""
    if len(names) == 1:
        return ()
    if fn.startswith("MACD"):
        return ("line", "signal", "hist")
    stem = fn.lower()
    short = {"slowk": "k", "slowd": "d", "fastk": "k", "fastd": "d", stem: "line"}
    return tuple(short.get(name, name.removeprefix(stem).removesuffix("band")) for name in names)


def _call(fn: str, parameters: dict[str, float], lookback: int, by_periods: bool, *inputs: Array) -> tuple[Array, ...]:
    """The function over a history; NaN before its first value, also where the library has integers."""
    if by_periods:  # a moving average of variable period gets the same one throughout
        inputs = (*inputs, np.full(len(inputs[0]), float(parameters["maxperiod"])))
    out = getattr(talib, fn)(*inputs, **parameters)
    columns = out if isinstance(out, tuple) else (out,)
    return tuple(column if column.dtype.kind == "f" else _real(fn, column, lookback) for column in columns)


def _real(fn: str, integers: Array, lookback: int) -> Array:
    column = integers.astype(np.float64)
    if fn in _AGES:
        column = np.arange(len(column)) - column
    column[:lookback] = np.nan
    return column


def _open(fn: str, parameters: dict[str, float], *inputs: Any) -> Any:
    try:
        return getattr(stream, fn)(*inputs, **parameters)
    except talib.InsufficientHistory as error:  # type: ignore[attr-defined]
        raise LookupError(str(error)) from error
