"""The laws over plugins as the graph runs them: any split and restart, prefixes and starts, through features and the score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lab import ALL, DELIVERIES, END_OF_TIME, START, deliver, digest, drive, trades

from config import load
from events.schema import COLD, SETTLED, SILENT
from events.times import MINUTE_NS, SECOND_NS
from flows.plan import Plan
from operators.bars import Bars
from operators.confluence import Confluence
from operators.history import Features

ROOT = Path(__file__).resolve().parents[2]
FINE = {
    "plugins": {
        "files": [str(ROOT / "tests" / "plugins" / "fine.py"), str(ROOT / "tests" / "plugins" / "too_far.py")],
        "parameters": {"smooth": {"percent": 20}},
    },
    "bars": {"time": ["1m", "5m"]},
    "confluence": {"blend": {"1m": 0.7, "5m": 0.3}, "theta": 10.0},
    "dimensions": {"weights": {"slow": 0.1}},
    "signals": {"tf": "1m", "rule": "careful"},
}
EXAMPLES = str(ROOT / "examples" / "settings.yaml")


@pytest.fixture(scope="module", params=["fine", "examples"])
def plan(request):
    return Plan(load(None, FINE) if request.param == "fine" else load(EXAMPLES))


@pytest.fixture(scope="module")
def streams(plan):
    """Bars and feature rows of the lab's market."""
    ticks = {"trades": trades(5_000, 21, 8 * SECOND_NS)}
    bars = drive(lambda: Bars(plan.timeframes, 60), ticks, deliver(ticks, ALL))
    found = {"bars.1m": bars["bars.1m"], "bars.5m": bars["bars.5m"]}
    for name, length in plan.timeframes:
        source = {f"bars.{name}": bars[f"bars.{name}"]}
        out = drive(lambda n=name, t=length: Features(n, t, plan.analysis), source, deliver(source, ALL))
        found |= {f"features.{name}": out["features.1m" if name == "1m" else "features.5m"]}
        found |= {f"dead.{name}": out.get("dead_letters", ())}
    return found


def features(plan, bars, delivery, restart=0.0, end=END_OF_TIME):
    source = {"bars.1m": bars}
    return drive(lambda: Features("1m", MINUTE_NS, plan.analysis), source, deliver(source, *delivery, end=end), restart)


def joined(streams):
    return {name: streams[name] for name in ("bars.1m", "features.1m", "features.5m")}


def scored(plan, rows, delivery, restart=0.0, end=END_OF_TIME):
    core = lambda: Confluence(plan.confluence, plan.analysis, plan.rule)  # noqa: E731
    return drive(core, rows, deliver(rows, *delivery, end=end), restart)


@pytest.mark.parametrize("delivery", DELIVERIES[::3], ids=str)
@pytest.mark.parametrize("restart", [0.0, 0.05])
def test_chunk_and_restart_law(plan, streams, delivery, restart):
    got = features(plan, streams["bars.1m"], delivery, restart)
    assert got["features.1m"].tobytes() == streams["features.1m"].tobytes()
    assert got.get("dead_letters", ()) == streams["dead.1m"]
    whole = scored(plan, joined(streams), (ALL, 0, False, False))
    assert digest(scored(plan, joined(streams), delivery, restart)) == digest(whole)
    states = set(np.unique(whole["confluence"]["state"]).tolist())
    assert states == {-1, 0, 1}, "all three directions came out, or nothing would be shown"


@pytest.mark.parametrize("minutes", [61, 200, 413])
def test_prefix_law(plan, streams, minutes):
    cut = START // MINUTE_NS * MINUTE_NS + minutes * MINUTE_NS
    bars = streams["bars.1m"]
    got = features(plan, bars[bars["available_at"] < cut], (50, 0, False, False), end=cut)["features.1m"]
    assert len(got) >= minutes - 3
    assert got.tobytes() == streams["features.1m"][: len(got)].tobytes()
    part = {name: rows[rows["available_at"] < cut] for name, rows in joined(streams).items()}
    whole = scored(plan, joined(streams), (ALL, 0, False, False))["confluence"]
    state = scored(plan, part, (50, 0, False, False), end=cut)["confluence"]
    assert len(state) >= minutes - 3
    assert state.tobytes() == whole[: len(state)].tobytes()


def test_two_starts_agree_where_both_are_settled(plan, streams):
    late = features(plan, streams["bars.1m"][130:], (7, 0, False, False))["features.1m"]
    early = streams["features.1m"][-len(late) :]
    assert (late["g"] == early["g"]).all()
    both = (late["status"] == SETTLED) & (early["status"] == SETTLED)
    mine = [column for indicator in plan.plugins.indicators for column in indicator.columns if column != "change"]
    for column in mine:
        assert both[:, plan.analysis.index[column]].sum() > 100, column
    assert (late["values"] == early["values"])[both].all()


def test_an_indicator_of_one_timeframe_is_silent_elsewhere_and_so_is_its_score(streams, plan):
    if "change" not in plan.analysis.index:
        everywhere = [plan.analysis.index[c] for i in plan.plugins.indicators for c in i.columns]
        assert not (streams["features.1m"]["status"][:, everywhere] == SILENT).any()
        return
    for name, expected in (("1m", True), ("5m", False)):
        rows = streams[f"features.{name}"]
        for column in ("change", "slow.change_score"):
            status = rows["status"][:, plan.analysis.index[column]]
            assert (status == SILENT).all() == expected
            assert (status < COLD).any() != expected


def test_failing_scores_have_letters_whatever_the_split(plan, streams):
    failed = {letter.source.rpartition("/")[2] for letter in streams["dead.1m"]}
    plugged = plan.settings.signals.rule == "careful"
    assert failed == ({"technical.leaves_the_range", "technical.raises_when_low"} if plugged else set())
