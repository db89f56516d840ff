"""`import tidewax` in a notebook: data frames in, data frames out, through the same graph as the command line."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import warnings

import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

import tidewax
from connectors.simulator import Market, write_trades
from flows.__main__ import main
from flows.verify import verify

DAY = 1_700_006_400_000_000_000  # a UTC midnight
HOURS = {
    "bars": {"time": ["1m", "5m"]},
    "confluence": {"theta": 4.0, "blend": {"1m": 0.7, "5m": 0.3}, "gates": {"coverage": 0.3}},
    "signals": {"tf": "1m", "cooldown_bars": 1, "hold_bars": 5},
}
MARKETS = (Market(), Market("synthetic:ETH/USDT", 3_000.0, seed=2))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("market") / "trades.parquet"
    write_trades(path, MARKETS, DAY + 7_000_000_000, 0.15)
    return path


@pytest.fixture(scope="module")
def frame(file):
    return pl.read_parquet(file)


@pytest.fixture(scope="module")
def plain(file, tmp_path_factory):
    """The run of the command over the same trades."""
    folder = tmp_path_factory.mktemp("plain")
    settings = folder / "settings.yaml"
    settings.write_text(json.dumps(HOURS))
    main_ok("backtest", file, "--out", folder / "run", "--config", settings)
    return folder / "run"


def main_ok(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code in (0, None)


def test_a_backtest_of_a_data_frame_has_the_digests_of_the_command(frame, plain, tmp_path, capfd):
    result = tidewax.backtest(frame, HOURS, out=tmp_path / "run")
    assert capfd.readouterr() == ("", ""), "nothing is printed"
    told = json.loads((plain / "run.json").read_text())
    assert result.report["digests"] == told["digests"]
    assert result.report["rows"] == told["rows"]
    assert not verify(plain, tmp_path / "run").differences
    assert [given["path"] for given in result.report["inputs"]] == ["the data frame"]
    assert result.report["signals"] == result.signals.height > 0
    assert result.outcomes.height > 0
    again = tidewax.backtest(frame, HOURS, out=tmp_path / "run")
    assert again.report == result.report, "a finished run is read"
    with pytest.raises(tidewax.TidewaxError, match="other settings"):
        tidewax.backtest(frame, "short", out=tmp_path / "run")


def test_the_frames_of_a_result_are_those_of_the_run(frame):
    result = tidewax.backtest(frame, HOURS)
    rows = result.report["rows"]
    for name, kind in (("bars", result.bars), ("features", result.features)):
        assert list(kind) == ["1m", "5m"]
        for timeframe in kind:
            assert kind[timeframe].height == sum(rows[f"{name}.{timeframe}"].values()) > 0
    with pytest.raises(KeyError, match="5m"):
        result.bars["4h"]
    for name in ("confluence", "signals", "updates", "outcomes"):
        made = getattr(result, name)
        assert made.height == sum(rows[name].values()) > 0
        assert made["ts"].dtype == pl.Datetime("ns", "UTC")
        assert set(made["key"]) <= {market.instrument for market in MARKETS}
    first = result.signals.row(0, named=True)
    assert first["targets"] == json.loads(first["json"])["targets"]
    assert len(first["targets"]) == len(first["target_sizes"]) > 0
    assert result.dead_letters.height == 0
    assert result.dead_letters.columns[0] == "key"
    assert result.features["1m"]["rsi_14"].null_count() > 0, "a value that is not there is null"
    assert not result.features["1m"]["rsi_14"].is_nan().any()
    assert "paper results net of costs" in repr(result)
    with pytest.raises(tidewax.TidewaxError, match="no stream 'bar'"):
        result.stream("bar")
    kept = result.path
    assert kept.is_dir()
    del result, kind
    gc.collect()
    assert not kept.exists(), "a temporary run directory goes with its result"


def test_bars_are_those_of_the_command(file, frame, tmp_path):
    main_ok("bars", file, "--timeframe", "5m,1m", "--out", tmp_path / "bars.parquet")
    made = tidewax.bars(frame, ("5m", "1m"))
    assert_frame_equal(made.with_columns(pl.col(pl.Datetime).to_physical()), pl.read_parquet(tmp_path / "bars.parquet"))
    assert_frame_equal(made, tidewax.bars(str(file), "5m,1m"))
    assert_frame_equal(made, tidewax.bars([file], ["5m", "1m"]))


def test_features_are_those_of_the_command_and_of_a_run(file, frame, plain, tmp_path):
    settings = plain.parent / "settings.yaml"
    main_ok("features", file, "--config", settings, "--out", tmp_path / "features.parquet")
    stored = pl.read_parquet(tmp_path / "features.parquet")
    made = tidewax.features(frame, settings, status=True)
    assert_frame_equal(made.with_columns(pl.col(pl.Datetime).to_physical()), stored)
    for timeframe in ("1m", "5m"):
        of_run = pl.read_parquet(plain / f"features.{timeframe}.parquet").drop("ordinal")
        assert_frame_equal(stored.filter(pl.col("timeframe") == timeframe).drop("timeframe"), of_run)
    values = tidewax.features(frame, HOURS, timeframes=["5m"])
    assert values.columns == [name for name in made.columns if not name.endswith(".status")]
    assert set(values["timeframe"]) == {"5m"}
    other = tidewax.features(frame, HOURS, timeframes="15m")
    assert set(other["timeframe"]) == {"15m"}, "a timeframe that the settings lack"


@pytest.mark.parametrize(
    "times",
    [
        pl.col("ts_event") // 1_000_000,
        pl.col("ts_event") // 1_000,
        pl.col("ts_event"),
        pl.col("ts_event").cast(pl.Datetime("ns")),
        pl.col("ts_event").cast(pl.Datetime("ns", "UTC")).dt.cast_time_unit("us"),
        pl.col("ts_event").cast(pl.Datetime("ns")).dt.cast_time_unit("ms"),
    ],
    ids=["int ms", "int us", "int ns", "ns", "us utc", "ms"],
)
def test_times_of_every_kind_are_understood(frame, times):
    given = frame.select(times.alias("time"), pl.exclude("ts_event"))
    assert_frame_equal(tidewax.bars(given), tidewax.bars(frame))


class Foreign:
    """A data frame of another library, which exports an Arrow stream."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


def test_frames_of_other_libraries(file, frame):
    table = pq.read_table(file)
    expected = tidewax.bars(frame)
    for given in (table, Foreign(table), frame.lazy()):
        assert_frame_equal(tidewax.bars(given), expected)


def test_klines_and_columns_by_other_names(frame):
    name = "synthetic:BTC/USDT"
    trades = frame.filter(pl.col("instrument") == name)
    klines = tidewax.bars(trades, "1m")["ts_open", "open", "high", "low", "close", "volume"][1:-1]
    named = klines.rename({"ts_open": "Zeit", "close": "Schluss", "volume": "Menge"})
    made = tidewax.bars(named, "5m", name, columns={"time": "Zeit", "close": "Schluss", "volume": "Menge"})
    expected = tidewax.bars(trades, "5m")[1:-1]
    prices = ["ts_open", "open", "high", "low", "close"]
    assert (
        made.filter(pl.col("ts_open").is_in(expected["ts_open"].implode()))
        .select(prices)
        .equals(expected.select(prices))
    )
    assert made.height >= expected.height > 5
    with pytest.raises(tidewax.TidewaxError, match="columns"):
        tidewax.bars(named, "5m", name, columns={"time": "Zeit", "tiem": "x"})


def test_columns_and_exchanges_are_named_as_on_the_command_line(frame):
    expected = tidewax.bars(frame.filter(pl.col("instrument") == "synthetic:BTC/USDT"))
    own = frame.filter(pl.col("instrument") == "synthetic:BTC/USDT").rename({"price": "Kurs"})
    own = own.with_columns(symbol=pl.lit("BTC-USDT")).drop("instrument")
    assert_frame_equal(tidewax.bars(own, exchange="synthetic", columns={"price": "Kurs"}), expected)


def test_what_cannot_be_used_is_a_sentence_for_a_function(frame, tmp_path):
    one = frame.filter(pl.col("instrument") == "synthetic:BTC/USDT").drop("instrument")
    assert tidewax.bars(one, instrument="x:BTC/USDT")["key"].unique().to_list() == ["x:BTC/USDT"]
    cases = [
        (lambda: tidewax.bars(one), "instrument"),
        (lambda: tidewax.bars(one, instrument="BTCUSDT"), "instrument"),
        (lambda: tidewax.bars(one.rename({"price": "cost"}), instrument="x:A/B"), "the data frame fits no layout"),
        (lambda: tidewax.bars(one.head(0), instrument="x:A/B"), "the data frame"),
        (lambda: tidewax.bars(one.with_columns(price=-1.0), instrument="x:A/B"), "the data frame"),
        (lambda: tidewax.bars(7), "int"),
        (lambda: tidewax.bars([]), "data frame"),
        (lambda: tidewax.bars(tmp_path / "none.csv"), "none.csv"),
        (lambda: tidewax.bars(frame, "7m"), "divides a day"),
        (lambda: tidewax.bars(frame, ()), "timeframe"),
        (lambda: tidewax.features(frame, {"bars": {"tiem": 1}}), "did you mean time"),
        (lambda: tidewax.features(frame, "shrt"), "short"),
        (lambda: tidewax.backtest(frame, HOURS, bad_rows="keep"), "bad_rows"),
    ]
    for call, said in cases:
        with pytest.raises(tidewax.TidewaxError, match=said) as error:
            call()
        assert "--" not in str(error.value), error.value
        assert "/tidewax-" not in str(error.value), "nobody is told of temporary files"


def test_refused_rows_are_told_with_a_warning_and_kept_as_dead_letters(frame):
    bad = frame.with_columns(price=pl.when(pl.int_range(pl.len()) == 500).then(-5.0).otherwise("price"))
    with pytest.warns(tidewax.RefusedRows, match="1 NON_POSITIVE"):
        tidewax.bars(bad, bad_rows="dead-letter")
    result = tidewax.backtest(bad, HOURS, bad_rows="dead-letter")
    assert result.dead_letters.height == 1
    assert json.loads(result.dead_letters["raw"][0])["price"] == -5.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tidewax.bars(frame, bad_rows="dead-letter")


def test_in_a_thread_beside_a_running_loop_and_in_two_threads_at_once(frame):
    expected = tidewax.bars(frame)

    async def cell():
        return tidewax.bars(frame), await asyncio.to_thread(tidewax.bars, frame)

    for made in asyncio.run(cell()):
        assert_frame_equal(made, expected)
    found = []
    threads = [threading.Thread(target=lambda: found.append(tidewax.bars(frame))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    for made in found:
        assert_frame_equal(made, expected)
