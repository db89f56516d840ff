"""Tables of what stands beside trades: layouts, delays of publication, the file that is written is the file that is read."""

import json

import numpy as np
import polars as pl
import pytest
from beside import book, samples

from connectors.files import FILED, open_inputs, read_streams
from connectors.files.writer import rows_file
from events.errors import InputError
from events.feeds import BOOKS, CONTEXT, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, RATES, TICKERS, TOPS, TRADES
from events.schema import NEVER
from events.times import HOUR_NS, MINUTE_NS, SECOND_NS

KEY, OTHER = "x:A/B", "x:C/D"
T = 1_750_507_200
NS = SECOND_NS


def csv(path, header, *rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def only(*paths, **options):
    """The rows of the one stream of these files."""
    ((_, rows),) = read_streams(paths, **{"instrument": KEY} | options).items()
    return rows


TABLES = {
    OPEN_INTEREST: ("timestamp,open_interest,oi_usd", f"{T},1000.5,", f"{T + 300},1001,99000"),
    LONG_SHORT: ("timestamp,long_account,basis", f"{T},0.25,accounts", f"{T + 300},0.5,taker"),
    LIQUIDATIONS: ("timestamp,price,qty,pos", f"{T},100.5,2,long", f"{T + 300},100,3,short"),
    TICKERS: ("timestamp,mark_price,index_price,last", f"{T},100.5,100.25,", f"{T + 300},101,100.75,100.5"),
    TOPS: ("timestamp,bid,bid_qty,ask,ask_qty", f"{T},100,1,101,2", f"{T + 300},99,1,101,3"),
    CONTEXT: ("timestamp,value", f"{T},17", f"{T + 300},71"),
    BOOKS: (
        "timestamp,u_first,u_last,price,qty,side,kind,last",
        f"{T},,7,100,1,bid,snapshot,0",
        f"{T},,7,101,2,ask,snapshot,1",
        f"{T + 300},8,9,100,0,buy,delta,1",
    ),
}
DELAY_S = {OPEN_INTEREST: 60, LONG_SHORT: 60, CONTEXT: 3_600}


def as_json(path, text):
    header, *rows = (line.split(",") for line in text)
    lines = [{name: value or None for name, value in zip(header, row)} for row in rows]
    numbers = [
        {k: float(v) if k not in ("side", "kind", "pos", "basis") and v else v for k, v in line.items()}
        for line in lines
    ]
    for line in numbers:
        line["timestamp"] = int(line["timestamp"])
    path.write_text("".join(json.dumps(line) + "\n" for line in numbers))
    return path


@pytest.mark.parametrize("stream", TABLES)
def test_tables_of_each_stream(tmp_path, stream):
    rows = only(csv(tmp_path / "a.csv", *TABLES[stream]))
    delay = DELAY_S.get(stream, 0) * NS
    times = sorted({T * NS + delay, (T + 300) * NS + delay})
    assert sorted(set(rows["available_at"].tolist())) == times
    if "ts_event" in rows.dtype.names:
        assert rows["ts_event"].tolist() == [T * NS, (T + 300) * NS]
    assert rows["ts_recv"].tolist() == rows["available_at"].tolist()
    assert only(as_json(tmp_path / "a.jsonl", TABLES[stream])).tobytes() == rows.tobytes()
    table = pl.read_csv(tmp_path / "a.csv")
    table.write_parquet(tmp_path / "a.parquet")
    assert only(tmp_path / "a.parquet").tobytes() == rows.tobytes()


def test_what_the_values_mean(tmp_path):
    found = {stream: only(csv(tmp_path / f"{stream}.csv", *text)) for stream, text in TABLES.items()}
    assert np.isnan(found[OPEN_INTEREST]["oi_usd"][0])
    assert found[OPEN_INTEREST][["oi_base", "oi_usd"]][1].item() == (1001.0, 99000.0)
    assert found[LONG_SHORT][["long_frac", "basis", "period_s"]].tolist() == [(0.25, 0, 300), (0.5, 2, 300)]
    assert found[LIQUIDATIONS]["pos"].tolist() == [1, -1]
    assert len(set(found[LIQUIDATIONS]["liq_id"].tolist())) == 2
    assert found[TICKERS][["mark", "index"]].tolist() == [(100.5, 100.25), (101.0, 100.75)]
    assert np.isnan(found[TICKERS]["last"][0])
    assert found[CONTEXT][["value", "name"]].tolist() == [(17.0, 0), (71.0, 0)]
    assert found[BOOKS][["u_first", "u_last", "u_prev", "price", "qty", "side", "kind", "last"]].tolist() == [
        (NEVER, 7, NEVER, 100.0, 1.0, 1, 1, 0),
        (NEVER, 7, NEVER, 101.0, 2.0, -1, 1, 1),
        (8, 9, NEVER, 100.0, 0.0, 1, 0, 1),
    ]
    ratio = only(csv(tmp_path / "r.csv", "timestamp,long_short_ratio,basis", f"{T},3,positions"))
    assert ratio[["long_frac", "basis"]].tolist() == [(0.75, 1)]


def test_the_delay_of_publication_is_a_setting(tmp_path):
    path = csv(tmp_path / "a.csv", *TABLES[OPEN_INTEREST])
    assert only(path, delay_s={OPEN_INTEREST: 5.5})["available_at"][0] == T * NS + 5_500_000_000
    told = csv(tmp_path / "b.csv", "timestamp,oi_base,available_at", f"{T},1,{T + 7}", f"{T + 300},2,")
    assert only(told)["available_at"].tolist() == [(T + 7) * NS, (T + 360) * NS]
    with pytest.raises(InputError, match=r"input\.delay names the stream 'interest'"):
        open_inputs([path], delay_s={"interest": 1.0})


def test_context_of_no_instrument_is_of_all(tmp_path):
    fear = csv(tmp_path / "fear.csv", *TABLES[CONTEXT])
    rows = [f"{KEY},{T},1,1", f"{OTHER},{T + 9},1,1", f"{KEY},{T + 7_200},1,1"]
    trades = csv(tmp_path / "trades.csv", "instrument,timestamp,price,qty", *rows)
    found = read_streams([fear, trades])
    assert sorted(found) == [(KEY, CONTEXT), (KEY, TRADES), (OTHER, CONTEXT), (OTHER, TRADES)]
    assert found[KEY, CONTEXT].tobytes() == found[OTHER, CONTEXT].tobytes()
    assert found[KEY, CONTEXT]["available_at"].tolist() == [T * NS + HOUR_NS, (T + 300) * NS + HOUR_NS]
    inputs = open_inputs([fear, trades])
    assert inputs.instruments == (KEY, OTHER)
    inputs.check_driven()
    assert list(read_streams([fear, trades], feeds=[CONTEXT, TRADES])) == list(found)


def test_the_official_dump_of_metrics_is_two_streams(tmp_path):
    path = csv(
        tmp_path / "BTCUSDT-metrics-2025-06-21.csv",
        "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
        "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio",
        "2025-06-21 12:00:00,BTCUSDT,80000.5,8000050000,1.5,1.2,3,0.9",
        "2025-06-21 12:05:00,BTCUSDT,80001.5,8000150000,1.5,1.2,1,0.9",
    )
    found = read_streams([path])
    name = "binance:BTC/USDT:USDT"
    assert sorted(found) == [(name, LONG_SHORT), (name, OPEN_INTEREST)]
    assert found[name, OPEN_INTEREST]["oi_base"].tolist() == [80000.5, 80001.5]
    assert found[name, LONG_SHORT]["long_frac"].tolist() == [0.75, 0.5]
    assert found[name, OPEN_INTEREST]["available_at"][0] == T * NS + MINUTE_NS
    assert list(read_streams([path], feeds=[LONG_SHORT])) == [(name, LONG_SHORT)]


def test_the_official_dump_of_liquidations(tmp_path):
    path = csv(
        tmp_path / "BTCUSDT-liquidationSnapshot-2025-06-21.csv",
        "time,side,order_type,time_in_force,original_quantity,price,average_price,order_status,last_fill_quantity,"
        "accumulated_fill_quantity",
        f"{T}000,SELL,LIMIT,IOC,2,99,100.5,FILLED,1,2",
        f"{T}500,BUY,LIMIT,IOC,3,102,101,FILLED,1,3",
    )
    ((name, rows),) = ((name, rows) for (name, _), rows in read_streams([path]).items())
    assert name == "binance:BTC/USDT:USDT"
    assert rows[["price", "qty", "pos"]].tolist() == [(100.5, 2.0, 1), (101.0, 3.0, -1)]


@pytest.mark.parametrize(
    ("stream", "bad", "words"),
    [
        (OPEN_INTEREST, f"{T + 600},-1,", "OUT_OF_RANGE"),
        (OPEN_INTEREST, f"{T + 600},n/a,", "MALFORMED, oi_base 'n/a' is not a number"),
        (LONG_SHORT, f"{T + 600},0.5,nobody", "MALFORMED"),
        (LONG_SHORT, f"{T + 600},1.5,taker", "OUT_OF_RANGE"),
        (LIQUIDATIONS, f"{T + 600},1,1,up", "BAD_SIDE"),
        (LIQUIDATIONS, f"{T + 600},0,1,long", "NON_POSITIVE"),
        (TOPS, f"{T + 600},101,1,100,1", "CROSSED"),
        (TICKERS, f"{T + 600},-5,,", "NON_POSITIVE"),
        (CONTEXT, f"{T + 600},101", "OUT_OF_RANGE"),
        (BOOKS, f"{T + 600},1,2,100,1,up,delta,1", "BAD_SIDE"),
        (BOOKS, f"{T + 600},1,x,100,1,bid,delta,1", "MALFORMED"),
        (BOOKS, f"{T + 600},1,2,100,1,bid,delta,maybe", "MALFORMED"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path, stream, bad, words):
    path = csv(tmp_path / "a.csv", *TABLES[stream], bad)
    with pytest.raises(InputError) as caught:
        only(path)
    assert f"line {len(TABLES[stream]) + 1}: {words}" in str(caught.value)
    assert len(only(path, bad_rows="dead-letter")) == len(TABLES[stream])


@pytest.mark.parametrize("stream", [name for name in FILED if name not in (TRADES, "klines.1m", RATES)])
def test_what_is_written_is_what_is_read(tmp_path, stream):
    rows = book(200, 4, skips=0.05) if stream == BOOKS else samples(stream, 300, 5)
    rows["ts_recv"] += 3
    path = tmp_path / "a.parquet"
    with rows_file(path, stream, KEY) as file:
        for at in range(0, len(rows), 97):
            file.write(rows[at : at + 97])
    for block_rows in (50, 131_072):
        found = read_streams([path], block_rows=block_rows)
        assert list(found) == [(KEY, stream)]
        assert found[KEY, stream].tobytes() == rows.tobytes()


def test_columns_by_role(tmp_path):
    path = csv(tmp_path / "a.csv", "when,oi", f"{T},5")
    assert only(path, columns={"time": "when", "oi_base": "oi"})["oi_base"].tolist() == [5.0]
    table = csv(tmp_path / "f.csv", "timestamp,rate,interval_h,predicted,ts_next", f"{T},0.0001,8,1,{T * NS}")
    assert only(table)[["predicted", "ts_next"]].tolist() == [(1, T * NS)]


@pytest.mark.parametrize("stream", [name for name in FILED if name not in (TRADES, "klines.1m", RATES)])
def test_the_parquet_files_of_a_tape_are_read_as_they_are(tmp_path, stream):
    """All fields of the rows, the null integer as it is, and the place on the tape."""
    rows = book(50, 4) if stream == BOOKS else samples(stream, 100, 5)
    columns = {name: rows[name] for name in rows.dtype.names} | {"place": np.arange(len(rows))}
    pl.DataFrame({"instrument": [KEY] * len(rows)} | columns).write_parquet(tmp_path / "a.parquet")
    found = read_streams([tmp_path / "a.parquet"])
    assert list(found) == [(KEY, stream)]
    assert found[KEY, stream].tobytes() == rows.tobytes()
