"""What reports say of the whole market: the row that a signal saw, in words, and how often its regime kept longs out."""

from __future__ import annotations

import re

import numpy as np
import pytest

from config import Settings
from connectors.files import open_inputs
from connectors.simulator import Market, write_trades
from events.records import Signal
from events.schema import MARKET_REGIME_NAMES, NEVER
from events.times import MINUTE_NS
from flows.backtest import Backtest
from flows.explain import explain
from flows.report_market import market_before, shut_by_market
from flows.report_runs import FinishedRun
from flows.rundir import RunDirectory, read_run

pytestmark = pytest.mark.slow

START = 1_700_006_400_000_000_000
KEYS = [f"synthetic:{name}/USDT" for name in ("AAA", "BTC", "CCC", "DDD", "EEE", "FFF")]
SETTINGS = Settings.model_validate(
    {
        "bars": {"time": ["1m", "30m"]},
        "beta": {"reference": "synthetic:BTC/USDT"},
        "confluence": {"theta": 4.0, "blend": {"1m": 1.0}, "gates": {"coverage": 0.3, "market": ["MIXED", "BROAD_UP"]}},
        "signals": {"tf": "1m", "cooldown_bars": 1, "hold_bars": 5},
    }
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("market")
    markets = tuple(Market(key, 100.0, seed=k, trades_per_minute=2.0) for k, key in enumerate(KEYS))
    write_trades(folder / "trades.parquet", markets, START, 1.3)
    with RunDirectory(folder / "run") as directory:
        Backtest(SETTINGS, open_inputs([folder / "trades.parquet"]), directory).run()
    return FinishedRun(folder / "run")


def test_a_signal_bears_the_row_that_explain_shows(run):
    rows = run.rows("global.1m", "GLOBAL")
    assert (rows["market_regime"] != NEVER).sum() > 300
    said = set()
    for key in run.keys:
        for signal in run.records(Signal, key):
            (row,) = market_before(run.path, run.plan, np.array([signal.ts]))
            assert MARKET_REGIME_NAMES.get(int(row["market_regime"])) == signal.market_regime
            assert signal.market_regime is None or row["available_at"] == signal.ts - MINUTE_NS
            said.add(signal.market_regime)
            if len(said) > 1 and signal.market_regime is not None:
                text = explain(run.path, signal.signal_id)
                assert re.search(
                    rf"market at .*: {signal.market_regime}, of 6 instruments; \d+% up over 24 hours", text
                )
    assert None in said
    assert len(said) > 1


def test_the_gate_of_the_market_is_counted_and_keeps_longs_out(run):
    shut = 0
    for key in run.keys:
        counted = read_run(run.path)["entries"][key]["blocked"]["market"]
        assert counted == int(shut_by_market(run.path, run.plan, run.rows("confluence", key)).sum())
        shut += counted
        longs = [signal for signal in run.records(Signal, key) if signal.side == "LONG"]
        assert not {signal.market_regime for signal in longs} & {"MIXED", "BROAD_UP"}
    assert shut > 10


def test_of_few_instruments_nothing_is_compared(run):
    plan = run.plan
    assert plan.cross.compared
    assert set(run.keys) == set(KEYS)
    assert plan.electorate.why_not(KEYS[1], "bitcoin_beta") == "it is the reference"
    assert read_run(run.path)["rows"]["beta.1m"].keys() == set(KEYS)
    assert list(read_run(run.path)["rows"]["global.1m"]) == ["GLOBAL"]
