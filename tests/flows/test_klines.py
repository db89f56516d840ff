"""Klines and funding rates on the command line: folds against downloaded bars, a month of futures, kills, placement, presets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from commands import ROOT, called, command, environment, kill_again_and_again, rows_written
from typer.testing import CliRunner

from events.errors import TidewaxError
from events.schema import FLUSHED, FROM_OHLCV, SYNTHETIC
from flows.__main__ import app

SOAK = bool(os.environ.get("TIDEWAX_SOAK"))
KEYS = [f"binance:{symbol}/USDT:USDT" for symbol in ("BTC", "ETH", "SOL", "XRP")]
SHORT_EPOCHS = "confluence: {theta: 12.0}\nrun: {epoch_s: 0}\n"


def read_downloaded(path: Path) -> pl.DataFrame:
    return pl.read_ipc(path.read_bytes()).with_columns(pl.col("date").dt.epoch("ns").alias("ts_open"))


def futures(market_data: Path) -> list[Path]:
    folder = market_data / "klines_1m_futures_2025-05"
    return sorted(folder.glob("*-1m-futures.feather")) + sorted(folder.glob("*-funding_rate.feather"))


def backtest(files: list[Path], out: Path, *options: object, run: Callable = called) -> dict:
    done = run("backtest", *files, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "run.json").read_text())


@pytest.fixture(scope="module")
def cut(market_data, tmp_path_factory):
    """Five days of two of the instruments, and their rates: BTC's klines with a hole of hours, ETH's rates left out."""
    folder = tmp_path_factory.mktemp("cut")
    day = 1_746_403_200_000_000_000
    for name, days in (("BTC", 5), ("ETH", 4)):
        path = market_data / "klines_1m_futures_2025-05" / f"{name}_USDT_USDT-1m-futures.feather"
        table = read_downloaded(path).filter(pl.col("ts_open").is_between(day, day + days * 86_400_000_000_000))
        if name == "BTC":
            table = pl.concat([table[:3_000], table[3_300:]])
        table.drop("ts_open").write_ipc(folder / path.name)
    name = "BTC_USDT_USDT-8h-funding_rate.feather"
    shutil.copy(market_data / "klines_1m_futures_2025-05" / name, folder / name)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def reference(cut, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    settings = folder / "settings.yaml"
    settings.write_text(SHORT_EPOCHS)
    run = backtest(cut, folder / "run", "--exchange", "binance", "--config", settings, "--chunk", "1000", run=command)
    assert run["signals"] > 3
    return settings, folder / "run", run


@pytest.mark.data
@pytest.mark.slow
def test_folds_of_downloaded_minutes_are_the_downloaded_longer_bars(market_data, tmp_path):
    folder = market_data / "klines_spot_btc_eth_2025-05_08"
    out = tmp_path / "bars.parquet"
    minutes = folder / "BTC_USDT-1m.feather"
    done = called("bars", minutes, "--timeframe", "1m,5m,15m", "--exchange", "binance", "--out", out)
    assert done.returncode == 0, done.stderr
    bars = pl.read_parquet(out).filter(pl.col("flags") & FLUSHED == 0)
    assert bars["key"].unique().to_list() == ["binance:BTC/USDT"]
    compared = {}
    for timeframe in ("1m", "5m", "15m"):
        theirs = read_downloaded(folder / f"BTC_USDT-{timeframe}.feather")
        both = theirs.join(bars.filter(pl.col("timeframe") == timeframe), on="ts_open", suffix="_ours")
        for column in ("open", "high", "low", "close"):
            assert both[column].to_list() == both[f"{column}_ours"].to_list(), (timeframe, column)
        assert np.allclose(both["volume"], both["volume_ours"], rtol=1e-12, atol=0)
        assert (both["flags"] == FROM_OHLCV).all()
        assert both["n_trades"].null_count() == both["vwap"].null_count() == len(both)
        compared[timeframe] = (len(both), len(theirs))
    assert compared == {"1m": (130_708, 130_708), "5m": (26_141, 26_141), "15m": (8_713, 8_713)}


@pytest.mark.data
@pytest.mark.slow
def test_a_month_of_futures_ends_with_signals_under_the_defaults(market_data, tmp_path):
    done = command("backtest", *futures(market_data), "--exchange", "binance", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "klines" in done.stdout
    assert "trades" not in done.stdout.split("paper results", maxsplit=1)[0]
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["presets"] == dict.fromkeys(KEYS, "bars3")
    assert run["analysis"]["confluence"]["preset"] == "bars3"
    assert run["feeds"] == ["funding", "klines.1m"]
    assert run["klines"] == dict(zip(KEYS, (43_199, 60_191, 43_200, 43_199)))
    assert run["funding"] == dict(zip(KEYS, (266, 302, 266, 266)))
    assert (run["trades"], run["reasons"], run["dead_letters"]) == ({}, {}, {})
    assert run["rows"]["bars.1m"] == run["klines"], "no minute is missing, and none is made up after an end"
    assert sorted(run["rows"]["signals"]) == KEYS
    assert min(run["rows"]["signals"].values()) > 10
    told = called("outcomes", tmp_path / "run")
    assert told.returncode == 0, told.stderr
    assert "preset bars3" in told.stdout
    one = pl.read_parquet(tmp_path / "run" / "signals.parquet")["signal_id"][0]
    explained = called("explain", tmp_path / "run", one)
    assert explained.returncode == 0, explained.stderr
    assert "from_ohlcv" in explained.stdout
    assert "-9223372036854775808" not in explained.stdout


@pytest.mark.data
def test_what_a_run_over_klines_says_of_itself(reference, cut):
    _, path, run = reference
    btc, eth = KEYS[:2]
    assert [item["feed"] for item in run["inputs"]] == ["klines.1m", "funding", "klines.1m"]
    assert run["funding"] == {btc: 266, eth: 0}, "an instrument without rates in a run that has them"
    counts = pl.read_parquet(path / "counts.parquet")
    assert sorted(counts.select("key", "name").rows()) == [
        (key, name) for key in (btc, eth) for name in ("funding", "klines.1m")
    ]
    bars = pl.read_parquet(path / "bars.1m.parquet").filter(pl.col("key") == btc)
    assert bars["flags"].unique().sort().to_list() == [FROM_OHLCV, FROM_OHLCV | SYNTHETIC]
    assert (bars["flags"] & SYNTHETIC != 0).sum() == 60
    gaps = pl.read_parquet(path / "gaps.parquet")
    assert gaps["until"].null_count() == 1
    assert len(gaps) == 2
    assert not any(name == "bars.open.1m" and rows for name, rows in run["rows"].items())


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("options", [("--chunk", 1), ("--chunk", 100_000), ("--chunk", 7, "--workers", 2)], ids=str)
def test_chunks_and_workers_change_nothing(reference, cut, tmp_path, options):
    settings, path, _ = reference
    backtest(cut, tmp_path / "run", "--exchange", "binance", "--config", settings, *options)
    done = called("verify", path, tmp_path / "run")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("equal: ")


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3 if SOAK else 1))
def test_kills_at_random_moments_lose_nothing_and_double_nothing(reference, cut, tmp_path, seed):
    settings, path, run = reference
    out, given = tmp_path / "run", (*cut, "--exchange", "binance", "--config", settings)
    kill_again_and_again(out, *given, kills=5, seed=seed, rows=rows_written(path))
    resumed = backtest(cut, out, "--exchange", "binance", "--config", settings, "--chunk", "5000")
    done = called("verify", path, out)
    assert done.returncode == 0, done.stdout
    for key in ("rows", "digests", "reasons", "trades", "klines", "funding", "signals", "entries", "cold"):
        assert run[key] == resumed[key], key


@pytest.mark.data
@pytest.mark.slow
def test_trades_and_klines_in_one_run_need_a_preset_by_name(market_data, tmp_path, cut):
    trades = market_data / "freqtrade_testdata" / "XRP_ETH-trades.feather"
    files = [path for path in cut if "ETH_USDT" in path.name] + [trades]
    refused = called("backtest", *files, "--exchange", "binance", "--out", tmp_path / "run")
    assert refused.returncode == 1
    assert "Name a preset" in refused.stderr
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").glob("*.json"))
    settings = tmp_path / "named.yaml"
    settings.write_text("confluence: {preset: bars3}\n")
    run = backtest(files, tmp_path / "named", "--exchange", "binance", "--config", settings)
    assert set(run["presets"].values()) == {"bars3"}
    assert (list(run["trades"]), list(run["klines"])) == (["binance:XRP/ETH"], [KEYS[1]])


def test_the_options_that_name_instruments_and_columns_are_told_apart(tmp_path):
    file = tmp_path / "BTC_USDT-mine.csv"
    file.write_text("when,cost,vol\n1750507200000,100.5,1\n1750507265000,100.6,1\n")
    out = tmp_path / "bars.parquet"
    columns = "time=when, price=cost,qty=vol"
    done = called("bars", file, "--exchange", "x", "--columns", columns, "--out", out)
    assert done.returncode == 0, done.stderr
    assert pl.read_parquet(out)["close"].to_list() == [100.5, 100.6]
    for wrong, said in (
        ("time", "'time' is not role=column"),
        ("time=when,time=cost", "twice, when and cost"),
        ("tiem=when", "Did you mean time?"),
        ("time=when,price=px,qty=vol", "lacks price=px"),
    ):
        refused = CliRunner().invoke(app, ["bars", str(file), "--exchange", "x", "--columns", wrong, "--out", str(out)])
        assert isinstance(refused.exception, TidewaxError)
        assert said in str(refused.exception)


@pytest.mark.data
@pytest.mark.slow
def test_the_engines_own_runner_takes_an_exchange_from_the_settings(reference, cut, tmp_path):
    settings, path, _ = reference
    config = tmp_path / "run.yaml"
    files = ", ".join(map(str, cut))
    config.write_text(
        f"{settings.read_text()}input: {{files: [{files}], exchange: binance}}\noutput: {{directory: {tmp_path / 'run'}}}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "bytewax.run", "flows.backtest"],
        env=environment(TIDEWAX_CONFIG=str(config)), cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert called("verify", path, tmp_path / "run").returncode == 0
