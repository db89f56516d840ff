"""Real recordings of Binance end to end: trades, books and best quotes, with funding of a file, to the table at the end."""

from __future__ import annotations

import json

import polars as pl
import pytest
from commands import called

pytestmark = [pytest.mark.data, pytest.mark.slow]
SPOT = ("binance:BTC/USDT", "binance:ETH/USDT")
PERPETUAL = "binance:BTC/USDT:USDT"
MIDNIGHT_MS = 1_721_347_200_000


def captures(market_data, name):
    return sorted((market_data / "hftbacktest").glob(f"{name}_*.gz"))


def backtest(out, *arguments):
    done = called("backtest", *arguments, "--out", out, "--config", "short")
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((out / "run.json").read_text())


def taken(out):
    counts = pl.read_parquet(out / "counts.parquet")
    assert counts["received"].to_list() == counts["accepted"].to_list()
    return {(key, name): n for key, name, n in counts.select("key", "name", "accepted").rows()}


def test_spot_recordings(market_data, tmp_path):
    files = captures(market_data, "spot")
    said, run = backtest(tmp_path / "one", *files)
    assert run["feeds"] == ["book", "top", "trades"]
    assert run["reasons"] == {}
    found = taken(tmp_path / "one")
    assert {at: n for at, n in found.items() if at[1] == "book"} == {
        (SPOT[0], "book"): 300_111,
        (SPOT[1], "book"): 274_764,
    }
    assert found[SPOT[0], "trades"] == 19_904
    assert "sentiment not applicable: it is a spot market" in said
    assert "liquidity covered" in said
    micro = pl.read_parquet(tmp_path / "one" / "micro.1m.parquet")
    for key in SPOT:
        rows = micro.filter(pl.col("key") == key)
        assert len(rows) == 10
        assert rows["book_synced"].min() > 0.99
        assert rows["spread_bps"].is_between(0, 1).all()
    _, other = backtest(tmp_path / "two", *files, "--chunk", 1_013, "--workers", 2)
    assert other["digests"] == run["digests"]


def test_recordings_of_a_perpetual_with_funding_of_a_file(market_data, tmp_path):
    rates = tmp_path / "funding.csv"
    rows = [f"{PERPETUAL},{MIDNIGHT_MS - 8 * 3_600_000 * k},{(k % 7) * 1e-5},8" for k in range(60, -1, -1)]
    rates.write_text("\n".join(["instrument,timestamp,rate,interval_h", *rows]) + "\n")
    said, run = backtest(tmp_path / "run", *captures(market_data, "hist_usdm_btcusdt"), rates)
    assert run["feeds"] == ["book", "funding", "top", "trades"]
    assert run["reasons"] == {}
    assert taken(tmp_path / "run") == {
        (PERPETUAL, "trades"): 10_701,
        (PERPETUAL, "book"): 402_859,
        (PERPETUAL, "top"): 52_260,
        (PERPETUAL, "funding"): 61,
    }
    assert "liquidity covered" in said
    assert "sentiment covered" in said
    micro = pl.read_parquet(tmp_path / "run" / "micro.1m.parquet")
    before, after = (
        micro.filter(pl.col("ts_close") <= MIDNIGHT_MS * 1_000_000 - 1),
        micro.filter(pl.col("ts_close") >= MIDNIGHT_MS * 1_000_000),
    )
    assert set(before["funding_rate"].to_list()) == {1e-5}
    assert set(after["funding_rate"].to_list()) == {0.0}
    assert micro["book_synced"].min() > 0.99


def test_a_recording_whose_beginning_is_missing_says_so(market_data, tmp_path):
    said, run = backtest(tmp_path / "run", captures(market_data, "spot_ethusdt")[1], "--feeds", "trades,book")
    assert "there is no snapshot of the book of binance:ETH/USDT" in said
    assert "stays unsynced" in said
    assert run["feeds"] == ["book", "trades"]
    micro = pl.read_parquet(tmp_path / "run" / "micro.1m.parquet")
    assert len(micro) == 4
    assert micro["book_synced"].is_null().all()
    assert micro["spread_bps"].is_null().all()
