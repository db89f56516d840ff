"""Indicators: causal, length-preserving functions of closed bars, with what the runtime must know of them."""

from operators.indicators.base import BAR_INPUTS, Indicator
from operators.indicators.builtin import BUILTIN, builtin_indicator, indicator_of
from operators.indicators.talib_functions import TALIB_FUNCTIONS, talib_indicator

__all__ = [
    "BAR_INPUTS",
    "BUILTIN",
    "TALIB_FUNCTIONS",
    "Indicator",
    "builtin_indicator",
    "indicator_of",
    "talib_indicator",
]
