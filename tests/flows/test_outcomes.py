"""The calibration report and the reliability table, by the vectors of the specification and on runs of real trades."""

from __future__ import annotations

import hashlib
import json
import shutil
from io import StringIO

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from commands import called
from rich.console import Console

from events.errors import RunError
from events.identity import canonical_json
from events.records import Outcome
from flows.outcomes import calibrate, print_outcomes, report
from flows.report_calibration import brier, diagram, out_of_sample, tabulate
from flows.report_runs import FinishedRun
from operators.indicators.regime import REGIMES
from operators.reliability import bucket_of, reliability

KEY = "kraken:BTC/USDT"
MANY = (
    "bars: {time: [1m, 5m]}\nconfluence: {theta: 5.0, release: 2.0, blend: {1m: 0.7, 5m: 0.3}}\n"
    "signals: {tf: 1m, cooldown_bars: 0, hold_bars: 5, stop_atr: 1.0}\n"
)
FEW = "signals: {cooldown_bars: 24}\n"


@pytest.fixture(scope="module")
def runs(market_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outcomes")
    file = market_data / "kraken_freqtrade" / "BTC_USDT-trades.feather"
    for name, settings in (("many", MANY), ("few", FEW)):
        (folder / f"{name}.yaml").write_text(settings)
        options = ("--instrument", KEY, "--config", folder / f"{name}.yaml")
        done = called("backtest", file, "--out", folder / name, *options)
        assert done.returncode == 0, done.stderr
    return folder / "many", folder / "few"


def printed(data: dict) -> str:
    console = Console(width=80, file=StringIO(), highlight=False)
    print_outcomes(data, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_vectors_of_the_specification():
    row = {"strength": 3, "tercile": 2, "regime": "TREND", "n_b": 120, "wins_b": 70}
    table = {"n": 400, "wins": 200, "buckets": [row]}
    assert reliability(table, 67.0, 0.85, "TREND") == 0.5714285714285714
    assert reliability(table, 33.0, None, "TREND") == 0.5714285714285714
    assert reliability(table, 67.0, 0.85, None) == 0.5
    assert reliability(table, 90.0, 0.85, "TREND") == 0.5
    assert brier([0.7, 0.6, 0.55, 0.4], [True, False, True, False]) == pytest.approx(0.203125, abs=1e-15)


@pytest.mark.parametrize(
    ("score", "agreement", "bucket"),
    [
        (50.0, 0.0, (0, 0, None)),
        (54.99, 0.4999, (0, 0, None)),
        (55.0, 0.5, (1, 1, None)),
        (30.0, 0.7999, (4, 1, None)),
        (70.0, 0.8, (4, 2, None)),
        (100.0, None, (10, 2, None)),
    ],
)
def test_buckets(score, agreement, bucket):
    assert bucket_of(score, agreement, None) == bucket


def test_the_diagram_has_ten_bins_of_equal_count():
    predicted = [k / 100 for k in range(100)]
    bins = diagram(predicted, [p >= 0.5 for p in predicted])
    assert [b["n"] for b in bins] == [10] * 10
    assert [b["observed"] for b in bins] == [0.0] * 5 + [1.0] * 5
    assert bins[0]["predicted"] == pytest.approx(0.045)
    assert [b["n"] for b in diagram([0.1, 0.2, 0.3], [True, True, False])] == [1, 1, 1]
    assert sum(b["n"] for b in diagram([0.5] * 37, [True] * 37)) == 37


def test_few_outcomes_are_too_few_to_say_anything(runs):
    data = report([runs[1]])
    assert data["label"] == "paper"
    assert data["all"]["note"] == "n too small"
    assert data["all"].keys() == {"n", "note", "bars"}
    entries = json.loads((runs[1] / "run.json").read_text())["entries"][KEY]
    bars = data["all"]["bars"]
    assert bars["beyond_theta"] == entries["beyond_theta"]
    assert bars["blocked"]["ready"] == entries["blocked"]["ready"] / entries["beyond_theta"]
    assert sum(bars["coverage"]) == entries["base_bars"]
    text = printed(data)
    assert "n too small" in text
    assert "paper" in text
    assert "uncalibrated" in text
    assert "…" not in text


def test_cells_add_up_and_groups_cut_the_same_outcomes(runs):
    data = report([runs[0]])
    json.dumps(data, allow_nan=False)
    n = data["n"]
    assert n >= 200
    for group in ("preset", "side", "regime", "month"):
        assert sum(cell["n"] for cell in data["groups"][group]) == n
    assert sum(cell["n"] for cell in data["cells"]) == n
    assert [cell["value"] for cell in data["groups"]["side"]] == ["LONG", "SHORT"]
    assert [cell["value"] for cell in data["groups"]["month"]] == ["2023-11"]
    regimes = data["groups"]["regime"]
    assert {None, "RANGING", "HIGH_VOL"} < {cell["value"] for cell in regimes} <= {None, *REGIMES.values()}
    assert sum(cell["bars"]["beyond_theta"] for cell in regimes) <= data["all"]["bars"]["beyond_theta"]
    sides = [cell["bars"]["beyond_theta"] for cell in data["groups"]["side"]]
    assert sum(sides) == data["all"]["bars"]["beyond_theta"]
    every = data["all"]
    low, high = every["win_rate_interval"]
    assert low < every["win_rate"] < high
    run = FinishedRun(runs[0])
    outcomes = run.records(Outcome, KEY)
    assert every["wins"] == sum(o.r_net > 0 for o in outcomes)
    assert every["mean_r"] == pytest.approx(sum(o.r_net for o in outcomes) / n)
    text = printed(data)
    assert "…" not in text
    assert max(map(len, text.split("base bars beyond")[0].splitlines()[:-1])) <= 80
    for word in ("win rate", "expectancy R", "median", "factor", "max DD R", "hours", "MFE R", "MAE R", "Brier score"):
        assert word in text, word


def test_a_run_named_twice_counts_once(runs):
    once, twice = report([runs[0]]), report([runs[0], runs[0]])
    assert twice["all"] == once["all"]
    mixed = report([runs[0], runs[1]])
    assert mixed["n"] == once["n"] + report([runs[1]])["n"]
    assert "different analyses" in mixed["reliability"]["note"]


def test_the_table_is_canonical_and_names_what_it_was_made_of(runs, tmp_path):
    made = calibrate([runs[0]], tmp_path / "table.json")
    text = (tmp_path / "table.json").read_text()
    table = json.loads(text)
    assert text == canonical_json(table) + "\n"
    assert made["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    told = json.loads((runs[0] / "run.json").read_text())
    assert table["table_v"] == 1
    assert table["made_by"] == {"analysis_hash": told["analysis_hash"], "outcomes": [told["digests"]["outcomes"]]}
    outcomes = FinishedRun(runs[0]).records(Outcome, KEY)
    assert (table["n"], table["wins"]) == (len(outcomes), sum(o.r_net > 0 for o in outcomes))
    assert (table["ts_from"], table["ts_to"]) == (outcomes[0].ts_close, outcomes[-1].ts_close)
    assert sum(row["n_b"] for row in table["buckets"]) == table["n"]
    assert sum(row["wins_b"] for row in table["buckets"]) == table["wins"]
    row = max(table["buckets"], key=lambda r: r["n_b"])
    expected = (row["wins_b"] + 20 * table["wins"] / table["n"]) / (row["n_b"] + 20)
    assert reliability(table, 50 + 5 * row["strength"], (0.0, 0.5, 0.8)[row["tercile"]], row["regime"]) == expected
    again = calibrate([runs[0], runs[0]], tmp_path / "twice.json")
    assert again["table"]["n"] == table["n"]


def test_out_of_sample_is_the_last_quarter_of_the_time_and_learns_only_from_before(runs):
    outcomes = FinishedRun(runs[0]).records(Outcome, KEY)
    found = out_of_sample(outcomes)
    first, last = outcomes[0].ts_close, outcomes[-1].ts_close
    assert found["ts_cut"] == first + (last - first) * 3 // 4
    assert found["trained_on"] + found["n"] + found["left_out"] == len(outcomes)
    before = tabulate([o for o in outcomes if o.ts_close < found["ts_cut"]])
    after = [o for o in outcomes if o.ts_open >= found["ts_cut"]]
    predicted = [reliability(before, o.score, o.agreement, o.regime) for o in after]
    assert found["brier"] == pytest.approx(sum((p - (o.r_net > 0)) ** 2 for p, o in zip(predicted, after)) / len(after))
    assert len(found["diagram"]) == 10
    assert sum(part["n"] for part in found["diagram"]) == found["n"]
    flipped = [o if o.ts_close < found["ts_cut"] else o.model_copy(update={"r_net": -o.r_net}) for o in outcomes]
    assert [p["predicted"] for p in out_of_sample(flipped)["diagram"]] == [p["predicted"] for p in found["diagram"]]
    assert "n too small" in out_of_sample(outcomes[:40])["note"]


def test_calibrate_refuses_in_sentences(runs, tmp_path):
    file = tmp_path / "table.json"
    with pytest.raises(RunError, match="outcomes are too few to calibrate by: 200 are needed"):
        calibrate([runs[1]], file)
    with pytest.raises(RunError, match=r"one table is of one analysis.*bars\.time"):
        calibrate([runs[0], runs[1]], file)
    with pytest.raises(RunError, match="cannot be written"):
        calibrate([runs[0]], tmp_path / "nowhere" / "table.json")
    with pytest.raises(RunError, match="no run directory"):
        report([tmp_path])
    with pytest.raises(RunError, match="at least one"):
        report([])
    copy = tmp_path / "copy"
    shutil.copytree(runs[0], copy)
    table = pq.read_table(copy / "outcomes.parquet")
    changed = pc.replace_substring(table.column("json"), '"exit_reason":"sl"', '"exit_reason":"tp"')
    pq.write_table(table.set_column(table.schema.get_field_index("json"), "json", changed), copy / "outcomes.parquet")
    with pytest.raises(RunError, match="changed since"):
        calibrate([copy], file)
    told = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(told | {"state": "unfinished"}))
    with pytest.raises(RunError, match="unfinished run"):
        report([copy])
    assert not file.exists()
