"""Files of funding rates: each layout, the hours a rate is for, and what has to stand beside them."""

import json

import numpy as np
import polars as pl
import pytest

from connectors.files import FileSource, open_inputs, read_streams
from events.errors import InputError
from events.schema import NEVER
from events.times import HOUR_NS

MS = 1_750_464_000_000
HOURS = 3_600_000


def only(streams):
    assert len(streams) == 1
    return next(iter(streams.items()))


def csv(path, *rows, header="time,rate"):
    path.write_text("\n".join([*([header] if header else []), *rows]) + "\n")
    return path


def rates(count, hours=8, jitter=0):
    return [f"{MS + i * hours * HOURS + jitter * (i % 3)},{i}e-05" for i in range(count)]


@pytest.mark.data
@pytest.mark.parametrize(("symbol", "count"), [("BTC", 266), ("ETH", 302), ("SOL", 266), ("XRP", 266)])
def test_the_rate_of_freqtrade_stands_in_the_column_open(market_data, symbol, count):
    path = market_data / "klines_1m_futures_2025-05" / f"{symbol}_USDT_USDT-8h-funding_rate.feather"
    (description,) = open_inputs([path], exchange="binance").describe()
    assert (description["layout"], description["feed"]) == ("freqtrade-funding", "funding")
    source, rows = only(read_streams([path], exchange="binance"))
    table = pl.read_ipc(path.read_bytes())
    assert (source, len(rows)) == ((f"binance:{symbol}/USDT:USDT", "funding"), count)
    assert rows["rate"].tolist() == table["open"].to_list()
    assert rows["available_at"].tolist() == table["date"].dt.epoch("ns").to_list() == rows["ts_event"].tolist()
    assert (rows["interval_h"] == 8).all()
    assert (rows["ts_next"] == NEVER).all()
    assert np.isnan(rows["mark"]).all()
    assert rows["seq"].tolist() == list(range(count))


@pytest.mark.data
def test_a_file_without_a_header_as_lean_stores_it(market_data):
    path = market_data / "lean/cryptofuture/bybit/margin_interest/hist_btcusdt.csv"
    source, rows = only(read_streams([path], instrument="bybit:BTC/USDT:USDT"))
    assert (source[1], len(rows), rows["interval_h"][0], rows["rate"][0]) == ("funding", 3_922, 8.0, 0.0001)
    assert rows["available_at"][0] == 1_585_152_000_000_000_000


def test_official_binance_dumps_say_the_hours(tmp_path):
    header = "calc_time,funding_interval_hours,last_funding_rate"
    rows = [f"{MS},8,0.0001", f"{MS + 8 * HOURS + 3},4,-0.0002"]
    path = csv(tmp_path / "BTCUSDT-fundingRate-2025-06.csv", *rows, header=header)
    (description,) = open_inputs([path]).describe()
    assert description["layout"] == "binance-funding"
    (name, _), found = only(read_streams([path]))
    assert name == "binance:BTC/USDT:USDT"
    assert found[["rate", "interval_h"]].tolist() == [(0.0001, 8.0), (-0.0002, 4.0)]


def test_named_columns_and_the_hours_from_the_spacing_or_the_name(tmp_path):
    path = csv(tmp_path / "a.csv", *rates(20, 4, jitter=7))
    assert only(read_streams([path], instrument="x:A/B"))[1]["interval_h"].tolist() == [4.0] * 20
    path = csv(tmp_path / "A-8h-funding.csv", *rates(1))
    assert only(read_streams([path], instrument="x:A/B"))[1]["interval_h"].tolist() == [8.0]
    said(csv(tmp_path / "b.csv", *rates(1)), "for how many hours", "interval_h", instrument="x:A/B")
    path = tmp_path / "a.jsonl"
    line = {"timestamp": MS, "symbol": "BTC/USDT:USDT", "fundingRate": 1e-4, "interval_h": 8, "mark": 5.0, "index": 4.0}
    path.write_text(json.dumps(line) + "\n")
    (name, _), rows = only(read_streams([path], exchange="okx"))
    assert name == "okx:BTC/USDT:USDT"
    assert rows[["rate", "interval_h", "mark", "index"]][0].item() == (1e-4, 8.0, 5.0, 4.0)


def said(path, *words, **options):
    with pytest.raises(InputError) as caught:
        read_streams([path], **options)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("x", "MALFORMED, rate 'x' is not a number"),
        ("nan", "NON_FINITE"),
        ("0.2", "OUT_OF_RANGE, the row has rate"),
        ("", "MALFORMED, rate is empty"),
    ],
)
def test_bad_row(tmp_path, row, words):
    rows = rates(5)
    path = csv(tmp_path / "a.csv", *rows[:2], f"{MS + 16 * HOURS},{row}", *rows[3:])
    said(path, "line 4", words, "--bad-rows dead-letter", instrument="x:A/B")
    assert len(only(read_streams([path], instrument="x:A/B", bad_rows="dead-letter"))[1]) == 5


def test_rates_of_an_instrument_without_trades_or_klines(tmp_path):
    path = csv(tmp_path / "AA_USDT_USDT-8h.csv", *rates(3))
    other = csv(tmp_path / "CC_USDT-1m.csv", f"{MS},10,12,9,11,1", header="timestamp,open,high,low,close,volume")
    inputs = open_inputs([path, other], exchange="x")
    with pytest.raises(InputError, match=r"holds funding rates of x:AA/USDT:USDT.*The other files are of x:CC/USDT"):
        FileSource(inputs, 10)
    assert read_streams([path, other], exchange="x").keys() == {
        ("x:AA/USDT:USDT", "funding"),
        ("x:CC/USDT", "klines.1m"),
    }


def test_times_are_those_of_settlement(tmp_path):
    _, rows = only(read_streams([csv(tmp_path / "a.csv", *rates(3))], instrument="x:A/B"))
    assert np.diff(rows["available_at"]).tolist() == [8 * HOUR_NS] * 2
    assert (rows["available_at"] == rows["ts_recv"]).all()
