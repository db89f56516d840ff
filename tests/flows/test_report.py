"""The end of a backtest: figures by literal numbers, yardsticks by the run itself, tables at 80 columns, progress."""

from __future__ import annotations

import json
import time
from io import StringIO

import numpy as np
import pytest
from commands import called
from rich.console import Console

from connectors.progress import Progress
from events.records import Outcome, Signal
from events.rows import BAR, confluence_row
from events.times import MINUTE_NS
from flows.progress import watching
from flows.report_figures import drawdown, figures, mean_interval, percent, profit_factor, wilson
from flows.report_runs import FinishedRun
from flows.report_yardsticks import buy_and_hold, coin_flip, relive
from operators.indicators.regime import LOW_LIQUIDITY
from operators.signals import SignalSettings

KRAKEN = "kraken_freqtrade/BTC_USDT-trades.feather"
LONG_NAME = "kraken:1000000BTC/USDT:USDT"
SETTINGS = SignalSettings(("30m", 30 * MINUTE_NS), MINUTE_NS, (), (), (), "0" * 16)


@pytest.fixture(scope="module")
def run(market_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "run"
    done = called("backtest", market_data / KRAKEN, "--out", out, "--instrument", LONG_NAME, COLUMNS="80")
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def outcome(r_net: float, minute: int = 0, **more: object) -> Outcome:
    given: dict = {
        "key": "x:A/B", "ts": minute * MINUTE_NS, "signal_id": f"s{minute}", "side": "LONG", "fees": 0.0, "slippage": 0.0,
        "ts_open": (minute - 2) * MINUTE_NS, "ts_close": minute * MINUTE_NS, "exit_reason": "sl", "r_gross": r_net,
        "r_net": r_net, "mfe": 1.0, "mae": 0.5, "bars_held": 2, "funding": 0.0, "score": 70.0, "agreement": 1.0,
        "coverage": 1.0, "theta": 16.0, "analysis_hash": "0" * 16,
    }  # fmt: skip
    return Outcome(**(given | more))


@pytest.mark.parametrize(
    ("wins", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_of_a_rate_is_that_of_newcombe_1998(wins, n, low, high):
    assert wilson(wins, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson(n - wins, n) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_figures_of_known_outcomes():
    net = [1.5, -1.0, 0.5, -0.25, 0.0]
    found = figures([outcome(r, minute) for minute, r in enumerate(net, 2)])
    assert (found["n"], found["wins"], found["win_rate"]) == (5, 2, 0.4)
    assert found["mean_r"] == found["expectancy_r"] == pytest.approx(0.15)
    assert found["mean_r_interval"] == pytest.approx((-0.6640491385659713, 0.9640491385659713))  # s squared = 3.45 / 4
    assert found["median_r"] == 0.0
    assert found["profit_factor"] == profit_factor(net) == 1.6
    assert found["drawdown_r"] == 1.0
    assert (found["best_r"], found["worst_r"], found["mfe_r"], found["mae_r"]) == (1.5, -1.0, 1.0, 0.5)
    assert found["time_s"] == 120.0
    assert figures([]) == {"n": 0}


def test_figures_without_a_loss_or_with_one_value_have_no_number_for_it():
    assert profit_factor([1.0, 0.0]) is None
    assert mean_interval([1.0]) is None
    assert drawdown([]) == 0.0
    assert drawdown([-1.0, -1.0, 3.0, -0.5]) == 2.0


def long_signal() -> Signal:
    return Signal(
        key="x:A/B", ts=0, signal_id="s4", tf="30m", side="LONG", score=70.0, strength=0.4, agreement=1.0, coverage=1.0,
        dispersion=0.0, theta=16.0, warming=False, price=100.0, atr=1.0, valid_bars=1, stop=98.0, targets=(102.0, 104.0, 106.0),
        target_sizes=(0.5, 0.3, 0.2), stop_source="atr", rr=1.7, risk_pct=0.02, size=None, components={}, analysis_hash="0" * 16,
    )  # fmt: skip


def market(states: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The LONG case of the specification (section 3 of outcomes), four base bars, and scores with these entry states."""
    prices = [(100, 101, 99, 100.5), (100.5, 102.5, 100.2, 102), (102, 104.2, 101.5, 103), (103, 103, 97.5, 98.5)]
    bars, scores = np.zeros(4, BAR), np.zeros(5, confluence_row(1, 4))
    bars["ts_open"], bars["ts_close"] = np.arange(4) * MINUTE_NS, np.arange(1, 5) * MINUTE_NS
    for k, name in enumerate(("open", "high", "low", "close")):
        bars[name] = [row[k] for row in prices]
    scores["available_at"], scores["state"] = np.arange(5) * MINUTE_NS, states
    return bars, scores


def test_both_sides_of_a_signal_live_on_the_same_bars():
    bars, scores = market([1] * 5)
    own, other = (relive(long_signal(), sign, bars, scores, SETTINGS) for sign in (1, -1))
    assert (own.state, own.r_net) == ("CLOSED", pytest.approx(0.83759))
    assert (other.state, other.direction, other.stop, other.targets) == ("CLOSED", -1, 102.0, (98.0, 96.0, 94.0))
    assert other.r_net == pytest.approx(-1.0707)  # stopped at 102: -1 - (100 + 102) * 7e-4 / 2
    ended = outcome(own.r_net, 4, ts_open=0)
    coin = coin_flip([long_signal()], [ended], bars, scores, SETTINGS)
    assert coin["coin_r"] == pytest.approx((0.83759 - 1.0707) / 2)
    assert coin["difference_r"] == pytest.approx((0.83759 + 1.0707) / 2)
    assert (coin["n"], coin["left_out"], coin["difference_interval"]) == (1, 0, None)
    assert buy_and_hold([long_signal()], [ended], bars) == {"n": 1, "mean_r": -0.75, "interval": None}


def test_both_sides_end_where_the_score_turns_and_unfinished_pairs_are_left_out():
    bars, scores = market([1, 0, -1, 0, 0])
    own, other = (relive(long_signal(), sign, bars, scores, SETTINGS) for sign in (1, -1))
    assert own.r_net == pytest.approx((0.5 * 2 + 0.5 * 2 - 0.07 - 0.5 * 102 * 5e-4 - 0.5 * 102 * 7e-4) / 2)
    assert other.r_net == pytest.approx(-1.0707)
    bars, scores = market([1] * 5)
    coin = coin_flip([long_signal()], [outcome(0.0, 1, signal_id="s4", ts_open=0)], bars[:1], scores[:2], SETTINGS)
    assert coin == {"n": 0, "left_out": 1}


def test_what_one_side_pays_in_funding_the_other_is_paid():
    bars, scores = market([1] * 5)
    rates = ((0, 9.0), (MINUTE_NS, 1e-3), (MINUTE_NS + 1, -4e-4), (3 * MINUTE_NS, 2e-4))
    free, own, other, other_free = (
        relive(long_signal(), sign, bars, scores, SETTINGS, paid)
        for sign, paid in ((1, ()), (1, rates), (-1, rates), (-1, ()))
    )
    assert own.settlements == rates[1:]  # that of the entry is not paid
    assert own.r_net == pytest.approx(free.r_net - 100 * 8e-4 / 2)
    assert other.settlements == rates[1:3]  # stopped in the third minute
    assert other.r_net == pytest.approx(other_free.r_net + 100 * 6e-4 / 2)
    ended = outcome(own.r_net, 4, ts_open=0, funding=own.funding, settlements=own.settlements)
    coin = coin_flip([long_signal()], [ended], bars, scores, SETTINGS)
    assert coin["coin_r"] == pytest.approx((own.r_net + other.r_net) / 2)


def test_both_sides_end_where_the_market_turns_illiquid_if_the_run_does_so():
    bars, scores = market([1] * 5)
    scores["regime"][2] = LOW_LIQUIDITY
    own = relive(long_signal(), 1, bars, scores, SETTINGS._replace(close_on_illiquid=True))
    turned, turned_scores = market([1, 0, -1, 0, 0])
    assert own.r_net == relive(long_signal(), 1, turned, turned_scores, SETTINGS).r_net
    assert relive(long_signal(), 1, bars, scores, SETTINGS).r_net == pytest.approx(0.83759)


def test_relived_on_their_own_side_the_signals_of_a_run_end_as_they_did(run):
    finished = FinishedRun(run[0])
    signals = {s.signal_id: s for s in finished.records(Signal, LONG_NAME)}
    bars, scores = finished.rows("bars.1m", LONG_NAME), finished.rows("confluence", LONG_NAME)
    outcomes = finished.records(Outcome, LONG_NAME)
    assert len(outcomes) >= 5
    for ended in outcomes:
        again = relive(signals[ended.signal_id], 1, bars, scores, finished.plan.signals)
        assert (again.r_net, again.r_gross, again.mfe, again.bars) == (
            ended.r_net, ended.r_gross, ended.mfe, ended.bars_held,
        )  # fmt: skip


def test_run_json_holds_what_the_tables_show(run):
    told = json.loads((run[0] / "run.json").read_text())
    results = told["results"][LONG_NAME]
    assert results["signals"] == told["signals"]
    assert results["base_bars"] == told["rows"]["bars.1m"][LONG_NAME]
    assert results["days"] == pytest.approx(results["base_bars"] / 1440)
    assert results["outcomes"]["n"] == told["rows"]["outcomes"][LONG_NAME]
    coin = results["coin_flip"]
    assert coin["n"] + coin["left_out"] == results["outcomes"]["n"]
    assert coin["signals_r"] - coin["coin_r"] == pytest.approx(coin["difference_r"])
    assert {"trades", "reordered", "reasons", "signals", "entries", "cold", "dead_letters"} <= told.keys()


def test_the_tables_are_whole_at_80_columns(run):
    text = run[1]
    assert "…" not in text
    tables = text.split("base bars were beyond theta")[0].splitlines()[:-1]
    assert max(map(len, tables)) <= 80
    for word in (
        "instrument", "trades", "1m bars", "days", "signals", "long", "a day", "coverage", "closed", "hit rate",
        "expectancy R", "profit", "factor", "best R", "worst R", "26,921", "they predict nothing",
    ):  # fmt: skip
        assert word in text, word
    folded = "".join(row.split()[0] for row in tables if row[1:2].strip())
    assert LONG_NAME in folded
    assert "against a coin flip" in text
    assert "against holding the instrument" in text
    entries = json.loads((run[0] / "run.json").read_text())["entries"][LONG_NAME]
    share = entries["blocked"]["coverage"] / entries["beyond_theta"]
    assert f"gates that blocked them: coverage {entries['blocked']['coverage']} ({percent(share)})" in text


def test_a_run_of_one_minute_has_dashes_no_figures_and_its_dead_letters(tmp_path):
    file = tmp_path / "trades.csv"
    rows = [f"{i},{1_700_000_000_000 + i},1.0,2.0,buy" for i in range(3)]
    file.write_text("\n".join(["id,timestamp,price,amount,side", *rows, "3,1700000000003,-1.0,2.0,buy"]) + "\n")
    options = ("--instrument", "x:A/B", "--bad-rows", "dead-letter")
    done = called("backtest", file, "--out", tmp_path / "run", *options, COLUMNS="80")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    results = told["results"]["x:A/B"]
    assert told["dead_letters"] == told["reasons"]
    assert sum(told["dead_letters"].values()) == 1
    assert "dead letters, with reason and row in dead_letters.jsonl: 1 " in done.stdout
    assert (results["outcomes"], results["coin_flip"]) == ({"n": 0}, {"n": 0, "left_out": 0})
    assert results["buy_and_hold"] == {"n": 0}
    assert " - " in done.stdout
    assert "against" not in done.stdout


def terminal() -> Console:
    return Console(force_terminal=True, file=StringIO(), width=80, _environ={"TERM": "xterm"})


def told_by(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_progress_shows_share_time_reached_elapsed_and_left():
    progress, console, now = Progress(1000), terminal(), [0.0]
    with watching(progress, console, lambda: now[0]):
        progress.bytes_read, progress.newest_ns, now[0] = 250, 1_700_001_000_500_000_000, 30.0
        ends = time.monotonic() + 120
        while "25%" not in told_by(console):
            assert time.monotonic() < ends
            time.sleep(0.02)
    said = told_by(console)
    assert " 25%" in said
    assert "2023-11-14T22:30:00Z" in said
    assert "0:00:30" in said
    assert "0:01:30 left" in said
    assert said.endswith("\x1b[2K")  # the line is gone


def test_progress_stops_on_errors_and_is_silent_without_a_terminal(capfd):
    console = terminal()
    with pytest.raises(ValueError, match="stop"), watching(Progress(0), console):
        raise ValueError("stop")
    assert "\x1b[?25h" in told_by(console)  # the cursor is back
    assert "no row yet" in told_by(console)
    plain = Console(file=StringIO(), force_terminal=False)
    with watching(Progress(10), plain):
        pass
    assert told_by(plain) == ""
    assert capfd.readouterr() == ("", "")
