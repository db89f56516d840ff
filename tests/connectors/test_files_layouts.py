"""Each layout on real files, and one table in every format."""

import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from connectors.files import FILED, LAYOUTS, open_inputs, read_trades
from events.identity import id_hash
from events.schema import NEVER

HOUR_MS = 1_750_507_200_000


def only(trades):
    assert len(trades) == 1
    return next(iter(trades.items()))


def contiguous(rows):
    return bool((np.diff(rows["trade_id"]) == 1).all()) and bool((rows["seq"] == rows["trade_id"]).all())


@pytest.mark.data
@pytest.mark.parametrize(
    ("pattern", "counts"),
    [
        ("spot_*", {"binance:BTC/USDT": 19_904, "binance:ETH/USDT": 14_515}),
        ("hist_usdm_*", {"binance:BTC/USDT:USDT": 10_701}),
    ],
)
def test_binance_stream_recordings(market_data, pattern, counts):
    paths = sorted((market_data / "hftbacktest").glob(pattern))
    inputs = open_inputs(paths)
    assert {item["layout"] for item in inputs.describe()} == {"binance-stream"}
    assert [inputs.sequenced(instrument) for instrument in counts] == ["usdm" not in pattern] * len(counts)
    trades = read_trades(paths)
    assert {name: len(rows) for name, rows in trades.items()} == counts
    for rows in trades.values():
        assert contiguous(rows)
        behind = rows["available_at"] - rows["ts_recv"]
        assert 1e9 < np.median(behind) < 2e9  # the local clock is more than a second behind in these recordings
        assert set(np.unique(rows["side"])) == {-1, 1}


@pytest.mark.data
def test_binance_stream_first_trade(market_data):
    name, rows = only(read_trades([market_data / "hftbacktest" / "spot_btcusdt_20240808.gz"]))
    first = (1_723_161_255_342_000_000, 1_723_161_254_087_896_568, 3_735_683_259, 3_735_683_259, 61_837.63, 0.02, -1, 0)
    assert (name, rows[0].item()) == ("binance:BTC/USDT", first)


@pytest.mark.data
def test_side_follows_the_price(market_data):
    for path in ("spot_btcusdt_20240809.gz", "hist_usdm_btcusdt_20240719.gz"):
        _, rows = only(read_trades([market_data / "hftbacktest" / path]))
        assert (rows["side"][1:] * np.sign(np.diff(rows["price"]))).mean() > 0


@pytest.mark.data
def test_aster_csv(market_data):
    path = market_data / "aster_2025-09-24" / "trades_BTCUSDT.csv"
    assert open_inputs([path], instrument="aster:BTC/USDT:USDT").describe()[0]["layout"] == "tidewax"
    _, rows = only(read_trades([path], instrument="aster:BTC/USDT:USDT"))
    assert len(rows) == 62_032
    assert contiguous(rows)
    assert rows[0].item()[2:] == (22_232_268, 22_232_268, 112_978.8, 0.002, -1, 0)


@pytest.mark.data
def test_ltc_csv_of_overlapping_files(market_data):
    paths = sorted((market_data / "ltcusdt_spot_2025-06-21_22").glob("*.csv"))
    _, rows = only(read_trades(paths, instrument="binance:LTC/USDT"))
    expected = pl.concat([pl.read_csv(path) for path in paths]).sort("timestamp", "tradeId")
    assert (rows["trade_id"] == expected["tradeId"].to_numpy()).all()
    assert (rows["price"] == expected["price"].to_numpy()).all()


@pytest.mark.data
def test_official_aggregate_trades(market_data):
    path = market_data / "freqtrade_testdata" / "binance_vision" / "futures-APEUSDT-aggTrades-2024-10-18.zip"
    inputs = open_inputs([path])
    assert inputs.describe()[0]["layout"] == "binance-aggtrades"
    assert inputs.sequenced("binance:APE/USDT:USDT")
    name, rows = only(read_trades([path]))
    assert (name, len(rows), contiguous(rows)) == ("binance:APE/USDT:USDT", 45_342, True)
    assert rows[0].item()[2:] == (171_927_517, 171_927_517, 0.7097, 19.0, 1, 0)


@pytest.mark.data
@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("freqtrade_testdata/XRP_ETH-trades.feather", 12_477),
        ("kraken_freqtrade/BTC_USDT-trades.feather", 26_921),
        ("kraken_freqtrade/ETH_BTC-trades.feather", 9_282),
        ("freqtrade_testdata/orderflow_public_trades_list.csv", 1_000),
    ],
)
def test_freqtrade(market_data, path, count):
    inputs = open_inputs([market_data / path], instrument="kraken:A/B")
    assert inputs.describe()[0]["layout"] == "freqtrade"
    assert not inputs.sequenced("kraken:A/B")
    _, rows = only(read_trades([market_data / path], instrument="kraken:A/B"))
    expected = pl.read_csv(market_data / path) if path.endswith("csv") else pl.read_ipc(market_data / path)
    expected = expected.with_columns(pl.col("id").cast(pl.Int64)).sort("timestamp", "id")
    assert len(rows) == count
    assert (rows["available_at"] == expected["timestamp"].to_numpy() * 1_000_000).all()
    assert (rows["trade_id"] == expected["id"].to_numpy()).all()
    assert (rows["price"] == expected["price"].to_numpy()).all()
    assert (rows["qty"] == expected["amount"].to_numpy()).all()
    assert ((rows["side"] == 1) == (expected["side"] == "buy").to_numpy()).all()


@pytest.mark.data
def test_standx_parquet(market_data):
    path = market_data / "standx_btcusd" / "trades" / "trades_BTC-USD_2026-01-06_00.parquet"
    _, rows = only(read_trades([path], instrument="standx:BTC/USD"))
    expected = pl.read_parquet(path)
    assert (rows["available_at"] == expected["timestamp"].dt.timestamp("ns").to_numpy()).all()
    assert (rows["ts_recv"] == expected["received_at"].dt.timestamp("ns").to_numpy()).all()
    assert (rows["trade_id"] == NEVER).all()
    assert (rows["seq"] == np.arange(len(rows))).all()


@pytest.fixture
def table():
    return pl.DataFrame(
        {
            "timestamp": [HOUR_MS + 7 * i for i in range(40)],
            "id": list(range(100, 140)),
            "side": ["buy", "sell"] * 20,
            "price": [100.0 + i / 7 for i in range(40)],
            "qty": [0.1 * (i + 1) for i in range(40)],
        }
    )


def write_all(table, folder: Path):
    text = table.write_csv().encode()
    (folder / "a.csv").write_bytes(text)
    (folder / "crlf.csv").write_bytes(text.replace(b"\n", b"\r\n"))
    (folder / "bom.csv").write_bytes(b"\xef\xbb\xbf" + text.rstrip(b"\n"))
    (folder / "blank.csv").write_bytes(b"\n" + text.replace(b"\n", b"\n\n"))
    (folder / "quoted.csv").write_bytes(table.write_csv(quote_style="always").encode())
    (folder / "semicolon.csv").write_bytes(table.write_csv(separator=";").encode())
    with gzip.open(folder / "a.csv.gz", "wb") as file:
        file.write(text)
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", text)
    with zipfile.ZipFile(folder / "two.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("2.csv", table[25:].write_csv())
        archive.writestr("1.csv", table[:25].write_csv())
        archive.writestr("__MACOSX/._1.csv", "x")
    table.write_parquet(folder / "a.parquet", row_group_size=7)
    for compression in ("uncompressed", "lz4", "zstd"):
        table.write_ipc(folder / f"{compression}.feather", compression=compression)
    lines = "".join(json.dumps(row) + "\n" for row in table.to_dicts())
    (folder / "a.jsonl").write_text(lines)
    with gzip.open(folder / "a.jsonl.gz", "wt") as file:
        file.write(lines)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("block_rows", [5, 131_072])
def test_every_format_gives_the_same_rows(table, tmp_path, block_rows):
    paths = write_all(table, tmp_path)
    assert len(paths) == 15
    results = {path.name: read_trades([path], instrument="x:A/B", block_rows=block_rows)["x:A/B"] for path in paths}
    reference = results["a.csv"]
    assert (reference["price"] == table["price"].to_numpy()).all()
    assert reference["side"].tolist() == [1, -1] * 20
    for name, rows in results.items():
        assert rows.tobytes() == reference.tobytes(), name


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("ts_event,ts_recv,trade_id,price,qty,side", "1750507200001000000,1750507200002000000,7,1.5,2,1"),
        ("time,received_at,tradeId,Price,Amount,Side", "1750507200001,1750507200002,7,1.5,2,BUY"),
        ("timestamp,local_timestamp,Trade ID,px,size,taker_side", "1750507200.001,1750507200.002,7,1.5,2,b"),
        (
            "unix_timestamp_us,recv_time,id,price,quantity,is_buyer_maker",
            "1750507200001000,1750507200002000,7,1.5,2,False",
        ),
        ("datetime,received_at,id,price,qty,side", "2025-06-21T12:00:00.001Z,2025-06-21 12:00:00.002+00:00,7,1.5,2,1"),
        ("date,ts_recv,id,price,qty,side", "2025-06-21 12:00:00.001,1750507200002000000,7,1.5,2,1.0"),
    ],
)
def test_common_names_and_units(tmp_path, header, row):
    path = tmp_path / "t.csv"
    path.write_text(f"{header}\n{row}\n")
    assert open_inputs([path], instrument="x:A/B").describe()[0]["layout"] == "tidewax"
    rows = read_trades([path], instrument="x:A/B")["x:A/B"]
    assert rows[0].item() == (1_750_507_200_001_000_000, 1_750_507_200_002_000_000, 7, 7, 1.5, 2.0, 1, 0)


def test_datetime_columns_of_any_unit(table, tmp_path):
    expected = [(HOUR_MS + 7 * i) * 1_000_000 for i in range(40)]
    for unit in ("ms", "us", "ns"):
        for zone in (None, "UTC", "Europe/Berlin"):
            path = tmp_path / f"{unit}.parquet"
            stamps = pl.from_epoch("timestamp", "ms").cast(pl.Datetime(unit)).dt.replace_time_zone("UTC")
            column = stamps.dt.convert_time_zone(zone) if zone else stamps.dt.replace_time_zone(None)
            table.with_columns(column).write_parquet(path)
            assert read_trades([path], instrument="x:A/B")["x:A/B"]["available_at"].tolist() == expected


def test_sides_in_all_spellings(tmp_path):
    path = tmp_path / "t.csv"
    spellings = ["buy", "SELL", "Buy", "s", "B", "1", "-1", "0", "", "unknown"]
    lines = [f"{HOUR_MS},1,1,{side}" for side in spellings]
    path.write_text("\n".join(["time,price,qty,side", *lines]))
    assert read_trades([path], instrument="x:A/B")["x:A/B"]["side"].tolist() == [1, -1, 1, -1, 1, 1, -1, 0, 0, 0]


def test_ids_that_are_no_integers(tmp_path):
    path = tmp_path / "t.csv"
    ids = ["5", "a-1", "", "007", "99999999999999999999", "-3"]
    path.write_text("\n".join(["time,price,qty,id", *(f"{HOUR_MS + i},1,1,{text}" for i, text in enumerate(ids))]))
    rows = read_trades([path], instrument="x:A/B")["x:A/B"]
    hashed = [id_hash(text) for text in ids]
    assert rows["trade_id"].tolist() == [5, hashed[1], NEVER, hashed[3], hashed[4], hashed[5]]
    assert rows["seq"].tolist() == [5, 1, 2, 3, 4, 5]


def unified(i, symbol, **more):
    trade = {
        "info": {"a": [1]},
        "timestamp": HOUR_MS + i,
        "datetime": "2025-06-21T12:00:00Z",
        "symbol": symbol,
        "id": str(i),
    }
    return trade | {"side": "buy", "price": 1.5 + i, "amount": 2, "cost": None, "takerOrMaker": None, "fees": []} | more


def test_ccxt_trades_of_several_instruments(tmp_path):
    path = tmp_path / "t.jsonl"
    trades = [unified(i, ("BTC/USDT", "ETH/USDT:USDT")[i % 2], exchange="okx") for i in range(6)]
    path.write_text("".join(json.dumps(trade) + "\n" for trade in trades))
    columns = ["timestamp", "symbol", "id", "side", "price", "amount", "exchange"]
    pl.DataFrame([{name: trade[name] for name in columns} for trade in trades]).write_parquet(tmp_path / "t.parquet")
    for name in ("t.jsonl", "t.parquet"):
        inputs = open_inputs([tmp_path / name])
        assert inputs.describe()[0]["layout"] == "ccxt"
        assert inputs.instruments == ("okx:BTC/USDT", "okx:ETH/USDT:USDT")
        found = read_trades([tmp_path / name])
        assert found["okx:BTC/USDT"]["trade_id"].tolist() == [0, 2, 4]
        assert found["okx:ETH/USDT:USDT"]["price"].tolist() == [2.5, 4.5, 6.5]


def test_ccxt_without_exchange_takes_the_instrument(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(unified(i, "BTC/USDT")) + "\n" for i in range(3)))
    assert list(read_trades([path], instrument="kraken:BTC/USDT")) == ["kraken:BTC/USDT"]


def test_instrument_column(tmp_path):
    path = tmp_path / "t.csv"
    names = ["x:A/B", "y:C/D", "x:A/B"]
    path.write_text(
        "\n".join(["instrument,ts_event,price,qty", *(f"{n},{HOUR_MS}000000,1,{i + 1}" for i, n in enumerate(names))])
    )
    found = read_trades([path])
    assert {name: rows["qty"].tolist() for name, rows in found.items()} == {"x:A/B": [1.0, 3.0], "y:C/D": [2.0]}


def test_named_layout_and_inputs_facts(table, tmp_path):
    path = tmp_path / "a.parquet"
    table.write_parquet(path)
    inputs = open_inputs([path], layout="tidewax", instrument="x:A/B")
    assert inputs.total_bytes == path.stat().st_size
    assert inputs.describe() == [
        {
            "path": str(path),
            "layout": "tidewax",
            "feed": "trades",
            "instruments": ["x:A/B"],
            "size": path.stat().st_size,
            "first_time": "2025-06-21T12:00:00Z",
        }
    ]
    assert {kind.feed for kind in LAYOUTS.values()} == set(FILED)


def test_kraken_dumps_have_no_header_no_ids_and_no_sides(market_data):
    folder = market_data / "freqtrade_testdata"
    files = [folder / "kraken_trades_csv_BCHEUR.csv", folder / "kraken_trades_csv_incremental_q2_BCHEUR.csv"]
    inputs = open_inputs(files, instrument="kraken:BCH/EUR")
    assert {item["layout"] for item in inputs.describe()} == {"kraken-dump"}
    assert not inputs.sequenced("kraken:BCH/EUR")
    rows = read_trades(files, instrument="kraken:BCH/EUR")["kraken:BCH/EUR"]
    assert len(rows) == sum(len(file.read_text().splitlines()) for file in files)
    assert (rows["available_at"] % 10**9 == 0).all()
    assert (rows["side"] == 0).all()
    assert (rows["trade_id"] == NEVER).all()
    assert rows["seq"].tolist() == list(range(len(rows)))
