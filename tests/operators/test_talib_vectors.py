"""The vectors of file 03 section 1: values on the series S1 at t = 119, first indices and histories, by the columns' names."""

from __future__ import annotations

import numpy as np
import pytest
from test_indicator_reference import near, series1

from operators.indicators import indicator_of, talib_indicator

S1 = series1()
VECTORS = [
    ("rsi_14", 69.52086770008617, 14, 512),
    ("atr_14", 2.2256754568523833, 14, 512),
    ("natr_14", 1.9102609564618642, 14, 512),
    ("adx_14", 25.900417795427618, 27, 512),
    ("plus_di_14", 31.821064292315675, 14, 512),
    ("minus_di_14", 13.465359833456608, 14, 512),
    ("macd_12_26_9.line", 1.8203744524379175, 33, 512),
    ("macd_12_26_9.signal", 0.9737921561634748, 33, 512),
    ("macd_12_26_9.hist", 0.8465822962744427, 33, 512),
    ("ema_20", 112.03750790637633, 19, 512),
    ("ema_50", 109.83580925621912, 49, 512),
    ("ema_200", None, 199, 2048),
    ("sma_20", 111.21757011512632, 19, 64),
    ("bbands_20_2_2_0.upper", 118.78053712270298, 19, 64),
    ("bbands_20_2_2_0.lower", 103.65460310754966, 19, 64),
    ("cci_20", 107.76047708397554, 19, 64),
    ("willr_14", -10.265971142205128, 13, 64),
    ("stoch_14_3_0_3_0.k", 91.57475235322367, 17, 64),
    ("stoch_14_3_0_3_0.d", 92.20116803563157, 17, 64),
    ("mfi_14", 70.44430023820523, 14, 64),
    ("ultosc_7_14_28", 54.23009469429255, 28, 64),
    ("kama_10", 115.43958001170814, 10, 512),
    ("trix_15", 0.114054158167054, 43, 512),
    ("cmo_14", 39.04173540017234, 14, 512),
    ("sar_0.02_0.2", 109.160635998859, 1, 512),
    ("ao_5_34", 5.958802468126422, 33, 64),
    ("obv", 7024.742542879622, 0, 512),
    ("ad", -2.667674430101158, 0, 512),
]


@pytest.mark.parametrize(("column", "value", "first", "history"), VECTORS, ids=[vector[0] for vector in VECTORS])
def test_a_column_on_s1(column, value, first, history):
    indicator = indicator_of(column)
    assert (indicator.lookback, indicator.history) == (first, history)
    if value is not None:
        found = indicator.batch(*[getattr(S1, name) for name in indicator.inputs])[indicator.columns.index(column)]
        assert found[119] == near(value)
        assert np.isnan(found[:first]).all()
        assert not np.isnan(found[first:]).any()


def test_rsi_of_five():
    closes = np.array([44, 44.5, 44.25, 43.75, 44.5, 45, 44.75])
    assert talib_indicator("RSI", timeperiod=5).batch(closes)[0][5:].tolist() == [70.0, near(62.22222222222222)]
