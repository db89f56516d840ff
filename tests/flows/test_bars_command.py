"""`tidewax bars` on real trades against the exchange's own klines, and on input that cannot be used."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from commands import called

from events.schema import FLUSHED, PARTIAL, SYNTHETIC

ORACLE = "klines_oracle/binance_spot_{}-1m_20240726_20240825.feather"
CSV = "id,timestamp,price,qty,side\n"


def read_oracle(path: Path) -> pl.DataFrame:
    return pl.read_ipc(path.read_bytes()).with_columns(pl.col("date").dt.epoch("ns").alias("ts_open"))


@pytest.mark.parametrize(("symbol", "key"), [("BTCUSDT", "binance:BTC/USDT"), ("ETHUSDT", "binance:ETH/USDT")])
def test_bars_of_real_trades_equal_the_official_klines(market_data, tmp_path, symbol, key):
    files = sorted((market_data / "hftbacktest").glob(f"spot_{symbol.lower()}_*.gz"))
    done = called("bars", *files, "--timeframe", "1m,5m", "--out", tmp_path / "bars.parquet")
    assert done.returncode == 0, done.stderr
    bars = pl.read_parquet(tmp_path / "bars.parquet")
    assert bars["key"].unique().to_list() == [key]
    minutes = bars.filter(pl.col("timeframe") == "1m")
    first, *_, last = minutes.iter_rows(named=True)
    assert first["flags"] & PARTIAL, "the recording begins within a minute"
    assert last["flags"] & FLUSHED, "and ends within one"
    whole = minutes.filter(pl.col("flags") == 0)
    klines = read_oracle(market_data / ORACLE.format(symbol)).join(whole, on="ts_open", suffix="_ours")
    assert len(whole) == len(klines) == 10
    for column in ("open", "high", "low", "close"):
        assert klines[column].to_list() == klines[f"{column}_ours"].to_list()
    assert np.allclose(klines["volume"], klines["volume_ours"], rtol=1e-9, atol=0)
    five = bars.filter(pl.col("timeframe") == "5m")
    assert five["ts_open"].is_sorted()
    assert five["flags"].to_list()[0] & PARTIAL
    assert five.filter(pl.col("flags") == 0)["n_missing"].to_list() == [0, 0]


SECOND_IMPLEMENTATION = [
    ("freqtrade_testdata/XRP_ETH", "binance:XRP/ETH", {"1m": 2_467, "5m": 704}),
    ("kraken_freqtrade/BTC_USDT", "kraken:BTC/USDT", {"1m": 5_386, "5m": 1_518, "15m": 513, "1h": 127}),
    ("kraken_freqtrade/ETH_BTC", "kraken:ETH/BTC", {"1h": 126}),
]
"""Files, instrument, and how many whole bars there are."""


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "key", "whole"), SECOND_IMPLEMENTATION, ids=[key for _, key, _ in SECOND_IMPLEMENTATION]
)
def test_bars_equal_those_of_a_second_implementation(market_data, tmp_path, name, key, whole):
    out, trades = tmp_path / "b.feather", market_data / f"{name}-trades.feather"
    done = called("bars", trades, "--timeframe", ",".join(whole), "--instrument", key, "--out", out)
    assert done.returncode == 0, done.stderr
    every = pl.read_ipc(out.read_bytes())
    for timeframe, n in whole.items():
        ours = every.filter(pl.col("timeframe") == timeframe)
        theirs = read_oracle(market_data / f"{name}-{timeframe}.feather")
        quiet = ours.filter((pl.col("flags") & SYNTHETIC > 0) & (pl.col("flags") & FLUSHED == 0))
        assert quiet["n_trades"].sum() == 0
        assert not set(quiet["ts_open"]) & set(theirs["ts_open"]), "they have no bars without trades"
        complete = ours.filter(pl.col("flags") == 0)
        # the first bar begins before the first trade, the last one is open: with them, these are all
        assert len(complete) == n == len(theirs) - 2
        both = theirs.join(complete, on="ts_open", suffix="_ours")
        assert len(both) == n
        for column in ("open", "high", "low", "close"):
            assert both[column].to_list() == both[f"{column}_ours"].to_list(), column
        assert np.allclose(both["volume"], both["volume_ours"], rtol=1e-12, atol=0)


def good_rows(n=200):
    return "".join(f"{i},{1_700_000_000_000 + i * 1_000},100.5,1.0,buy\n" for i in range(n))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("truncated.csv.gz", gzip.compress((CSV + good_rows(20_000)).encode())[:-2_000], "truncated"),
        ("columns.csv", "a,b,c\n1,2,3\n", "columns"),
        ("negative.csv", CSV + good_rows() + "999,1700000900000,-5,1,buy\n", "-5"),
        ("nan.csv", CSV + good_rows() + "999,1700000900000,nan,1,buy\n", "nan"),
        ("unit.csv", CSV + "1,170000000,100,1,buy\n2,170000001,100,1,buy\n", "time"),
        ("mixed.csv", CSV + good_rows() + "999,1700000900,100,1,buy\n", "unit"),
        ("empty.csv", "", "empty"),
        ("headonly.csv", CSV, "no "),
    ],
)
def test_input_that_cannot_be_used_is_a_sentence(tmp_path, name, content, said):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    for arguments in (("bars", "--out", tmp_path / "out.parquet"), ("backtest", "--out", tmp_path / "run")):
        done = called(*arguments, file, "--instrument", "x:BTC/USDT")
        assert done.returncode == 1, (done.stdout, done.stderr)
        assert done.stderr.startswith("tidewax: ")
        assert name in done.stderr
        assert said.lower() in done.stderr.lower()
        assert "Traceback" not in done.stderr + done.stdout
        assert len(done.stderr.strip().splitlines()) <= 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [name], "nothing is left half-written"


@pytest.mark.slow
def test_a_missing_file_a_bad_timeframe_and_a_bad_ending_are_sentences(tmp_path):
    good = tmp_path / "good.csv"
    good.write_text(CSV + good_rows())
    cases = [
        (("bars", tmp_path / "none.csv", "--out", tmp_path / "o.parquet"), "none.csv"),
        (
            ("bars", good, "--timeframe", "7m", "--out", tmp_path / "o.parquet", "--instrument", "x:A/B"),
            "divides a day",
        ),
        (
            ("bars", good, "--timeframe", "1w", "--out", tmp_path / "o.parquet", "--instrument", "x:A/B"),
            "not a timeframe",
        ),
        (("bars", good, "--out", tmp_path / "o.txt", "--instrument", "x:A/B"), ".parquet"),
        (("bars", good, "--out", tmp_path / "no" / "o.csv", "--instrument", "x:A/B"), "no directory"),
        (("bars", good, "--out", tmp_path / "o.csv"), "--instrument"),
        (("bars", good, "--out", tmp_path / "o.csv", "--instrument", "BTCUSDT"), "BTCUSDT"),
        (("bars", good, "--out", tmp_path / "o.csv", "--layout", "ccxxt", "--instrument", "x:A/B"), "ccxt"),
        (("backtest", good, "--out", tmp_path / "r", "--instrument", "x:A/B", "--config", "shrt"), "short"),
        (("backtest", good, "--out", good, "--instrument", "x:A/B"), "good.csv"),
        (("verify", tmp_path, tmp_path), "run.json"),
    ]
    for arguments, said in cases:
        done = called(*arguments)
        assert done.returncode == 1, arguments
        assert done.stderr.startswith("tidewax: ")
        assert said in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good.csv"]


def test_bad_rows_can_be_set_aside(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(CSV + good_rows() + "999,1700000900000,-5,1,buy\n")
    done = called(
        "backtest", file, "--out", tmp_path / "run", "--instrument", "x:BTC/USDT", "--bad-rows", "dead-letter"
    )
    assert done.returncode == 0, done.stderr
    assert "1 NON_POSITIVE" in done.stdout
    assert len((tmp_path / "run" / "dead_letters.jsonl").read_text().splitlines()) == 1


def test_bars_in_csv_have_one_row_a_bar(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(CSV + good_rows())
    done = called("bars", file, "--out", tmp_path / "b.csv", "--instrument", "x:BTC/USDT", "--timeframe", "5m,1m")
    assert done.returncode == 0, done.stderr
    bars = pl.read_csv(tmp_path / "b.csv")
    assert bars["timeframe"].unique(maintain_order=True).to_list() == ["5m", "1m"]
    assert bars.filter(pl.col("timeframe") == "1m")["n_trades"].to_list() == [40, 60, 60, 40]
