"""`tidewax backtest` and `verify` as a user runs them: real trades, chunks, workers, kills, resumption."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import polars as pl
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from commands import ROOT, called, command, environment, kill_again_and_again, rows_written, start_killed

SOAK = bool(os.environ.get("TIDEWAX_SOAK"))
ASTER = "aster:BTC/USDT:USDT"
SHORT_EPOCHS = """
bars: {time: [1m, 5m]}
confluence: {theta: 10.0, blend: {1m: 0.7, 5m: 0.3}}
signals: {tf: 1m}
run: {epoch_s: 0}
"""


def backtest(file: Path, out: Path, *options: object, run: Callable = called) -> dict:
    done = run("backtest", file, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "run.json").read_text())


def rows_of(run: Path, table: str) -> int:
    with closing(sqlite3.connect(run / "tidewax.sqlite")) as db:
        return int(db.execute(f'select count(*) from "{table}"').fetchone()[0])


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("kraken_freqtrade/BTC_USDT-trades.feather", "kraken:BTC/USDT"),
        ("freqtrade_testdata/XRP_ETH-trades.feather", "binance:XRP/ETH"),
    ],
)
def test_days_of_trades_end_with_signals_under_the_defaults(market_data, tmp_path, file, key):
    run = backtest(market_data / file, tmp_path / "run", "--instrument", key)
    assert run["signals"] > 0
    assert rows_of(tmp_path / "run", "signals") == run["signals"]
    assert run["presets"] == {key: "price6"}
    assert run["state"] == "finished"
    assert set(run["digests"]["confluence"][key]) == set(run["digests"]["bars.1m"][key])
    files = {p.name for p in (tmp_path / "run").iterdir()}
    streams = set(run["streams"]) - {"dead_letters"}
    assert files == {f"{name}.parquet" for name in streams} | {"run.json", "tidewax.sqlite", "dead_letters.jsonl"}
    for name in streams:
        kept = pl.read_parquet(tmp_path / "run" / f"{name}.parquet")
        assert len(kept) == sum(run["rows"][name].values()) == rows_of(tmp_path / "run", name.replace(".", "_"))


def test_an_hour_of_trades_signals_under_the_short_profile_and_the_default_says_what_is_cold(market_data, tmp_path):
    file = market_data / "aster_2025-09-24" / "trades_BTCUSDT.csv"
    short = backtest(file, tmp_path / "short", "--instrument", ASTER, "--config", "short")
    assert short["signals"] > 0
    done = called("backtest", file, "--out", tmp_path / "default", "--instrument", ASTER)
    assert done.returncode == 0, done.stderr
    assert "no signal" in done.stdout
    assert "coverage" in done.stdout
    assert "4h: still cold" in done.stdout
    cold = json.loads((tmp_path / "default" / "run.json").read_text())["cold"][ASTER]
    assert cold["30m"]["rsi_14"] == "2025-09-24T19:00:00Z"
    assert set(cold["1m"]) == {"atr_pctl", "regime"}  # a percentile needs 142 bars
    different = called("verify", tmp_path / "short", tmp_path / "default")
    assert different.returncode == 1
    assert "bars.time" in different.stdout


@pytest.fixture(scope="module")
def reference(market_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    settings = folder / "settings.yaml"
    settings.write_text(SHORT_EPOCHS)
    file = market_data / "aster_2025-09-24" / "trades_BTCUSDT.csv"
    run = backtest(file, folder / "run", "--instrument", ASTER, "--config", settings, "--chunk", "5000", run=command)
    assert run["signals"] > 0
    return file, settings, folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [("--chunk", 1), ("--chunk", 7, "--workers", 2), ("--chunk", 100_000, "--workers", 2)], ids=str
)
def test_chunks_and_workers_change_nothing(reference, tmp_path, options):
    file, settings, run = reference
    backtest(file, tmp_path / "run", "--instrument", ASTER, "--config", settings, *options)
    done = called("verify", run, tmp_path / "run")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("equal: ")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3 if SOAK else 1))
def test_ten_kills_at_random_moments_lose_nothing_and_double_nothing(reference, tmp_path, seed):
    file, settings, run = reference
    out, given = tmp_path / "run", (file, "--instrument", ASTER, "--config", settings)
    kill_again_and_again(out, *given, kills=10, seed=seed, rows=rows_written(run))
    backtest(file, out, "--instrument", ASTER, "--config", settings, "--chunk", "5000")
    done = called("verify", run, out)
    assert done.returncode == 0, done.stdout
    ours, theirs = (json.loads((path / "run.json").read_text()) for path in (run, out))
    for key in ("rows", "digests", "reasons", "trades", "signals", "entries", "cold"):
        assert ours[key] == theirs[key], key
    for name in ours["streams"]:
        assert rows_of(run, name.replace(".", "_")) == rows_of(out, name.replace(".", "_")), name


@pytest.mark.slow
def test_a_finished_directory_says_so_and_again_starts_over(reference, tmp_path):
    file, settings, _ = reference
    arguments = ("backtest", file, "--out", tmp_path / "run", "--instrument", ASTER, "--config", settings)
    first = called(*arguments)
    assert "signals" in first.stdout
    before = (tmp_path / "run" / "run.json").stat().st_mtime_ns
    second = called(*arguments)
    assert second.returncode == 0
    assert "finished run" in second.stdout
    assert (tmp_path / "run" / "run.json").stat().st_mtime_ns == before
    other = called(*arguments, "--set", "signals.stop_atr=9")
    assert other.returncode == 1
    assert "holds a finished run of other settings or files" in other.stderr
    third = called(*arguments, "--again")
    assert third.returncode == 0, third.stderr
    assert (tmp_path / "run" / "run.json").stat().st_mtime_ns > before


@pytest.mark.slow
def test_an_unfinished_run_of_other_settings_or_files_is_refused_with_the_setting(reference, tmp_path):
    file, settings, _ = reference
    out = tmp_path / "run"
    out.mkdir()
    given = (file, "--out", out, "--instrument", ASTER, "--config", settings, "--chunk", 1)
    process = start_killed(signal.SIGSTOP, 10, "backtest", *given)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # it holds the directory from now on
    busy = called("backtest", file, "--out", out, "--instrument", ASTER, "--config", settings)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert "another process runs" in busy.stderr
    other = called("backtest", file, "--out", out, "--instrument", ASTER)
    assert other.returncode == 1
    assert "bars.time" in other.stderr
    elsewhere = called("backtest", file, "--out", out, "--instrument", "other:BTC/USDT", "--config", settings)
    assert "other files" in elsewhere.stderr
    unfinished = called("verify", out, out)
    assert "unfinished" in unfinished.stderr


@pytest.mark.slow
def test_verify_names_the_first_row_that_differs(reference, tmp_path):
    file, settings, run = reference
    lines = file.read_text().splitlines()
    middle = len(lines) // 2
    fields = lines[middle].split(",")
    fields[4] = "123.456"
    lines[middle] = ",".join(fields)
    changed = tmp_path / file.name
    changed.write_text("\n".join(lines) + "\n")
    backtest(changed, tmp_path / "run", "--instrument", ASTER, "--config", settings)
    done = called("verify", run, tmp_path / "run")
    assert done.returncode == 1
    assert "different: bars.1m of aster:BTC/USDT:USDT on 2025-09-24: row " in done.stdout
    assert "volume is" in done.stdout
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    table = pq.read_table(copy / "bars.1m.parquet")
    volume = pc.multiply(table.column("volume"), 1.0000001)
    pq.write_table(table.set_column(table.schema.get_field_index("volume"), "volume", volume), copy / "bars.1m.parquet")
    tampered = called("verify", run, copy)
    assert tampered.returncode == 1
    assert "changed since" in tampered.stdout


def test_the_engines_own_runner_gives_the_same_run(reference, tmp_path):
    file, settings, run = reference
    config = tmp_path / "run.yaml"
    inputs = f"input:\n  files: [{file}]\n  instrument: {ASTER}\noutput:\n  directory: {tmp_path / 'run'}\n"
    config.write_text(settings.read_text() + inputs)
    line = [sys.executable, "-m", "bytewax.run", "flows.backtest"]
    done = subprocess.run(
        line, env=environment(TIDEWAX_CONFIG=str(config)), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert called("verify", run, tmp_path / "run").returncode == 0


def test_the_graph_is_drawn_from_the_flow():
    done = called("graph")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("flowchart")
    for step in ("bars", "features_30m", "confluence", "signals"):
        assert step in done.stdout


def test_a_generated_market_gives_signals(tmp_path):
    done = called("generate", "--out", tmp_path, "--days", "2")
    assert done.returncode == 0, done.stderr
    assert "synthetic" in done.stdout
    (file,) = tmp_path.glob("*.parquet")
    done = called("backtest", file, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["signals"] > 0
