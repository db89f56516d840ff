"""Trades and the venue's klines of the same minutes in one backtest: bars are made of the trades, and held against the klines."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from commands import called

from connectors.simulator import Market, write_trades
from events.times import DAY_NS, MINUTE_NS

KEY = "x:A/B"
START = 19_675 * DAY_NS


def backtest(*arguments):
    done = called("backtest", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Half a day of trades, and klines made of them by a query; three of them are spoiled, two are missing."""
    folder = tmp_path_factory.mktemp("files")
    trades, klines = folder / "trades.parquet", folder / "klines.parquet"
    write_trades(trades, (Market(KEY, seed=3),), START, 0.25)
    table = pl.read_parquet(trades).with_columns(time=pl.col("ts_event") // MINUTE_NS * MINUTE_NS)
    price, qty = pl.col("price"), pl.col("qty")
    bars = (
        table.group_by("time", maintain_order=True)
        .agg(open=price.first(), high=price.max(), low=price.min(), close=price.last(), volume=qty.sum())
        .with_columns(instrument=pl.lit(KEY))
    )
    bars = bars.with_row_index("n").filter(~pl.col("n").is_in([50, 51]))
    for n, name, factor in ((10, "volume", 1.002), (20, "high", 1.001), (30, "low", 0.999)):
        bars = bars.with_columns(
            pl.when(pl.col("n") == n).then(pl.col(name) * factor).otherwise(pl.col(name)).alias(name)
        )
    bars.drop("n").write_parquet(klines)
    return trades, klines, len(bars) - 1  # the last minute is not whole, so it is no bar


def test_what_differs_is_reported_and_nothing_is_repaired(files, tmp_path):
    trades, klines, n = files
    said = backtest(trades, klines, "--out", tmp_path / "both", "--chunk", 777)
    run = json.loads((tmp_path / "both" / "run.json").read_text())
    assert run["feeds"] == ["check.1m", "trades"]
    assert run["reconcile"] == {KEY: {"equal": n - 4, "different": 3, "flagged": 1, "alone": 0}}
    assert (
        f"{KEY}: {n - 4:,} of {n - 1:,} minutes equal the venue's klines; reconcile.parquet says what differs" in said
    )
    found = pl.read_parquet(tmp_path / "both" / "reconcile.parquet").sort("ts_open")
    assert found["field"].to_list() == ["volume", "high", "low"]
    assert found["ts_open"].to_list() == [START + m * MINUTE_NS for m in (10, 20, 30)]
    assert np.allclose(found["ours"] / found["venue"], [1 / 1.002, 1 / 1.001, 1 / 0.999])
    assert (found["difference"] == found["ours"] - found["venue"]).all()
    backtest(trades, "--out", tmp_path / "trades")
    same = called("verify", tmp_path / "both", tmp_path / "trades")
    assert same.returncode == 0, same.stdout
    backtest(trades, klines, "--out", tmp_path / "again", "--workers", 2)
    again = pl.read_parquet(tmp_path / "again" / "reconcile.parquet").sort("ts_open")
    assert again.drop("json").equals(found.drop("json"))


def test_the_tick_of_the_settings_decides(files, tmp_path):
    trades, klines, _ = files
    settings = tmp_path / "s.yaml"
    settings.write_text(f"instruments: {{'{KEY}': {{tick: 1000.0}}}}\n")
    backtest(trades, klines, "--out", tmp_path / "run", "--config", settings)
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["reconcile"][KEY]["different"] == 1, "only that of the volume"


ORACLE = "klines_oracle/binance_spot_{}USDT-1m_20240726_20240825.feather"


@pytest.mark.data
@pytest.mark.slow
def test_real_trades_equal_the_official_klines_and_a_spoiled_one_is_told(market_data, tmp_path):
    captures = sorted((market_data / "hftbacktest").glob("spot_*.gz"))
    klines = []
    for symbol in ("BTC", "ETH"):
        table = pl.read_ipc((market_data / ORACLE.format(symbol)).read_bytes())
        spoiled = pl.col("date").dt.epoch("ns") == 1_723_161_600_000_000_000
        if symbol == "ETH":
            table = table.with_columns(close=pl.when(spoiled).then(pl.col("close") + 0.02).otherwise(pl.col("close")))
        klines.append(tmp_path / f"{symbol}_USDT-1m.feather")
        table.write_ipc(klines[-1])
    settings = tmp_path / "s.yaml"
    settings.write_text("instruments: {'binance:ETH/USDT': {tick: 0.01}}\n")
    options = ("--exchange", "binance", "--feeds", "trades,klines.1m", "--config", settings)
    said = backtest(*captures, *klines, "--out", tmp_path / "run", *options)
    assert "binance:BTC/USDT: 10 of 10 minutes equal the venue's klines; 1 partial or with a hole left out" in said
    assert "binance:ETH/USDT: 9 of 10 minutes equal the venue's klines; reconcile.parquet says what differs" in said
    found = pl.read_parquet(tmp_path / "run" / "reconcile.parquet").to_dicts()
    assert [(row["key"], row["field"], row["ts_open"]) for row in found] == [
        ("binance:ETH/USDT", "close", 1_723_161_600_000_000_000)
    ]
    assert found[0]["difference"] == pytest.approx(-0.02)
