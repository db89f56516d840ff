"""`tidewax features`: one stage of the graph over files, with the values of a whole run."""

from __future__ import annotations

import polars as pl
import pytest
from commands import called

from flows.__main__ import main

CSV = "id,timestamp,price,qty,side\n"


def run_main(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0


@pytest.mark.data
@pytest.mark.parametrize("ending", ["parquet", "feather", "csv"])
def test_features_of_real_trades_are_those_of_a_whole_run(market_data, tmp_path, ending):
    given = (
        market_data / "aster_2025-09-24" / "trades_BTCUSDT.csv",
        "--instrument",
        "aster:BTC/USDT:USDT",
        "--config",
        "short",
    )
    assert run_main("backtest", *given, "--out", tmp_path / "run") == 0
    out = tmp_path / f"features.{ending}"
    assert run_main("features", *given, "--timeframe", "5m,1m", "--out", out) == 0
    read = {"parquet": pl.read_parquet, "feather": lambda path: pl.read_ipc(path.read_bytes()), "csv": pl.read_csv}
    made = read[ending](out)
    assert made["timeframe"].unique(maintain_order=True).to_list() == ["5m", "1m"]
    for timeframe in ("1m", "5m"):
        stored = pl.read_parquet(tmp_path / "run" / f"features.{timeframe}.parquet").drop("ordinal")
        ours = made.filter(pl.col("timeframe") == timeframe).drop("timeframe")
        assert len(stored) > 15
        assert ours.columns == stored.columns
        for column in ours.columns:
            assert ours[column].to_list() == stored[column].to_list(), column


def test_the_command_says_what_it_wrote_and_what_it_refused(tmp_path):
    file = tmp_path / "t.csv"
    rows = "".join(f"{i},{1_700_000_000_000 + i * 1_000},100.5,1.0,buy\n" for i in range(400))
    file.write_text(CSV + rows + "999,1700000900000,-5,1,buy\n")
    given = ("features", file, "--instrument", "x:BTC/USDT", "--out", tmp_path / "f.parquet")
    refused = called(*given)
    assert refused.returncode == 1
    assert "-5" in refused.stderr
    done = called(*given, "--bad-rows", "dead-letter", "--timeframe", "1m")
    assert done.returncode == 0, done.stderr
    assert "rows of 1m" in done.stdout
    assert "1 NON_POSITIVE" in done.stdout
    cold = pl.read_parquet(tmp_path / "f.parquet")
    assert cold["rsi_14"].null_count() == len(cold) > 3, "what is cold is null"
    assert set(cold["rsi_14.status"]) == {3}


def test_mistakes_are_sentences(tmp_path, capsys):
    file = tmp_path / "t.csv"
    file.write_text(CSV + "1,1700000000000,100.5,1.0,buy\n")
    for arguments, said in [
        (("--timeframe", "7m", "--out", tmp_path / "f.parquet"), "divides a day"),
        (("--timeframe", "1m,,5m", "--out", tmp_path / "f.parquet"), "timeframe"),
        (("--out", tmp_path / "f.txt"), ".parquet, .feather, .csv"),
        (("--out", tmp_path / "no" / "f.csv"), "no directory"),
        (("--out", tmp_path / "f.csv", "--config", "shrt"), "short"),
    ]:
        assert run_main("features", file, "--instrument", "x:A/B", *arguments) == 1
        told = capsys.readouterr().err
        assert told.startswith("tidewax: ")
        assert said in told
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
