"""Sweeps: runs that take bars and features of earlier ones are those that computed everything, and go on where they stopped."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import polars as pl
import pytest
from commands import command, killed
from rich.console import Console

import connectors.segments.stored as stored_source
import flows.reuse
from config import grid
from connectors.files import open_inputs
from connectors.segments.stored import StoredPartition
from connectors.simulator import Market, write_trades
from events.errors import RunError
from flows.__main__ import main
from flows.backtest import Backtest
from flows.explain import explain
from flows.outcomes import report
from flows.rundir import RunDirectory, read_run
from flows.sweep import Sweep
from flows.verify import verify

pytestmark = pytest.mark.slow

START = 1_700_006_400_000_000_000
SETTINGS = {
    "bars": {"time": ["1m", "5m"]},
    "beta": {"reference": "synthetic:ETH/USDT"},
    "dimensions": {"weights": {"bitcoin_beta": 0.1}},
    "confluence": {"theta": 4.0, "blend": {"1m": 0.7, "5m": 0.3}, "gates": {"coverage": 0.3}},
    "signals": {"tf": "1m", "cooldown_bars": 1, "hold_bars": 5},
    "run": {"epoch_s": 0.0},
}
SETS = ["bars.max_fill=60,2", "dimensions.disabled=[],[volume]", "signals.stop_atr=1,2"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Trades of two instruments with a pause, a row that cannot be, one that comes twice; one of them ends early."""
    path = tmp_path_factory.mktemp("market") / "trades.parquet"
    write_trades(path, (Market(), Market("synthetic:ETH/USDT", 3_000.0, seed=2)), START + 7_000_000_000, 0.12)
    minute = (pl.col("ts_event") - START) // 60_000_000_000
    rows = pl.read_parquet(path).filter(~minute.is_between(70, 83))
    rows = rows.filter((minute < 140) | (pl.col("instrument") == "synthetic:BTC/USDT"))
    rows = rows.with_columns(price=pl.when(pl.int_range(pl.len()).is_in([300, 900])).then(-1.0).otherwise("price"))
    pl.concat([rows[:1000], rows[999:]]).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def inputs(file):
    return open_inputs([file], bad_rows="dead-letter")


def quiet():
    return Console(quiet=True)


def plain(settings, inputs, path):
    with RunDirectory(path) as directory:
        Backtest(settings, inputs, directory).run()
    return path


def told(run):
    """All that a run says of itself, but for where its streams came from."""
    return {name: value for name, value in read_run(run).items() if name != "reused"}


def agree(a, b):
    """Hold everything that two runs left behind against each other."""
    verdict = verify(a, b)
    assert not verdict.differences
    assert verdict.digests > 0
    assert told(a) == told(b)
    names = {file.name for file in a.iterdir()}
    assert names == {file.name for file in b.iterdir()}
    for name in names - {"tidewax.sqlite", "run.json"}:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    with (
        closing(sqlite3.connect(a / "tidewax.sqlite")) as ours,
        closing(sqlite3.connect(b / "tidewax.sqlite")) as theirs,
    ):
        for table in (name.replace(".", "_") for name in read_run(a)["streams"]):
            count = f'select count(*) from "{table}"'
            assert ours.execute(count).fetchone() == theirs.execute(count).fetchone(), table


@pytest.fixture(scope="module")
def swept(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    sweep = Sweep(grid(None, SETS, SETTINGS, {}), inputs, folder / "sweep", quiet())
    return folder, sweep, sweep.run()


def test_every_run_of_a_sweep_is_the_plain_run_of_its_settings(inputs, swept):
    folder, sweep, runs = swept
    taken = []
    for name, point in zip(sweep.names, sweep.points):
        agree(sweep.path / name, plain(point.settings, inputs, folder / name))
        taken.append((read_run(sweep.path / name)["reused"] or {"streams": None})["streams"])
    assert taken == [None, "features", "bars", "features"] * 2
    first = read_run(sweep.path / sweep.names[0])
    assert sum(first["dead_letters"].values()) == 2
    assert first["reasons"]["DUPLICATE"] == 1
    assert first["signals"] > 0
    gaps = [sum(read_run(sweep.path / name)["rows"]["gaps"].values()) for name in sweep.names]
    assert gaps[0] == 0
    assert gaps[4] > 0, "the pause is stated where fewer bars fill it"
    assert [run["signals"] for run in runs] == [read_run(sweep.path / name)["signals"] for name in sweep.names]
    assert len({json.dumps(run["outcomes"]) for run in runs}) > 2, "the settings matter"


def test_explain_and_outcomes_read_runs_that_took_bars(swept):
    _, sweep, _ = swept
    path = sweep.path / sweep.names[1]
    signal = pl.read_parquet(path / "signals.parquet")["id"][0]
    assert "top features" in explain(path, signal)
    assert report([path])["n"] == sum(read_run(path)["rows"]["outcomes"].values()) > 0


def test_small_parts_change_nothing(inputs, swept, tmp_path, monkeypatch):
    _, former, _ = swept
    monkeypatch.setattr(stored_source, "SPAN_NS", 7 * 60_000_000_000)
    sweep = Sweep(former.points[:4], inputs, tmp_path / "sweep", quiet())
    sweep.run()
    for name in sweep.names:
        agree(sweep.path / name, former.path / name)


@pytest.mark.parametrize("at", [1, 9, 41])
def test_a_sweep_goes_on_where_it_was_stopped(inputs, swept, tmp_path, monkeypatch, at):
    _, former, _ = swept
    monkeypatch.setattr(stored_source, "SPAN_NS", 7 * 60_000_000_000)
    left, whole, resumed = [at], StoredPartition.next_batch, []

    def failing(self):
        left[0] -= 1
        if not left[0]:
            raise RunError("stopped by the test")
        return whole(self)

    def counting(self):
        if not resumed:
            resumed.append(self.snapshot()[1])
        return whole(self)

    monkeypatch.setattr(StoredPartition, "next_batch", failing)
    with pytest.raises(RunError, match="stopped by the test"):
        Sweep(former.points[:3], inputs, tmp_path / "sweep", quiet()).run()
    stored = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [run["state"] for run in stored["runs"]] == ["finished", "unfinished", "unfinished"]
    monkeypatch.setattr(StoredPartition, "next_batch", counting)
    sweep = Sweep(former.points[:3], inputs, tmp_path / "sweep", quiet())
    assert sweep._run(sweep.names[0], sweep.points[0]) == "finished before"
    sweep.run()
    assert resumed == [at - 1], "it goes on with the next part"
    for name in sweep.names:
        agree(sweep.path / name, former.path / name)


def test_the_plain_command_does_not_go_on_with_a_run_that_takes_bars(inputs, swept, tmp_path, monkeypatch):
    _, former, _ = swept

    def failing(self):
        raise RunError("stopped by the test")

    with monkeypatch.context() as patched:
        patched.setattr(StoredPartition, "next_batch", failing)
        with pytest.raises(RunError, match="stopped by the test"):
            Sweep(former.points[:2], inputs, tmp_path / "sweep", quiet()).run()
    unfinished = tmp_path / "sweep" / former.names[1]
    with pytest.raises(RunError, match="takes features from another one"):
        plain(former.points[1].settings, inputs, unfinished)
    monkeypatch.setattr(flows.reuse, "_BARS_ALONE", ("klines",))  # as if more than bars were made of the input
    Sweep(former.points[:2], inputs, tmp_path / "sweep", quiet()).run()
    assert read_run(unfinished)["reused"] is None, "where bars do not suffice all is computed, from the beginning"
    agree(unfinished, former.path / former.names[1])


def test_a_larger_grid_keeps_what_is_there(inputs, tmp_path):
    small = grid(None, ["signals.stop_atr=1,2"], SETTINGS, {})
    large = grid(None, ["signals.stop_atr=2,3"], SETTINGS, {})
    Sweep(small, inputs, tmp_path / "sweep", quiet()).run()
    written = (tmp_path / "sweep" / "stop_atr=2" / "run.json").stat().st_mtime_ns
    runs = Sweep(large, inputs, tmp_path / "sweep", quiet()).run()
    assert [run["directory"] for run in runs] == ["stop_atr=2", "stop_atr=3", "stop_atr=1"]
    assert (tmp_path / "sweep" / "stop_atr=2" / "run.json").stat().st_mtime_ns == written
    assert read_run(tmp_path / "sweep" / "stop_atr=3")["reused"] == {"run": "stop_atr=2", "streams": "features"}
    other = grid(None, ["signals.stop_atr=1,2"], SETTINGS | {"outcomes": {"fee_bps": 0.0}}, {})
    with pytest.raises(RunError, match="of other settings or files"):
        Sweep(other, inputs, tmp_path / "sweep", quiet()).run()
    with pytest.raises(RunError, match="over other files"):
        Sweep(small, replace(inputs, bad_rows="refuse"), tmp_path / "sweep", quiet())
    again = Sweep(other, inputs, tmp_path / "sweep", quiet(), again=True).run()
    assert len(again) == 3
    assert read_run(tmp_path / "sweep" / "stop_atr=1")["settings"]["outcomes"]["fee_bps"] == 0.0


def run_main(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0


def test_the_command_prints_a_row_a_run_and_what_it_is_worth(file, tmp_path, capsys):
    settings = tmp_path / "settings.yaml"
    settings.write_text(json.dumps(SETTINGS))
    given = (file, "--config", settings, "--bad-rows", "dead-letter")
    assert run_main("backtest", *given, "--out", tmp_path / "sweep", "--set", "signals.stop_atr=1,2,3") == 0
    out = capsys.readouterr().out
    assert "run 1 of 3, stop_atr=1: " in out
    assert "run 3 of 3, stop_atr=3: " in out
    assert "(bars and features reused)" in out
    assert "signals.stop_atr=2" in out
    assert "3 runs over the same data, all in sample: the best of them is no evidence" in out
    assert "7.3 % of sweeps" in out
    assert "synthetic instruments" in out
    assert run_main("backtest", *given, "--out", tmp_path / "one", "--set", "signals.stop_atr=2") == 0
    assert "what was seen" in capsys.readouterr().out
    agree(tmp_path / "one", tmp_path / "sweep" / "stop_atr=2")
    assert run_main("backtest", *given, "--out", tmp_path / "one", "--set", "signals.stop_atr=2,3") == 1
    assert "holds a single run" in capsys.readouterr().err


def test_mistakes_are_told_before_anything_runs(file, tmp_path, capsys):
    settings = tmp_path / "settings.yaml"
    settings.write_text(json.dumps(SETTINGS))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "bad.csv").write_text(
        "id,timestamp,price,qty,side\n" + "1,1700000000000,1,1,buy\n" * 20_000 + "2,1,1,1,buy\n"
    )
    many = ("--set", "signals.stop_atr=1,2")
    bad = (tmp_path / "bad.csv", "--instrument", "x:A/B")
    for arguments, said in [
        (
            (file, "--set", "signals.stop_art=1,2", "--set", "bars.max_fill=-1,2"),
            ["did you mean stop_atr?", "at least 1, not -1"],
        ),
        (
            (file, "--set", "indicators.builtin=[cmf_20],[nonsense]"),
            ["--set indicators.builtin=[nonsense]", "nonsense"],
        ),
        ((file, *many, "--out", tmp_path / "other"), ["notes.txt", "sweep.json"]),
        ((file, *many, "--out", tmp_path / "file"), ["file"]),
        ((tmp_path / "none.csv", *many), ["none.csv"]),
        ((*bad, *many), ["bad.csv", "20002"]),
    ]:
        bad_rows = "refuse" if arguments[0] == bad[0] else "dead-letter"
        given = "--out", tmp_path / "sweep", "--config", settings, "--bad-rows", bad_rows
        assert run_main("backtest", *given, *arguments) == 1
        told = capsys.readouterr().err
        assert told.startswith("tidewax: ")
        assert "Traceback" not in told
        for part in said:
            assert part in told, told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.csv", "file", "other", "settings.yaml"]


def test_a_killed_sweep_goes_on_with_the_same_command(file, inputs, swept, tmp_path):
    _, former, _ = swept
    settings = tmp_path / "settings.yaml"
    settings.write_text(json.dumps(SETTINGS))
    given = "backtest", file, "--config", settings, "--bad-rows", "dead-letter", "--out", tmp_path / "sweep"
    sets = [part for text in SETS[1:] for part in ("--set", text)]
    for name in ("disabled=-", "disabled=-volume-"):
        killed(10, *given, *sets, within=f"{name}_stop_atr=2_")  # the second run, then the fourth
        assert any((tmp_path / "sweep").glob(f"{name}_stop_atr=2_*/recovery"))
    done = command(*given, *sets)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished before") >= 1
    sweep = Sweep(grid(str(settings), SETS[1:], None, {}), inputs, tmp_path / "sweep", quiet())
    for name, other in zip(sweep.names, former.names):
        agree(sweep.path / name, former.path / other)


@pytest.mark.data
def test_a_sweep_over_real_trades_equals_plain_runs(market_data, tmp_path):
    file = market_data / "aster_2025-09-24" / "trades_BTCUSDT.csv"
    real = open_inputs([file], instrument="aster:BTC/USDT:USDT")
    points = grid("short", ["signals.stop_atr=1.5,2", "confluence.theta=6,10"], None, {})
    sweep = Sweep(points, real, tmp_path / "sweep", quiet())
    assert sum(run["signals"] for run in sweep.run()) > 0
    for name, point in zip(sweep.names, points):
        agree(sweep.path / name, plain(point.settings, real, tmp_path / name))
