"""What is wrong with a file is said in a sentence: where, what, and what to do."""

import gzip
import json
import zipfile
from contextlib import suppress

import numpy as np
import polars as pl
import pytest

from connectors.files import open_inputs, read_trades
from events.errors import InputError
from events.schema import MALFORMED
from events.validation import first_faulty_trade

MS = 1_750_507_200_000


def csv(path, *rows, header="timestamp,price,qty,side,id"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def said(*words, instrument="x:A/B", **options):
    """The message of the InputError that reading gives."""

    def check(path):
        with pytest.raises(InputError) as caught:
            read_trades([path], instrument=instrument, **options)
        for word in words:
            assert word in str(caught.value), str(caught.value)
        assert str(caught.value).endswith(".")

    return check


def good(count):
    return [f"{MS + i},1.5,2,buy,{i}" for i in range(count)]


def test_columns_that_fit_nothing(tmp_path):
    path = csv(tmp_path / "a.csv", "1,2,3", header="open,high,low")
    said(
        "open, high, low",
        "binance-aggtrades, binance-trades, binance-stream, binance-liquidations",
        "--columns time=...,price=...,qty=...",
    )(path)
    said("does not fit --layout freqtrade", "it lacks time (timestamp)", "open, high, low", layout="freqtrade")(path)


def test_layout_that_is_misspelt(tmp_path):
    path = csv(tmp_path / "a.csv", *good(1))
    said("--layout 'freqtrad' is not known", "Did you mean freqtrade?", layout="freqtrad")(path)
    said("The layouts are", layout="xyz")(path)
    said("--bad-rows 'drop'", bad_rows="drop")(path)


def test_lines_above_the_header(tmp_path):
    path = csv(tmp_path / "a.csv", "time,price,qty", f"{MS},1.5,2", header="https://www.example.com")
    said("line 1, 'https://www.example.com', does not name the columns", "Remove the lines")(path)


def test_spreadsheet(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    said("is a spreadsheet", "CSV")(tmp_path / "a.xlsx")


def test_newest_row_first(tmp_path):
    rows = [f"{MS + 60_000 * i},1.5,2,buy,{i}" for i in range(20)]
    said("not in the order of time", "oldest row first")(csv(tmp_path / "a.csv", *rows[::-1]))
    said("not in the order of time")(csv(tmp_path / "a.csv", *rows[7:], *rows[:7][::-1], *rows[7:9], *rows[:12]))
    assert len(read_trades([csv(tmp_path / "a.csv", *rows[9:], *rows[:9])], instrument="x:A/B")["x:A/B"]) == 20
    newest_first = csv(tmp_path / "a.csv", *rows[::-1])
    assert len(read_trades([newest_first], instrument="x:A/B", bad_rows="dead-letter")["x:A/B"]) == 20
    # one instrument after the other is no order of time either
    rows = [f"x:A/C,{MS + 60_000 * i},1,1" for i in range(90, 99)] + [f"x:B/C,{MS + 60_000 * i},1,1" for i in range(40)]
    said("not in the order of time", instrument=None)(
        csv(tmp_path / "b.csv", *rows, header="instrument,time,price,qty")
    )


def test_file_that_is_named_twice(tmp_path):
    path = csv(tmp_path / "a.csv", *good(2))
    with pytest.raises(InputError, match="named twice"):
        open_inputs([path, tmp_path / "." / "a.csv"], instrument="x:A/B")


def test_no_header(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"{MS},1.5,2\n")
    said("has no header", f"{MS},1.5,2", "timestamp,price,qty,side,trade_id")(path)


def test_no_instrument(tmp_path):
    for name, pair in [
        ("BTC_USDT-trades.csv", "BTC/USDT"),
        ("trades_ETHUSDT.csv", "ETH/USDT"),
        ("LTC-EUR.csv", "LTC/EUR"),
        ("day.csv", "BTC/USDT"),
        ("SOL_USDT_USDT-trades.csv", "SOL/USDT:USDT"),
    ]:
        said(f"for example --instrument binance:{pair} if", instrument=None)(csv(tmp_path / name, *good(1)))


def test_instrument_that_is_malformed(tmp_path):
    path = csv(tmp_path / "a.csv", *good(1))
    said("'BTCUSDT' is not an instrument", "such as binance:BTC/USDT", instrument="BTCUSDT")(path)
    said("is not an instrument", instrument="BTC/USDT")(path)
    path = csv(tmp_path / "b.csv", f"x:A/B,{MS},1,1", f"nonsense,{MS},1,1", header="instrument,time,price,qty")
    said("line 3", "'nonsense' is not an instrument", instrument=None)(path)


def test_instrument_beside_the_files_own(tmp_path):
    path = csv(tmp_path / "a.csv", f"x:A/B,{MS},1,1", f"x:C/D,{MS},1,1", header="instrument,time,price,qty")
    said("line 3", "'x:C/D', not of --instrument x:A/B", "Leave --instrument out")(path)
    said("line 2", "'x:A/B', not of --instrument y:A/B", instrument="y:A/B")(path)
    header = "timestamp,symbol,price,amount,side"
    path = csv(tmp_path / "b.csv", f"{MS},BTC/USDT,1,1,buy", header=header)
    said("'BTC/USDT', not of --instrument x:ETH/USDT", instrument="x:ETH/USDT")(path)
    said("holds the symbol 'BTC/USDT'", "--instrument binance:BTC/USDT", instrument=None)(path)
    path = csv(tmp_path / "c.csv", f"{MS},BTC/USDT,1,1,buy", f"{MS},ETH/USDT,1,1,buy", header=header)
    said("line 3", "several symbols", "split the file", instrument="x:BTC/USDT")(path)


def test_symbol_that_cannot_be_split(tmp_path):
    path = tmp_path / "a.jsonl"
    event = {"e": "trade", "s": "BTCUSD_PERP", "t": 1, "p": "1", "q": "1", "T": MS, "m": True, "X": "MARKET"}
    path.write_text(json.dumps(event) + "\n")
    said("'BTCUSD_PERP' ends in no known quote currency", "--instrument", instrument=None)(path)
    assert len(read_trades([path], instrument="binance:BTC/USD:BTC")["binance:BTC/USD:BTC"]) == 1


def test_times_of_another_unit_or_out_of_range(tmp_path):
    rows = good(5)
    for stamp in (MS // 1_000, MS * 1_000, 0, -5, 4_102_444_800_000):
        path = csv(tmp_path / "a.csv", *rows, f"{stamp},1,1,buy,9", *rows)
        for bad_rows in ("refuse", "dead-letter"):
            said(
                "line 7", f"timestamp {stamp} is not a time between 2009 and 2100 in ms", "correct", bad_rows=bad_rows
            )(path)
    said("line 2", "timestamp 17 is not a time", "in s, ms, us or ns")(csv(tmp_path / "a.csv", "17,1,1,buy,9"))


def test_time_that_cannot_be_read(tmp_path):
    rows = good(5)
    for text in ("noon", "", "2025-13-01T00:00:00Z"):
        path = csv(tmp_path / "a.csv", *rows, f"{text},1,1,buy,9", *rows)
        for bad_rows in ("refuse", "dead-letter"):
            said("line 7", "is not a time", bad_rows=bad_rows)(path)
    path = csv(tmp_path / "a.csv", "2025-06-21T12:00:00Z,1,1,buy,9", "2025-06-21T12:60:00Z,1,1,buy,9")
    said("line 3", "2025-06-21T12:60:00Z")(path)


def test_time_as_people_write_it(tmp_path):
    for text in ("21.06.2025 12:00:00", "06/21/2025 12:00", "12:00:00"):
        path = csv(tmp_path / "a.csv", f"{text},1,1,buy,9")
        said("line 2", "is not a time. Write times as 2025-06-21 12:00:00", "date and time in one column")(path)


def test_decimal_comma(tmp_path):
    path = csv(tmp_path / "a.csv", f"{MS};1,5;2;buy;9", header="time;price;qty;side;id")
    said("line 2", "price '1,5' is not a number: write decimals with a point")(path)


def test_time_column_whose_name_says_another_unit(tmp_path):
    path = csv(tmp_path / "a.csv", f"{MS // 1_000},1,1", header="timestamp_ms,price,qty")
    said("'timestamp_ms' says by its name that it holds ms", "in s", "Rename")(path)
    path = csv(tmp_path / "a.csv", f"{MS},1,1", header="ts_event,price,qty")
    said("'ts_event' says by its name that it holds ns", "in ms")(path)


BAD = [
    ("x.5,2,buy", "MALFORMED, price 'x.5' is not a number", "MALFORMED"),
    ("1.5,,buy", "MALFORMED, qty is empty", "MALFORMED"),
    ("0,2,buy", "NON_POSITIVE, the row has price", "NON_POSITIVE"),
    ("1.5,-2,buy", "qty '-2'", "NON_POSITIVE"),
    ("nan,2,buy", "NON_FINITE", "NON_FINITE"),
    ("inf,2,buy", "NON_FINITE", "NON_FINITE"),
    ("1e13,2,buy", "OUT_OF_RANGE", "OUT_OF_RANGE"),
    ("1.5,2,up", "side 'up'", "BAD_SIDE"),
    ("1.5,2,buy,1,1", "MALFORMED, the row has not as many fields", "MALFORMED"),
    ("1.5,2", "MALFORMED, the row has not as many fields", "MALFORMED"),
]


@pytest.mark.parametrize(("fields", "words", "reason"), BAD)
def test_bad_row(tmp_path, fields, words, reason):
    row = f"{MS},{fields}" + (",7" if fields.count(",") == 2 else "")
    path = csv(tmp_path / "a.csv", *good(3), "", row, *good(3), f"{MS},also bad,1,buy,7")
    for block_rows in (2, 131_072):
        said("a.csv, line 6: ", words, "--bad-rows dead-letter", block_rows=block_rows)(path)
    rows = read_trades([path], instrument="x:A/B", bad_rows="dead-letter")["x:A/B"]
    assert len(rows) == 8
    bad = [i for i in range(8) if first_faulty_trade(rows[i : i + 1])]
    assert len(bad) == 2
    assert reason in {first_faulty_trade(rows[i : i + 1])[1] for i in bad}
    malformed = rows[(rows["flags"] & MALFORMED) != 0]
    assert len(malformed) == (2 if reason == "MALFORMED" else 1)
    assert np.isnan(rows["price"]).sum() >= 1


def test_bad_row_of_a_table(tmp_path):
    path = tmp_path / "a.parquet"
    table = pl.DataFrame({"time": [MS + i for i in range(9)], "price": [1.0] * 9, "qty": [1.0] * 4 + [0.0] + [1.0] * 4})
    table.write_parquet(path)
    said("row 5: NON_POSITIVE", "qty 0.0", block_rows=2)(path)
    table.with_columns(price=pl.Series(["1"] * 8 + ["?"])).write_parquet(path)
    said("row 5: NON_POSITIVE")(path)
    rows = read_trades([path], instrument="x:A/B", bad_rows="dead-letter")["x:A/B"]
    assert rows["flags"].tolist() == [0] * 8 + [MALFORMED]


def test_bad_json_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    line = json.dumps({"timestamp": MS, "price": 1.0, "qty": 1})
    for bad, words in (("{", "no JSON"), ("[1]", "no JSON object"), ('{"timestamp":[]}', "not of the layout")):
        path.write_text("\n".join([line, "", bad, line]))
        said("line 3", words)(path)
    path.write_text("\n".join([line, json.dumps({"timestamp": MS, "price": "x", "qty": 1})]))
    said("line 2: MALFORMED, price 'x'")(path)
    path.write_text("\n".join([line, json.dumps({"price": 1, "qty": 1})]))
    said("line 2: timestamp None is not a time", bad_rows="dead-letter")(path)
    path.write_text("[\n" + line + "]")
    said("is a JSON list")(path)


def test_bad_stream_line(tmp_path):
    path = tmp_path / "a.jsonl"
    event = {"e": "trade", "s": "BTCUSDT", "t": 1, "p": "1", "q": "1", "T": MS, "m": True, "M": True}
    path.write_text(json.dumps(event) + "\n" + json.dumps(event)[:-4] + "\n")
    said("line 2", "no trade message of Binance", instrument=None)(path)
    path.write_text(json.dumps(event) + "\n" + json.dumps(event | {"p": "x"}) + "\n")
    said("line 2: MALFORMED, price 'x'", instrument=None)(path)
    path.write_text(json.dumps({"e": "depthUpdate", "s": "BTCUSDT"}) + "\n")
    said("holds no trade", instrument=None)(path)


def test_missing_directory_empty(tmp_path):
    said("there is no such file")(tmp_path / "none.csv")
    said("is a directory", "*.csv")(tmp_path)
    (tmp_path / "a.csv").write_bytes(b"")
    said("is empty")(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes(b"\n\n")
    said("is empty")(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes(b"time,price,qty\n")
    said("holds no rows")(tmp_path / "a.csv")
    pl.DataFrame({"time": pl.Series([], dtype=pl.Int64), "price": [], "qty": []}).write_parquet(tmp_path / "a.parquet")
    said("holds no rows")(tmp_path / "a.parquet")
    with gzip.open(tmp_path / "a.csv.gz", "wb"):
        pass
    said("is empty")(tmp_path / "a.csv.gz")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("README.md", "x")
    said("holds no data file")(tmp_path / "a.zip")
    with pytest.raises(InputError, match="No input file"):
        open_inputs([])


@pytest.fixture
def big(tmp_path):
    rng = np.random.default_rng(7)
    count = 40_000
    return pl.DataFrame(
        {"time": MS + np.arange(count), "price": rng.uniform(1, 2, count), "qty": rng.uniform(1, 2, count)}
    )


def written(table, path):
    text = table.write_csv().encode()
    match path.suffix:
        case ".gz":
            with gzip.open(path, "wb") as file:
                file.write(text)
        case ".zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("a.csv", text)
        case ".parquet":
            table.write_parquet(path, row_group_size=4_000)
        case ".feather":
            table.write_ipc(path, compression="lz4")
        case _:
            path.write_bytes(text)
    return path


@pytest.mark.parametrize("name", ["a.csv.gz", "a.zip", "a.parquet", "a.feather"])
def test_damaged_files(big, tmp_path, name):
    path = written(big, tmp_path / name)
    whole = path.read_bytes()
    assert len(read_trades([path], instrument="x:A/B")["x:A/B"]) == len(big)
    path.write_bytes(whole[: len(whole) // 2])
    said(name)(path)
    path.write_bytes(b"\0" * 100 + whole[100:])
    said(name, "does not begin as a")(path)
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 400] = b"\xa5" * 400
    path.write_bytes(damaged)
    if name in ("a.parquet", "a.feather"):  # without checksums not all damage shows, but none is a traceback
        with suppress(InputError):
            read_trades([path], instrument="x:A/B")
    else:
        said(name)(path)


def test_damage_in_the_middle_is_found_when_it_is_reached(big, tmp_path):
    path = written(big, tmp_path / "a.csv.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1_000])
    assert open_inputs([path], instrument="x:A/B").instruments == ("x:A/B",)
    said("is cut short", "Fetch it again")(path)
    damaged = bytearray(whole)
    damaged[-4_000:-3_000] = bytes(1_000)
    path.write_bytes(damaged)
    open_inputs([path], instrument="x:A/B")
    said("is damaged")(path)


def test_undecodable_bytes(tmp_path):
    path = csv(tmp_path / "a.csv", *good(3))
    path.write_bytes(path.read_bytes().replace(b"buy,1", b"b\xff\xfey,1"))
    said("line 3: the bytes are no UTF-8 text")(path)
    path.write_bytes("timestamp,price,qty\n".encode("utf-16"))
    said("no UTF-8 text")(path)
    path = csv(tmp_path / "b.csv", *good(3_000))
    path.write_bytes(path.read_bytes().replace(b"buy,2900", b"b\xffy,2900"))
    said("line 2902: the bytes are no UTF-8 text", bad_rows="dead-letter")(path)


def test_two_kinds_of_ids_of_one_instrument(tmp_path):
    trades, aggregates = tmp_path / "BTCUSDT-trades-2025-06-21.csv", tmp_path / "BTCUSDT-aggTrades-2025-06-21.csv"
    trades.write_text(f"7,1.5,2.0,3.0,{MS},True\n")
    aggregates.write_text(f"7,1.5,2.0,3,4,{MS},True\n")
    with pytest.raises(InputError, match="every trade would count twice"):
        open_inputs([trades, aggregates])
    with pytest.raises(InputError, match="every trade would count twice"):
        open_inputs([trades]) + open_inputs([aggregates])


def test_a_column_of_another_type(tmp_path):
    path = tmp_path / "a.parquet"
    pl.DataFrame({"time": [[1]], "price": [1.0], "qty": [1.0]}).write_parquet(path)
    said("column 'time' is of type", "not a time")(path)
