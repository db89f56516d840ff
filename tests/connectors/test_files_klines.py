"""Files of klines: each layout, every format, real ones; what cannot be used is said."""

import json
import zipfile

import numpy as np
import polars as pl
import pytest

from connectors.files import open_inputs, read_streams
from events.errors import InputError
from events.rows import OHLCV
from events.times import MINUTE_NS
from events.validation import first_faulty_kline

MS = 1_750_507_200_000
HEAD = "timestamp,open,high,low,close,volume"
KLINES = "klines.1m"


def only(streams):
    assert len(streams) == 1
    return next(iter(streams.items()))


def lines(count, step_ms=60_000):
    return [f"{MS + i * step_ms},{10 + i},{12 + i},{9 + i},{11 + i},{i}.5" for i in range(count)]


def csv(path, *rows, header=HEAD):
    path.write_text("\n".join([*([header] if header else []), *rows]) + "\n")
    return path


def said(*words, **options):
    def check(*paths):
        with pytest.raises(InputError) as caught:
            read_streams(paths, **options)
        for word in words:
            assert word in str(caught.value), str(caught.value)
        assert str(caught.value).endswith(".")

    return check


def expected(count):
    rows = np.zeros(count, OHLCV)
    i = np.arange(count)
    rows["ts_open"] = MS * 1_000_000 + i * MINUTE_NS
    rows["available_at"] = rows["ts_recv"] = rows["ts_open"] + MINUTE_NS
    rows["seq"], rows["closed"], rows["quote_volume"] = i, 1, np.nan
    rows["open"], rows["high"], rows["low"], rows["close"], rows["volume"] = 10 + i, 12 + i, 9 + i, 11 + i, i + 0.5
    return rows


@pytest.mark.parametrize("block_rows", [7, 131_072])
def test_one_table_in_every_format(tmp_path, block_rows):
    n = 30
    rows = expected(n)
    paths = [csv(tmp_path / "a.csv", *lines(n)), csv(tmp_path / "headless.csv", *lines(n), header=None)]
    table = pl.read_csv(paths[0])
    paths.append(tmp_path / "iso.csv")
    iso = pl.from_epoch("timestamp", time_unit="ms").dt.strftime("%Y-%m-%d %H:%M:%S")
    table.with_columns(iso).rename({"timestamp": "time"}).write_csv(paths[-1])
    paths.append(tmp_path / "us.csv")
    table.with_columns(pl.col("timestamp") * 1_000).rename({"timestamp": "open_time"}).write_csv(paths[-1])
    paths.append(tmp_path / "a.parquet")
    table.write_parquet(paths[-1], row_group_size=9)
    paths.append(tmp_path / "a.feather")
    table.with_columns(pl.from_epoch("timestamp", time_unit="ms").dt.replace_time_zone("UTC").alias("date")).select(
        "date", "open", "high", "low", "close", "volume"
    ).write_ipc(paths[-1])
    paths.append(tmp_path / "a.jsonl")
    paths[-1].write_text("\n".join(map(json.dumps, table.to_dicts())))
    paths.append(tmp_path / "text.jsonl")
    paths[-1].write_text("\n".join(json.dumps({k: str(v) for k, v in row.items()}) for row in table.to_dicts()))
    paths.append(tmp_path / "a.zip")
    with zipfile.ZipFile(paths[-1], "w") as archive:
        archive.writestr("a.csv", paths[0].read_text())
    for path in paths:
        source, found = only(read_streams([path], instrument="x:A/B", block_rows=block_rows))
        assert source == ("x:A/B", KLINES), path
        assert found.tobytes() == rows.tobytes(), path
        assert not found.flags.writeable


OFFICIAL = [
    f"{MS + i * 60_000},{10 + i}.0,{12 + i}.0,{9 + i}.0,{11 + i}.0,{i}.5,{MS + i * 60_000 + 59_999},{i}.25,3,0.1,1.0,0"
    for i in range(3)
]
NAMES = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


@pytest.mark.parametrize("header", [None, NAMES, NAMES.replace("_", " ").title()])
@pytest.mark.parametrize("unit", ["", "000"])
def test_official_binance_dumps(tmp_path, header, unit):
    text = "\n".join(OFFICIAL)
    if unit:
        cells = [line.split(",") for line in OFFICIAL]
        text = "\n".join(",".join([c[0] + "000", *c[1:6], c[6] + "999", *c[7:]]) for c in cells)
    path = tmp_path / "BTCUSDT-1m-2025-06-21.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("BTCUSDT-1m-2025-06-21.csv", (f"{header}\n" if header else "") + text + "\n")
    (description,) = open_inputs([path]).describe()
    assert (description["layout"], description["feed"]) == ("binance-klines", KLINES)
    (name, _), rows = only(read_streams([path]))
    assert name == "binance:BTC/USDT"
    wanted = expected(3)
    wanted["quote_volume"] = [0.25, 1.25, 2.25]
    assert rows.tobytes() == wanted.tobytes()
    (name, _), _ = only(read_streams([path], exchange="binanceus"))
    assert name == "binanceus:BTC/USDT"


def test_official_dumps_of_other_lengths_say_their_length_by_their_close_times(tmp_path):
    cells = [line.split(",") for line in OFFICIAL[:1]]
    five = ",".join([cells[0][0], *cells[0][1:6], str(MS + 299_999), *cells[0][7:]])
    path = csv(tmp_path / "BTCUSDT-klines.csv", five, header=None)
    said("holds klines of 5m", "fetch the 1m klines", instrument="x:A/B")(path)


@pytest.mark.data
@pytest.mark.parametrize(
    ("path", "layout", "source", "count"),
    [
        (
            "klines_oracle/binance_spot_BTCUSDT-1m_20240726_20240825.feather",
            "freqtrade-bars",
            "binance:BTC/USDT",
            43_209,
        ),
        (
            "klines_oracle/binance_spot_ETHUSDT-1m_20240726_20240825.feather",
            "freqtrade-bars",
            "binance:ETH/USDT",
            43_208,
        ),
        ("klines_spot_btc_eth_2025-05_08/BTC_USDT-1m.feather", "freqtrade-bars", "binance:BTC/USDT", 130_708),
        (
            "klines_1m_futures_2025-05/XRP_USDT_USDT-1m-futures.feather",
            "freqtrade-bars",
            "binance:XRP/USDT:USDT",
            43_199,
        ),
        ("kraken_freqtrade/BTC_USDT-1m.feather", "freqtrade-bars", "binance:BTC/USDT", 5_388),
        ("freqtrade_testdata/XRP_ETH-1m.feather", "freqtrade-bars", "binance:XRP/ETH", 2_469),
        ("lean/crypto/coinbase/minute/btcusd/20161007_trade.zip", "lean-bars", None, 1_419),
    ],
)
def test_real_files(market_data, path, layout, source, count):
    named = {"exchange": "binance"} if source else {"instrument": "coinbase:BTC/USD"}
    (description,) = open_inputs([market_data / path], **named).describe()
    assert (description["layout"], description["feed"]) == (layout, KLINES)
    found, rows = only(read_streams([market_data / path], **named))
    assert (found, len(rows)) == ((source or "coinbase:BTC/USD", KLINES), count)
    assert first_faulty_kline(rows, MINUTE_NS) is None
    assert (np.diff(rows["ts_open"]) >= MINUTE_NS).all()


@pytest.mark.data
def test_times_of_lean_count_from_the_midnight_of_the_day_in_the_name(market_data):
    path = market_data / "lean/crypto/coinbase/minute/btcusd/20161007_trade.zip"
    _, rows = only(read_streams([path], instrument="coinbase:BTC/USD"))
    first = (1_475_798_400_000_000_000, 611.78, 611.91, 611.78, 611.9, 1.13872)
    assert rows[["ts_open", "open", "high", "low", "close", "volume"]][0].item() == first


@pytest.mark.data
@pytest.mark.parametrize(
    ("path", "length"),
    [
        ("klines_oracle/binance_spot_LTCUSDT-15m_20250524_20250623.feather", "15m"),
        ("klines_spot_btc_eth_2025-05_08/BTC_USDT-5m.feather", "5m"),
        ("kraken_freqtrade/ETH_BTC-1h.feather", "1h"),
        ("lean/crypto/coinbase/second/btcusd/20161007_trade.zip", "1s"),
    ],
)
def test_real_files_of_other_lengths(market_data, path, length):
    said(f"holds klines of {length}.", "fetch the 1m klines", instrument="x:A/B")(market_data / path)


def test_the_length_is_that_of_the_spacing_or_else_of_the_name(tmp_path):
    few, many = lines(2, 300_000), lines(20, 300_000)
    said("klines of 5m", instrument="x:A/B")(csv(tmp_path / "a.csv", *few))
    said("klines of 5m", instrument="x:A/B")(csv(tmp_path / "A-1m.csv", *many))
    said("klines of 4h", instrument="x:A/B")(csv(tmp_path / "A_B-4h.csv", *lines(1)))
    said("klines of 1d", instrument="x:A/B")(csv(tmp_path / "b.csv", *lines(3, 86_400_000)))
    said("klines of 30s", instrument="x:A/B")(csv(tmp_path / "b.csv", *lines(30, 30_000)))
    for path in (csv(tmp_path / "A-1m.csv", *few), csv(tmp_path / "c.csv", *lines(1))):
        assert len(only(read_streams([path], instrument="x:A/B"))[1])
    sparse = csv(tmp_path / "d.csv", *(lines(90)[i] for i in (0, 3, 5, 9, 20, 22, 31, 40, 44, 58, 70, 89)))
    assert len(only(read_streams([sparse], instrument="x:A/B"))[1]) == 12


def test_klines_still_forming_and_volumes_in_quote(tmp_path):
    rows = [f"{line},{9.5 + i},{closed}" for i, (line, closed) in enumerate(zip(lines(3), ("true", "1", "False")))]
    path = csv(tmp_path / "a.csv", *rows, header=f"{HEAD},quote_volume,is_closed")
    _, found = only(read_streams([path], instrument="x:A/B"))
    assert found["closed"].tolist() == [1, 1, 0]
    assert found["quote_volume"].tolist() == [9.5, 10.5, 11.5]


BAD = [
    ("x,12,9,11,1", "MALFORMED, open 'x' is not a number"),
    ("10,12,9,11,", "MALFORMED, volume is empty"),
    ("10,12,9,11", "MALFORMED, the row has not as many fields"),
    ("10,nan,9,11,1", "NON_FINITE, the row has open"),
    ("10,12,0,11,1", "NON_POSITIVE, the row has open"),
    ("10,1e13,9,11,1", "OUT_OF_RANGE, the row has open"),
    ("10,12,9,11,-1", "OUT_OF_RANGE, the row has open"),
    ("10,10.5,9,11,1", "OHLC_INCONSISTENT, the row has open"),
]


@pytest.mark.parametrize(("fields", "words"), BAD)
def test_bad_row(tmp_path, fields, words):
    rows = lines(7)
    path = csv(tmp_path / "a.csv", *rows[:3], f"{rows[3].split(',')[0]},{fields}", *rows[4:])
    for block_rows in (2, 131_072):
        said("a.csv, line 5: ", words, "--bad-rows dead-letter", instrument="x:A/B", block_rows=block_rows)(path)
    _, found = only(read_streams([path], instrument="x:A/B", bad_rows="dead-letter"))
    assert len(found) == 7
    assert first_faulty_kline(found, MINUTE_NS) == (3, words.split(",", maxsplit=1)[0])


def test_a_kline_off_the_minute(tmp_path):
    rows = lines(7)
    path = csv(tmp_path / "a.csv", *rows[:3], rows[3].replace(str(MS + 180_000), str(MS + 180_500)), *rows[4:])
    said("line 5: MISALIGNED", str(MS + 180_500), instrument="x:A/B")(path)


def test_a_file_of_lean_needs_the_day_in_its_name(tmp_path):
    rows = ["0,10,12,9,11,1", "60000,10,12,9,11,1", "120000,10,12,9,11,1"]
    said("does not say the day", "20161007_trade.csv", instrument="x:A/B")(csv(tmp_path / "a.csv", *rows, header=None))
    said("does not say the day", instrument="x:A/B")(csv(tmp_path / "20251399_trade.csv", *rows, header=None))
    rows[1] = "86400000,10,12,9,11,1"
    path = csv(tmp_path / "20250621_trade.csv", *rows, header=None)
    said("line 2", "86400000 is no number of milliseconds since midnight", instrument="x:A/B")(path)


def test_candles_of_other_prices_are_no_klines(tmp_path):
    table = pl.DataFrame({"date": [MS], **{name: [1.0] for name in ("open", "high", "low", "close", "volume")}})
    for kind in ("mark", "index", "premiumIndex"):
        path = tmp_path / f"BTC_USDT_USDT-8h-{kind}.feather"
        table.write_ipc(path)
        said(f"holds {kind} prices", "Leave the file out", exchange="binance")(path)


def test_klines_of_an_instrument_with_trades_are_there_to_check_its_bars_by(tmp_path):
    klines = csv(tmp_path / "A_USDT-1m.csv", *lines(2))
    trades = csv(tmp_path / "A_USDT-trades.csv", f"{MS},1.5,2", header="timestamp,price,qty")
    inputs = open_inputs([klines, trades], instrument="x:A/USDT")
    assert inputs.feeds == {"trades", "check.1m"}
    assert [told["feed"] for told in inputs.describe()] == ["check.1m", "trades"]
    found = read_streams([klines, trades], instrument="x:A/USDT")
    assert {stream: len(rows) for (_, stream), rows in found.items()} == {"trades": 1, "check.1m": 2}
    apart = open_inputs([klines], instrument="x:A/B") + open_inputs([trades], instrument="x:C/D")
    assert apart.feeds == {"trades", KLINES}
    both = apart + open_inputs([klines], instrument="x:C/D")
    assert both.feeds == {"trades", KLINES, "check.1m"}
    assert both.lacking == {"x:A/B": {"check.1m"}}


def test_an_instrument_that_turns_out_to_have_both_is_refused_when_it_does(tmp_path):
    rows = [f"{'x:A/B' if i < 5_000 else 'x:C/D'},{MS + i * 60_000},1.5,2" for i in range(5_010)]
    trades = csv(tmp_path / "trades.csv", *rows, header="instrument,timestamp,price,qty")
    late = [f"x:C/D,{line}" for line in lines(2)]
    klines = csv(tmp_path / "klines.csv", *late, header=f"instrument,{HEAD}")
    open_inputs([trades, klines])
    said("trades.csv holds trades of x:C/D only behind its beginning")(trades, klines)
