"""Columns that the user names, and exchanges of pairs that names or rows show."""

import pytest

from connectors.files import open_inputs, read_streams
from events.errors import InputError

MS = 1_750_507_200_000


def csv(path, *rows, header=None):
    path.write_text("\n".join([*([header] if header else []), *rows]) + "\n")
    return path


def read(path, columns, **options):
    ((_, stream), rows), *more = read_streams([path], instrument="x:A/B", columns=columns, **options).items()
    assert not more
    return stream, rows


def said(paths, *words, **options):
    with pytest.raises(InputError) as caught:
        read_streams(paths, **options)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert str(caught.value).endswith(".")


def test_columns_of_trades(tmp_path):
    path = csv(tmp_path / "a.csv", f"{MS},1.5,2,sell,9,7", header="when,Cost Each,vol,dir,nr,amount")
    columns = {"time": "when", "price": "cost each", "qty": "vol", "side": "dir", "id": "nr"}
    stream, rows = read(path, columns)
    assert stream == "trades"
    assert rows[["price", "qty", "side", "trade_id"]][0].item() == (1.5, 2.0, -1, 9)
    del columns["qty"]  # found by its common name
    assert read(path, columns)[1]["qty"].tolist() == [7.0]


def test_columns_of_bars_and_of_funding(tmp_path):
    path = csv(tmp_path / "a.csv", f"{MS},10,12,9,11,1,15", header="t,o,h,l,c,v,turnover")
    stream, rows = read(path, {"time": "t", "quote_volume": "turnover"})
    assert stream == "klines.1m"
    assert rows[["open", "high", "low", "close", "volume", "quote_volume"]][0].item() == (10, 12, 9, 11, 1, 15)
    path = csv(tmp_path / "b.csv", f"{MS},0.0001,8", header="t,r,hours")
    stream, rows = read(path, {"time": "t", "rate": "r", "interval_h": "hours"})
    assert (stream, rows["rate"][0], rows["interval_h"][0]) == ("funding", 0.0001, 8.0)


def test_columns_without_a_header_go_by_number(tmp_path):
    path = csv(tmp_path / "a.csv", f"7,{MS},2,1.5")
    assert read(path, {"id": "0", "time": "1", "qty": "2", "price": "3"})[1]["price"].tolist() == [1.5]


def test_one_map_serves_files_of_several_kinds(tmp_path):
    bars = csv(tmp_path / "a.csv", f"{MS},10,12,9,11,1", header="t,o,h,l,c,v")
    rates = csv(tmp_path / "b.csv", f"{MS},0.0001,8", header="t,r,interval_h")
    found = read_streams([bars, rates], instrument="x:A/B", columns={"time": "t", "open": "o", "rate": "r"})
    assert sorted(found) == [("x:A/B", "funding"), ("x:A/B", "klines.1m")]


def test_roles_and_columns_that_do_not_exist(tmp_path):
    path = csv(tmp_path / "a.csv", f"{MS},1.5,2", header="when,price,qty")
    said([path], "role 'prize'", "Did you mean price?", "trades: time, price, qty", "funding rates: time, rate",
         instrument="x:A/B", columns={"prize": "p"})  # fmt: skip
    said([path], "a.csv does not fit --columns: as trades it lacks price=px", "Its columns are when, price, qty",
         instrument="x:A/B", columns={"time": "when", "price": "px"})  # fmt: skip
    said([path], "as trades it lacks time (", instrument="x:A/B", columns={"price": "price"})
    said(
        [path],
        "as klines it lacks open=o; close=c; time (",
        "high (high or h)",
        instrument="x:A/B",
        columns={"open": "o", "close": "c"},
    )
    said([path], "and so does --layout", instrument="x:A/B", columns={"time": "when"}, layout="tidewax")


def test_an_exchange_and_pairs_in_names(tmp_path):
    header = "timestamp,price,qty"
    names = {
        "BTC_USDT_USDT-trades.csv": "x:BTC/USDT:USDT",
        "trades_ETHUSDT.csv": "x:ETH/USDT",
        "LTC-EUR.csv": "x:LTC/EUR",
    }
    paths = [csv(tmp_path / name, f"{MS},1.5,2", header=header) for name in names]
    assert open_inputs(paths, exchange="x").instruments == tuple(names.values())
    day = csv(tmp_path / "day.csv", f"{MS},1.5,2", header=header)
    said([day], "--exchange x needs the pair in the file's name", "--instrument x:BASE/QUOTE", exchange="x")
    said([day], "name only the exchange with --exchange")
    said([day], "not both", exchange="x", instrument="x:A/B")
    said([day], "'Binance US' is not an exchange", exchange="Binance US")


def test_an_exchange_and_symbols_in_rows(tmp_path):
    header = "timestamp,symbol,price,qty"
    path = csv(
        tmp_path / "a.csv", *(f"{MS},{s},1,2" for s in ("BTC/USDT:USDT", "ethusdt", "BTC/USDT:USDT")), header=header
    )
    found = read_streams([path], exchange="x")
    assert {name: len(rows) for (name, _), rows in found.items()} == {"x:BTC/USDT:USDT": 2, "x:ETH/USDT": 1}
    said([path], "several symbols", "--exchange", instrument="x:BTC/USDT:USDT")
    odd = csv(tmp_path / "b.csv", f"{MS},BTC/USDT,1,2", f"{MS},PERP,1,2", header=header)
    said([odd], "line 3", "'PERP' ends in no known quote currency", exchange="x")
    own = csv(tmp_path / "c.csv", f"y:A/B,{MS},1,2", header="instrument,timestamp,price,qty")
    said([own], "line 2", "'y:A/B', not of --exchange x", "Leave --exchange out", exchange="x")
    assert open_inputs([own], exchange="y").instruments == ("y:A/B",)
