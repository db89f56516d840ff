"""Recordings of Binance websocket messages with all of their streams: made here, and real ones."""

import gzip
import json
from collections import defaultdict

import numpy as np
import pytest

from connectors.files import FileSource, open_inputs, read_streams
from events.errors import InputError
from events.feeds import BOOKS, LIQUIDATIONS, RATES, TICKERS, TOPS, TRADES
from events.frames import concat
from events.schema import BOOK_DELTA, BOOK_SNAPSHOT, NEVER
from operators.intake import Intake

MS = 1_723_161_255_000
NS = 1_000_000
SPOT, PERPETUAL = "binance:BTC/USDT", "binance:BTC/USDT:USDT"


def line(data, local_ms, stream="btcusdt@x"):
    local = f"{local_ms * NS} " if local_ms is not None else ""
    return local + json.dumps(data if stream is None else {"stream": stream, "data": data}, separators=(",", ":"))


def trade(i, at=None, **more):
    at = MS + 10 * i if at is None else at
    held = {"e": "trade", "E": at, "s": "BTCUSDT", "t": i, "p": "100.5", "q": "2.0", "T": at, "m": False, "M": True}
    return held | more


def depth(at, first, last, bids=(), asks=(), symbol="BTCUSDT", **more):
    levels = {"b": [list(level) for level in bids], "a": [list(level) for level in asks]}
    return {"e": "depthUpdate", "E": at, "s": symbol, "U": first, "u": last} | levels | more


def snapshot(nonce, **more):
    return {"lastUpdateId": nonce, "bids": [["100.0", "1"], ["99.5", "2"]], "asks": [["100.5", "3"]]} | more


def written(path, *lines):
    path.write_text("".join(f"{text}\n" for text in lines))
    return path


@pytest.fixture
def spot(tmp_path):
    """A spot recording whose local clock is 1.2 s behind, with a quote before any event."""
    return written(
        tmp_path / "spot.jsonl",
        line({"u": 9, "s": "BTCUSDT", "b": "100.0", "B": "1", "a": "100.5", "A": "3"}, MS - 1_195, "btcusdt@bookTicker"),
        line(depth(MS + 3, 8, 10, [("100.0", "1.5")], [("101.0", "0")]), MS - 1_190),
        line(depth(MS + 10, 11, 12, [("99.0", "4")]), MS - 1_190),
        line(snapshot(11), MS - 1_180, None),
        line(trade(1, MS + 15), MS - 1_178),
        line(depth(MS + 20, 13, 13), MS - 1_175),
        line({"u": 14, "s": "BTCUSDT", "b": "100.0", "B": "2", "a": "100.5", "A": "3"}, MS - 1_170, "btcusdt@bookTicker"),
    )  # fmt: skip


def test_one_file_is_of_all_its_streams(spot):
    inputs = open_inputs([spot])
    assert [told["feed"] for told in inputs.describe()] == [TRADES, BOOKS, TOPS]
    assert inputs.instruments == (SPOT,)
    assert inputs.notes == []
    found = read_streams([spot])
    assert {stream: len(rows) for (_, stream), rows in found.items()} == {TRADES: 1, BOOKS: 7, TOPS: 2}
    book = found[SPOT, BOOKS]
    assert book["available_at"].tolist() == [(MS + at) * NS for at in (3, 3, 10, 10, 10, 10, 20)]
    assert book["kind"].tolist() == [BOOK_DELTA] * 3 + [BOOK_SNAPSHOT] * 3 + [BOOK_DELTA]
    assert book["last"].tolist() == [0, 1, 1, 0, 0, 1, 1]
    assert book["side"].tolist() == [1, -1, 1, 1, 1, -1, 0]
    assert book["price"].tolist() == [100.0, 101.0, 99.0, 100.0, 99.5, 100.5, 0.0]
    assert book["qty"].tolist() == [1.5, 0.0, 4.0, 1.0, 2.0, 3.0, 0.0]
    assert book["u_first"].tolist() == [8, 8, 11, NEVER, NEVER, NEVER, 13]
    assert book["u_last"].tolist() == [10, 10, 12, 11, 11, 11, 13]
    assert set(book["u_prev"].tolist()) == {NEVER}
    assert book["seq"].tolist() == list(range(7))
    assert book["ts_recv"].tolist()[-1] == (MS - 1_175) * NS


def test_quotes_without_a_time_are_never_before_an_event_that_came_before_them(spot):
    quotes = read_streams([spot])[SPOT, TOPS]
    behind = 1_200  # the most by which an event was stated before it was received
    assert quotes["available_at"].tolist() == [(MS - 1_195 + behind) * NS, (MS - 1_170 + behind) * NS]
    assert quotes["no_event_time"].tolist() == [1, 1]
    assert quotes["seq"].tolist() == [9, 14]
    assert quotes[["bid", "bid_qty", "ask", "ask_qty"]][1].item() == (100.0, 2.0, 100.5, 3.0)


def test_a_local_clock_that_is_not_behind_is_taken_as_it_is(tmp_path):
    quote = {"u": 14, "s": "BTCUSDT", "b": "100.0", "B": "2", "a": "100.5", "A": "3"}
    path = written(tmp_path / "a.jsonl", line(trade(1, MS), MS + 40), line(quote, MS + 50, "btcusdt@bookTicker"))
    assert read_streams([path])[SPOT, TOPS]["available_at"].tolist() == [(MS + 50) * NS]


def test_a_snapshot_before_the_first_update_stands_at_that_update(tmp_path):
    path = written(
        tmp_path / "a.jsonl",
        line(snapshot(7, E=MS - 9), 1_700_000_000_000, None),
        line(trade(1), MS),
        line(depth(MS + 5, 8, 9, [("100.0", "0")], pu=7), MS),
    )
    book = read_streams([path], feeds=[BOOKS])[PERPETUAL, BOOKS]
    assert book["kind"].tolist() == [1, 1, 1, 0]
    assert set(book["available_at"].tolist()) == {(MS + 5) * NS}
    assert book["u_prev"].tolist() == [NEVER, NEVER, NEVER, 7]


@pytest.fixture
def perpetual(tmp_path):
    """A recording of futures: marks of two settlements, and a liquidation each way."""

    def mark(at, settled, rate="0.0001"):
        held = {"e": "markPriceUpdate", "E": at, "s": "BTCUSDT", "p": "100.1", "P": "100.2", "i": "100.0"}
        return line(held | {"r": rate, "T": settled}, at)

    def forced(at, side, qty):
        order = {
            "s": "BTCUSDT",
            "S": side,
            "q": "9",
            "p": "98.0",
            "ap": "99.5",
            "X": "FILLED",
            "l": qty,
            "z": qty,
            "T": at,
        }
        return line({"e": "forceOrder", "E": at, "o": order}, at)

    hour = 3_600_000
    quote = {
        "e": "bookTicker",
        "u": 5,
        "s": "BTCUSDT",
        "b": "100",
        "B": "1",
        "a": "101",
        "A": "2",
        "T": MS,
        "E": MS + 1,
    }
    return written(
        tmp_path / "perpetual.jsonl",
        line(trade(1, MS, X="MARKET"), MS).replace(',"M":true', ""),
        mark(MS + 1_000, MS + hour),
        mark(MS + 4_000, MS + 5 * hour, "-0.0002"),
        line(quote, MS),
        forced(MS + 5_000, "SELL", "3"),
        forced(MS + 6_000, "BUY", "4"),
        mark(MS + 7_000, 0, ""),
    )


def test_marks_rates_and_liquidations(perpetual):
    found = {stream: rows for (name, stream), rows in read_streams([perpetual]).items() if name == PERPETUAL}
    assert set(found) == {TRADES, TOPS, TICKERS, RATES, LIQUIDATIONS}
    ticker, rates, forced, quotes = (found[stream] for stream in (TICKERS, RATES, LIQUIDATIONS, TOPS))
    assert ticker["mark"].tolist() == [100.1] * 3
    assert ticker["index"].tolist() == [100.0] * 3
    assert np.isnan(ticker["last"]).all()
    assert rates["rate"].tolist() == [0.0001, -0.0002], "a contract without a rate has none"
    assert rates["interval_h"].tolist() == [8.0, 4.0], "8 hours, until two settlements are nearer to each other"
    assert rates["predicted"].tolist() == [1, 1]
    assert rates["ts_next"].tolist() == [(MS + 3_600_000) * NS, (MS + 5 * 3_600_000) * NS]
    assert forced["pos"].tolist() == [1, -1], "a long is closed by an order that sells"
    assert forced[["price", "qty", "complete"]].tolist() == [(99.5, 3.0, 0), (99.5, 4.0, 0)]
    assert len(set(forced["liq_id"].tolist())) == 2
    assert quotes["available_at"].tolist() == [(MS + 1) * NS]
    assert quotes["no_event_time"].tolist() == [0]


def test_some_of_the_streams(perpetual, spot):
    inputs = open_inputs([perpetual, spot], feeds=[TRADES, RATES])
    assert sorted((told["feed"], *told["instruments"]) for told in inputs.describe()) == [
        (RATES, PERPETUAL),
        (TRADES, SPOT),
        (TRADES, PERPETUAL),
    ]
    whole = open_inputs([perpetual, spot])
    assert whole.lacking == {SPOT: {TICKERS, RATES, LIQUIDATIONS}, PERPETUAL: {BOOKS}}


def test_a_recording_of_several_symbols(tmp_path):
    path = written(
        tmp_path / "a.jsonl",
        line(depth(MS, 1, 2, [("100", "1")]), MS),
        line(depth(MS + 1, 1, 2, [("200", "1"), ("201", "2")], symbol="ETHUSDT"), MS),
        line(trade(1, MS + 2), MS),
        line(depth(MS + 3, 3, 4, [("100", "3")]), MS),
    )
    found = read_streams([path])
    assert found[SPOT, BOOKS]["qty"].tolist() == [1.0, 3.0]
    assert found["binance:ETH/USDT", BOOKS]["qty"].tolist() == [1.0, 2.0]
    assert open_inputs([path]).lacking == {}, "what its rows bring is not known"
    bad = written(tmp_path / "b.jsonl", *path.read_text().splitlines(), line(snapshot(9), MS, None))
    with pytest.raises(InputError, match=r"line 5.*does not say which of the several symbols"):
        read_streams([bad])


def test_a_stream_of_another_kind_of_market_later_in_the_file_is_refused(tmp_path):
    lines = [line(depth(MS + i, i, i, [("100", "1")]), MS) for i in range(1, 1_100)]
    path = written(tmp_path / "a.jsonl", *lines, line(depth(MS + 1_200, 1_200, 1_200, [("1", "1")], pu=3), MS))
    with pytest.raises(InputError, match=r"book levels of binance:BTC/USDT:USDT behind its beginning.*Split the file"):
        read_streams([path])


def test_faults_are_told_with_their_line(tmp_path):
    def said(*lines, **options):
        with pytest.raises(InputError) as caught:
            read_streams([written(tmp_path / "a.jsonl", line(trade(1), MS), *lines)], **options)
        return str(caught.value)

    assert "line 2" in said(line(depth(MS, 1, 2, [("x", "1")]), MS))
    assert "line 3" in said(line(depth(MS, 1, 2), MS), line(depth(MS, 3, 4, [("-1", "1")]), MS))
    assert "NON_POSITIVE" in said(line(depth(MS, 3, 4, [("-1", "1")]), MS))
    quote = {"u": 1, "s": "BTCUSDT", "b": "101", "B": "1", "a": "100", "A": "1"}
    assert "CROSSED" in said(line(quote, MS, "btcusdt@bookTicker"))
    assert "a.jsonl holds no liquidations, which --feeds names" in said(feeds=[LIQUIDATIONS])
    assert "Did you mean book?" in said(feeds=["books"])
    with pytest.raises(InputError, match="holds no message that is used"):
        open_inputs([written(tmp_path / "a.jsonl", line({"e": "kline", "s": "BTCUSDT"}, MS))])


def test_a_book_without_its_snapshot_stays_unsynced(tmp_path, spot):
    path = written(
        tmp_path / "b.jsonl", line(depth(MS + 900, 14, 15, [("99.0", "4")]), MS), line(trade(2, MS + 910), MS)
    )
    note = open_inputs([path]).notes[0]
    assert note.startswith(f"{path}: there is no snapshot of the book of {SPOT}")
    assert "stays unsynced" in note
    assert open_inputs([spot, path]).notes == [], "it goes on where the file before it ends"
    assert open_inputs([path], feeds=[TRADES]).notes == []


@pytest.mark.parametrize("order", [1, -1])
def test_two_recordings_of_one_time_are_two_books(tmp_path, order):
    def recording(name, first):
        updates = [line(depth(MS + i, i, i, [("100", "1")]), MS) for i in range(first, first + 100)]
        return written(tmp_path / name, *updates, line(trade(first), MS))

    one, two, after = recording("one.jsonl", 1), recording("two.jsonl", 60), recording("after.jsonl", 160)
    with pytest.raises(InputError, match="both hold updates of the book of binance:BTC/USDT at 2024-08-08"):
        read_streams([one, two][::order])
    joined = read_streams([two, after][::order])[SPOT, BOOKS]
    assert joined["u_last"].tolist() == list(range(60, 260))
    trades = read_streams([one, two][::order], feeds=[TRADES])[SPOT, TRADES]
    assert trades["trade_id"].tolist() == [1, 60]


def frames_of(paths, chunk, block_rows=131_072):
    part = FileSource(open_inputs(paths, block_rows=block_rows), chunk).build_part("in", "files", None)
    out = []
    while True:
        try:
            out += [frame for _, frame in part.next_batch()]
        except StopIteration:
            return out


@pytest.mark.parametrize(("chunk", "block_rows"), [(1, 7), (7, 131_072), (100, 64), (100_000, 5)])
def test_an_update_of_a_book_is_never_cut(tmp_path, chunk, block_rows):
    r, lines = np.random.default_rng(3), [line(snapshot(1), MS, None)]
    for u, i in enumerate(range(300), 1):
        levels = [(str(100 - k), "1") for k in range(int(r.integers(0, 30)))]
        lines.append(line(depth(MS + i // 3, u, u, levels[::2], levels[1::2]), MS))
        lines.append(line(trade(i, MS + i // 3), MS))
    path = written(tmp_path / "a.jsonl", *lines)
    frames = [frame for frame in frames_of([path], chunk, block_rows) if frame.name == BOOKS and len(frame.rows)]
    assert all(frame.rows["last"][-1] == 1 for frame in frames)
    assert chunk > 100 or all((frame.rows["last"][:-1][chunk:] == 0).all() for frame in frames)
    assert concat([frame.rows for frame in frames]).tobytes() == read_streams([path])[SPOT, BOOKS].tobytes()


COUNTS = {
    "spot_btcusdt": (SPOT, {TRADES: 19_904, BOOKS: 300_111, TOPS: 73_174}),
    "spot_ethusdt": ("binance:ETH/USDT", {TRADES: 14_515, BOOKS: 274_764, TOPS: 58_758}),
    "hist_usdm_btcusdt": (PERPETUAL, {TRADES: 10_701, BOOKS: 402_859, TOPS: 52_260}),
}


@pytest.mark.data
@pytest.mark.parametrize("name", COUNTS)
def test_all_that_real_recordings_hold_arrives_and_nothing_is_refused(market_data, name):
    """The numbers are those of the messages, counted line by line."""
    instrument, expected = COUNTS[name]
    paths = sorted((market_data / "hftbacktest").glob(f"{name}_*.gz"))
    levels = counted(paths)
    intake, out = Intake(), []
    for frame in frames_of(paths, 5_000):
        intake.push(frame)
        out += [record for made in intake.advance() if made.name == "counts" for record in made.rows]
    assert {record.key for record in out} == {instrument}
    assert {record.name: record.received for record in out} == expected == levels
    assert {record.name: record.accepted for record in out} == expected
    assert {record.name: record.reordered for record in out} == dict.fromkeys(expected, 0)


def counted(paths):
    """How many trades, levels and quotes are in the messages."""
    found = defaultdict(int)
    for path in paths:
        for text in gzip.decompress(path.read_bytes()).splitlines():
            held = json.loads(text[text.index(b"{") :])
            data = held.get("data", held)
            if "lastUpdateId" in data:
                found[BOOKS] += len(data["bids"]) + len(data["asks"])
            elif data.get("e") == "depthUpdate":
                found[BOOKS] += max(1, len(data["b"]) + len(data["a"]))
            elif data.get("e") == "trade":
                found[TRADES] += data.get("X") in (None, "MARKET")
            else:
                found[TOPS] += 1
    return found
