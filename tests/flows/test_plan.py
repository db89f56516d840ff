"""What settings come to: which scores vote with which weight, where indicators are computed, what a step of quantity is."""

from __future__ import annotations

import numpy as np
import pytest
from lab import ALL, KEY, deliver, drive
from test_signals import SIGNALS, stream

from config import load
from events.errors import SettingsError
from flows.plan import Plan
from operators.risk import RiskSettings
from operators.signals import Signals


def plan(**sections):
    return Plan(load(None, sections))


def test_what_scores_need_is_there_without_being_asked_for():
    columns = plan().analysis.columns
    assert {"rsi_14", "vwap_band", "rvol", "swing.low", "regime", "technical.cci"} <= set(columns)
    assert "sma_20" not in columns
    assert "technical.willr" not in columns, "it has no weight by default"


def test_weights_of_scores_are_settings():
    chosen = plan(dimensions={"features": {"technical.willr": 0.5, "technical.rsi": 0.0, "volume.cmf": 0.4}})
    weights = {score.column: score.weight for score in chosen.scores}
    assert (weights["technical.willr"], weights["volume.cmf"]) == (0.5, 0.4)
    assert "technical.rsi" not in weights
    assert "willr_14" in chosen.analysis.columns
    assert chosen.analysis_hash != plan().analysis_hash


def test_a_dimension_of_which_no_score_is_left_does_not_vote():
    none = dict.fromkeys(("volume.cmf", "volume.obv", "volume.adl", "volume.vwap", "volume.rvol"), 0.0)
    assert [name for name, _ in plan(dimensions={"features": none}).dimensions] == ["structure", "technical"]


def test_a_score_that_is_none_is_named():
    with pytest.raises(SettingsError, match=r"dimensions\.features\..*no score 'technical\.rsj'.*technical\.rsi"):
        _ = plan(dimensions={"features": {"technical.rsj": 0.1}}).analysis


def test_an_indicator_may_be_for_some_timeframes():
    (call,) = [{"fn": "SMA", "timeperiod": 20, "timeframes": ["30m", "4h"]}]
    made = next(i for i in plan(indicators={"talib": [call]}).analysis.indicators if i.columns == ("sma_20",))
    assert made.timeframes == ("30m", "4h")
    for wrong in ("7x", "2h"):
        with pytest.raises(SettingsError, match=wrong):
            plan(indicators={"talib": [call | {"timeframes": [wrong]}]})


@pytest.mark.parametrize(("lots", "qty"), [({}, 8.33333333), ({KEY: 0.5}, 8.0), ({"other:A/B": 0.5}, 8.33333333)])
def test_sizes_are_in_steps_of_the_instrument(lots, qty):
    settings = SIGNALS._replace(risk=RiskSettings(equity=10_000.0, structural=False), lots=lots)
    streams = stream([0, 1, 1])
    streams["votes"]["close"], streams["votes"]["atr"] = 120.0, 6.0
    out = drive(lambda: Signals(settings), streams, deliver(streams, ALL, end=10**19 // 2))
    assert out["signals"][0].size.qty == pytest.approx(qty, abs=1e-12)
    assert np.isclose(out["signals"][0].size.risk, qty * 12.0)


def test_lots_come_from_the_settings_of_instruments():
    assert plan(instruments={"x:A/B": {"lot": 0.25}}).signals.lots == {"x:A/B": 0.25}
