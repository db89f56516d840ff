"""`explain` on a run of real trades: everything it must name, sums that hold, and errors that help."""

from __future__ import annotations

import re

import numpy as np
import pytest
from commands import called

from events.errors import RunError
from events.records import Outcome, Signal, SignalUpdate
from events.times import iso
from flows.explain import _gates, explain, list_signals
from flows.report_runs import FinishedRun
from operators.confluence import GATES

KEY = "kraken:BTC/USDT"


@pytest.fixture(scope="module")
def run(market_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("explain") / "run"
    file = market_data / "kraken_freqtrade" / "BTC_USDT-trades.feather"
    done = called("backtest", file, "--out", out, "--instrument", KEY)
    assert done.returncode == 0, done.stderr
    return FinishedRun(out)


def test_signals_are_explained_and_their_contributions_sum_to_the_score(run):
    for signal in run.records(Signal, KEY)[::4]:
        text = explain(run.path, signal.signal_id)
        assert text.startswith(f"{signal.side} {KEY} at {iso(signal.ts)}")
        rows = [line.split() for line in text.splitlines() if line.endswith(" votes")]
        assert [row[0] for row in rows] == [name for name, _ in run.plan.dimensions if name in signal.components]
        assert sum(float(row[4]) for row in rows) == pytest.approx(signal.score - 50, abs=1e-3)
        for needed in (
            f"score {signal.score:.1f}", f"theta {signal.theta:g} (", "uncalibrated", "coverage", "gates passed",
            "flags:", "cold: ", "missing: ", "silent: ", f"stop {signal.stop:.8g} ({signal.stop_source}, ",
            f"regime {signal.regime or '-'}", "PENDING (new)", "paper",
        ):  # fmt: skip
            assert needed in text, needed
        assert "nan" not in re.split(r"\W+", text.lower())
        assert max(map(len, text.splitlines())) <= 132


def test_features_are_those_of_the_bar_the_score_saw(run):
    signal = run.records(Signal, KEY)[-1]
    text = explain(run.path, signal.signal_id)
    analysis, listed = run.plan.analysis, text.split("top features by points of the score\n")[1].splitlines()
    for name, share in signal.components.items():
        for feature, points in share.top.items():
            score, timeframe = feature.split("@")
            rows = run.rows(f"features.{timeframe}", KEY)
            row = rows[np.searchsorted(rows["ts_close"], signal.ts, side="right") - 1]
            u = row["values"][analysis.index[f"{name}.{score}"]]
            line = next(line for line in listed if line.split()[0] == feature)
            assert f"{points:+.4f}  u {u:+.3f}" in line
        ranked = sorted(map(abs, share.top.values()), reverse=True)
        because = " ".join(text.split("\nbecause ")[1].split("\n\n")[0].split())
        shown = re.search(rf"{name} \S+ \(([^)]*)\)", because)
        assert [abs(float(one.split()[1])) for one in shown[1].split(", ")] == [round(points, 1) for points in ranked]


def test_what_became_of_it_is_told_to_its_end(run):
    outcomes = {o.signal_id: o for o in run.records(Outcome, KEY)}
    updates = run.records(SignalUpdate, KEY)
    closed = next(iter(outcomes.values()))
    text = explain(run.path, closed.signal_id)
    assert f"outcome (paper): {closed.r_net:+.2f} R net" in text
    assert f"ended by {closed.exit_reason} after {closed.bars_held} base bars" in text
    for update in updates:
        if update.signal_id == closed.signal_id:
            assert f"{iso(update.ts)} {update.to} ({update.reason})" in text
    expired = next(u.signal_id for u in updates if u.to == "EXPIRED")
    assert "no outcome: it was never filled" in explain(run.path, expired)


def test_a_signal_that_waited_for_gates_says_for_which(run):
    """No run of the real trades at hand has one, so the rows before a signal are changed."""
    signal = run.records(Signal, KEY)[3]
    scores = run.rows("confluence", KEY).copy()
    at = int(np.searchsorted(scores["available_at"], signal.ts))
    assert _gates(run, signal, scores[at], scores) == [f"gates passed: {', '.join(GATES)}; failed: none"]
    scores["state_since"][at] = scores["available_at"][at - 2]
    scores["gates"][at - 2 : at] = 1
    scores["gates"][at - 2, 0] = scores["gates"][at - 2, 2] = scores["gates"][at - 1, 0] = 0
    said = _gates(run, signal, scores[at], scores)[1]
    turned = iso(int(scores["available_at"][at - 2]))
    assert said == f"the score turned at {turned}; 2 bars waited for gates: coverage on 2, gap on 1"


def test_without_an_id_the_signals_are_listed(run):
    signals = run.records(Signal, KEY)
    outcomes = {o.signal_id: o for o in run.records(Outcome, KEY)}
    lines = list_signals(run.path).splitlines()
    assert [line.split()[0] for line in lines] == [signal.signal_id for signal in signals]
    for signal, line in zip(signals, lines):
        outcome = outcomes.get(signal.signal_id)
        assert f"{iso(signal.ts)}  {signal.side}" in line
        assert line.endswith(f"{outcome.exit_reason:10} {outcome.r_net:+.2f} R" if outcome else ("expired", "active"))
    assert any(line.endswith("expired") for line in lines)
    assert called("explain", run.path).stdout.splitlines() == lines


def test_an_unknown_id_is_answered_with_those_near_it(run):
    known = run.records(Signal, KEY)[0].signal_id
    wrong = known[:-1] + ("0" if known[-1] != "0" else "1")
    with pytest.raises(RunError, match=f"no signal {wrong}: ids near it are {known}"):
        explain(run.path, wrong)
    n = len(run.records(Signal, KEY))
    with pytest.raises(RunError, match=f"the run has {n} signals"):
        explain(run.path, "no-such-id")
    with pytest.raises(RunError, match="is no run directory"):
        explain(run.path / "nowhere", known)
