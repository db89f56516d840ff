"""Frames to messages and back: bit for bit, on both wires, however they are cut."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tape_samples import KEYS, frame, told

from connectors.kafka.foreign import ForeignTrades
from connectors.kafka.wire import MARKET, Message, Undecodable, encode, frames_of, position_of
from events.feeds import BOOKS, FEEDS, TRADES
from events.frames import NO_ROWS, Frame, concat, control
from events.records import DeadLetter
from events.rows import BAR, BOOK, TRADE, confluence_row, feature_row
from events.schema import BOOK_SNAPSHOT, FOREVER, LEAVE, NEVER, VOID
from events.streams import Columns, Records

MOST = 1_000_000
WIRES = ("arrow", "json")
KEY = "binance:BTC/USDT"
AT = 1_700_000_000_123_456_789

FEATURES = Columns(
    "features.5m",
    feature_row(2),
    {"values": ("rsi_14", "ema_50"), "status": ("rsi_14.status", "ema_50.status")},
)
BLOCKS = ("u", "weight", "q", "contribution", "status")
CONFLUENCE = Columns(
    "confluence",
    confluence_row(2, 1),
    {block: (f"{block}.trend", f"{block}.volume") for block in BLOCKS} | {"gates": ("gate.spread",)},
)
RESULTS = (FEATURES, CONFLUENCE, Columns("bars.1m", BAR))
STREAMS = {**MARKET, **{columns.name: columns for columns in RESULTS}}


def sample(seed: int, columns: Columns, n: int, controls: int = 0) -> Frame:
    """Rows and control rows of random bytes: NaNs of any payload, null integers, negative zeros."""
    r = np.random.default_rng(seed)
    if columns.name in FEEDS:
        return frame(r, str(r.choice(KEYS)), columns.name, n, controls)
    rows = np.frombuffer(r.bytes(n * columns.dtype.itemsize), columns.dtype).copy()
    for name in rows.dtype.names or ():
        kind = rows.dtype[name].base
        if kind.kind == "f":
            rows[name][r.random(rows[name].shape) < 0.4] = np.nan
            rows[name][r.random(rows[name].shape) < 0.2] = -0.0
        elif kind == np.dtype("i8"):
            rows[name][r.random(rows[name].shape) < 0.2] = NEVER
    if "ts_close" in (rows.dtype.names or ()) and r.random() < 0.5:
        rows["available_at"] = rows["ts_close"]
    return Frame(KEYS[1], columns.name, rows, int(r.integers(1 << 60)), in_order=bool(r.random() < 0.5))


def trades(n: int, first: int = 0) -> np.ndarray:
    """Trades as exchanges have them."""
    r, rows = np.random.default_rng(first), np.zeros(n, TRADE)
    rows["available_at"] = AT + np.cumsum(r.integers(0, 9_999_999, n))
    rows["ts_recv"] = rows["available_at"] + r.integers(0, 99_999_999, n)
    rows["seq"] = rows["trade_id"] = 4_000_000_000 + first + np.arange(n)
    rows["price"], rows["qty"] = np.round(30_000 + r.normal(0, 9, n), 2), np.round(r.exponential(1, n), 5)
    rows["side"] = r.choice([-1, 0, 1], n)
    return rows


def update(seq: int, bids: int, asks: int, kind: int = 0, **more: int) -> np.ndarray:
    """An update of a book, as live sources have them."""
    n = max(1, bids + asks)
    rows = np.zeros(n, BOOK)
    rows["available_at"], rows["ts_recv"], rows["seq"] = AT, AT + 5, seq + np.arange(n)
    rows["u_first"], rows["u_last"], rows["u_prev"], rows["kind"] = 7, 9, NEVER, kind
    rows["side"] = [1] * bids + [-1] * asks or [0]
    if bids + asks:
        rows["price"], rows["qty"] = 100.0 + np.arange(n), np.arange(n) / 4
    rows["last"][-1] = 1
    for name, value in more.items():
        rows[name] = value
    return rows


def as_sent(sent: Frame, wire: str) -> Frame:
    """The frame as it comes back: only what says more than its rows, and only on the wire of Arrow, is told of their order."""
    return sent._replace(in_order=sent.in_order and wire == "arrow" and len(sent.rows) > 0)


@pytest.mark.parametrize("wire", WIRES)
@given(st.integers(0, 2**32), st.sampled_from(sorted(STREAMS)), st.integers(0, 9), st.integers(0, 2))
@settings(max_examples=200, deadline=None)
def test_a_frame_comes_back_bit_for_bit(wire, seed, name, n, controls):
    sent = sample(seed, STREAMS[name], n, controls)
    messages = encode(sent, STREAMS[name], 5, wire, MOST)
    if not n and not len(sent.control) and sent.watermark == NEVER:
        assert messages == []
        return
    got = frames_of(messages, STREAMS)
    assert told(got) == told([(sent.instrument, as_sent(sent, wire))])
    assert not got[0][1].rows.flags.writeable
    positions = [position_of(message.headers) for message in messages]
    at = 5
    for position in (one for one in positions if one.rows):
        assert (position.stream, position.first, position.id) == (name, at, f"{name}:{at}")
        at += position.rows
    assert at == 5 + n
    assert all(one.watermark == NEVER and not len(one.control) for one in positions[:-1])


@pytest.mark.parametrize("name", [TRADES, BOOKS, "features.5m"])
@given(st.integers(0, 2**32), st.integers(1, 200), st.integers(1, 40_000))
@settings(max_examples=60, deadline=None)
def test_large_frames_are_cut_by_rows_and_come_back_whole(name, seed, n, most):
    sent = sample(seed, STREAMS[name], n)
    messages = encode(sent, STREAMS[name], 0, "arrow", most)
    assert told(frames_of(messages, STREAMS)) == told(
        [(sent.instrument, as_sent(sent, "arrow")._replace(in_order=sent.in_order and len(messages) == 1))]
    )
    for message in messages:
        assert len(message.value) <= most or position_of(message.headers).rows == 1 or name == BOOKS


def test_messages_stay_below_what_they_may_have():
    rows = trades(50_000)
    rows["qty"][::2] = np.nan  # so that there are bits for nulls
    for most in (10_000, 100_000, MOST):
        messages = encode(Frame(KEY, TRADES, rows, 1), MARKET[TRADES], 0, "arrow", most)
        assert max(len(message.value) for message in messages) <= most
        assert most < 100_000 or len(messages) <= 1.3 * rows.nbytes / most + 1


@pytest.mark.parametrize("wire", WIRES)
def test_an_update_of_a_book_is_never_cut(wire):
    updates = [
        update(0, 3, 4),
        update(7, 0, 0),
        update(8, 300, 300, BOOK_SNAPSHOT),
        update(608, 0, 2),
        update(610, 1, 0),
    ]
    sent = Frame(KEY, BOOKS, concat(updates), AT)
    messages = encode(sent, MARKET[BOOKS], 0, wire, 12_000)
    assert told(frames_of(messages, MARKET)) == told([(KEY, sent)])
    ends = np.cumsum([len(one) for one in updates]).tolist()
    positions = [position_of(message.headers) for message in messages]
    assert {position.first + position.rows for position in positions} <= set(ends)
    assert len(messages) == (5 if wire == "json" else 3)


def test_trades_as_json_are_those_of_ccxt():
    rows = trades(2)
    rows["side"], rows["available_at"][1] = [1, 0], 1_700_000_000_000_000_000
    first, second = (
        json.loads(message.value)
        for message in encode(Frame(KEY, TRADES, rows, NEVER), MARKET[TRADES], 0, "json", MOST)
    )
    assert first["symbol"] == "BTC/USDT"
    assert (first["id"], first["side"]) == ("4000000000", "buy")
    assert first["timestamp"] * 1_000_000 + first["ns"] == rows["available_at"][0]
    assert (first["price"], first["amount"]) == (rows["price"][0], rows["qty"][0])
    assert (second["timestamp"], second["side"]) == (1_700_000_000_000, None)
    assert "ns" not in second
    assert not {"seq", "flags", "row"} & (first.keys() | second.keys())


def test_books_as_json_are_those_of_ccxt():
    rows = update(40, 2, 1)
    [message] = encode(Frame(KEY, BOOKS, rows, NEVER), MARKET[BOOKS], 40, "json", MOST)
    said = json.loads(message.value)
    assert said["bids"] == [[100.0, 0.0], [101.0, 0.25]]
    assert said["asks"] == [[102.0, 0.5]]
    assert (said["symbol"], said["nonce"], said["timestamp"]) == ("BTC/USDT", 9, AT // 1_000_000)
    assert "rows" not in said
    mixed = rows[::-1].copy()  # asks before bids, which only the bytes say
    mixed["last"], mixed["seq"] = [0, 0, 1], rows["seq"]
    [message] = encode(Frame(KEY, BOOKS, mixed, NEVER), MARKET[BOOKS], 40, "json", MOST)
    assert "rows" in json.loads(message.value)
    assert told(frames_of([message], MARKET)) == told([(KEY, Frame(KEY, BOOKS, mixed, NEVER))])


def test_what_json_has_no_word_for_travels_as_bytes_beside_it():
    rows = trades(3)
    rows["price"] = [np.inf, np.nan, 1.5]
    values = [message.value for message in encode(Frame(KEY, TRADES, rows, NEVER), MARKET[TRADES], 0, "json", MOST)]
    assert ["row" in json.loads(value) for value in values] == [True, False, False]
    assert [json.loads(value)["price"] for value in values] == [None, None, 1.5]


def test_arrow_is_read_by_others_with_nulls():
    sent = sample(1, FEATURES, 50)
    [message] = encode(sent, FEATURES, 0, "arrow", MOST)
    table = pa.ipc.open_stream(io.BytesIO(message.value)).read_all()
    assert json.loads(table.schema.field("values").metadata[b"columns"]) == ["rsi_14", "ema_50"]
    values = np.array([[np.nan if one is None else one for one in row] for row in table.column("values").to_pylist()])
    assert np.array_equal(values, sent.rows["values"], equal_nan=True)
    assert table.column("g").null_count == (sent.rows["g"] == NEVER).sum() > 0
    assert table.schema.metadata == {b"schema_v": b"1"}


def test_rows_of_several_messages_share_a_frame_up_to_what_is_said():
    rows = trades(10)
    sent = [
        Frame(KEY, TRADES, rows[:3], NEVER),
        Frame("x:A/B", TRADES, rows[:2], NEVER),
        Frame(KEY, TRADES, rows[3:5], int(rows["available_at"][4])),
        Frame(KEY, TRADES, NO_ROWS, AT + 10**9),
        Frame(KEY, TRADES, NO_ROWS, AT + 2 * 10**9),
        Frame(KEY, TRADES, rows[5:], NEVER, control(VOID, 7)),
        Frame(KEY, TRADES, NO_ROWS, AT + 3 * 10**9),
        Frame("x:A/B", TRADES, rows[2:], NEVER),
    ]
    for wire in WIRES:
        first = dict.fromkeys((KEY, "x:A/B"), 0)
        messages = []
        for one in sent:
            messages += encode(one, MARKET[TRADES], first[one.instrument], wire, MOST)
            first[one.instrument] += len(one.rows)
        got = frames_of(messages, MARKET)
        assert [(key, len(f.rows), f.watermark, len(f.control)) for key, f in got] == [
            (KEY, 5, AT + 2 * 10**9, 0),
            ("x:A/B", 10, NEVER, 0),
            (KEY, 5, NEVER, 1),
            (KEY, 0, AT + 3 * 10**9, 0),
        ]
        assert concat([f.rows for key, f in got if key == KEY and len(f.rows)]).tobytes() == rows.tobytes()


def test_nothing_is_joined_with_what_follows_after_an_instrument_left():
    left = Frame(KEY, TRADES, NO_ROWS, AT + 1, control(LEAVE, AT, AT))
    again = [Frame(KEY, TRADES, NO_ROWS, AT + 5), Frame(KEY, TRADES, trades(1), FOREVER)]
    messages = [one for sent in (left, *again) for one in encode(sent, MARKET[TRADES], 0, "json", MOST)]
    got = [f for _, f in frames_of(messages, MARKET)]
    assert [(len(f.rows), f.watermark, len(f.control)) for f in got] == [
        (0, AT + 1, 1),
        (0, AT + 5, 0),
        (1, FOREVER, 0),
    ]


@given(st.integers(0, 2**32), st.lists(st.integers(1, 60), max_size=8))
@settings(max_examples=60, deadline=None)
def test_wherever_messages_are_cut_the_same_is_said(seed, cuts):
    """However many messages are taken at a time: the rows of each stream in their order, and what is said where."""
    r = np.random.default_rng(seed)
    first: dict[tuple[str, str], int] = {}
    messages: list[Message] = []
    for _ in range(12):
        name, key = str(r.choice([TRADES, BOOKS, "top"])), str(r.choice(KEYS))
        sent = frame(r, key, name, int(r.integers(5)), int(r.random() < 0.2))
        messages += encode(sent, MARKET[name], first.get((key, name), 0), str(r.choice(WIRES)), MOST)
        first[key, name] = first.get((key, name), 0) + len(sent.rows)
    places = np.unique(np.clip(np.cumsum(cuts, dtype=int), 0, len(messages))).tolist()
    whole = story(frames_of(messages, MARKET))
    parted = [one for a, b in zip([0, *places], [*places, len(messages)]) for one in frames_of(messages[a:b], MARKET)]
    assert story(parted) == whole


def story(items: list[tuple[str, Frame]]) -> dict[tuple[str, str], list[object]]:
    """All that is said of each stream of each instrument, in order, whatever the frames."""
    out: dict[tuple[str, str], list[object]] = {}
    for key, one in items:
        said = out.setdefault((key, one.name), [])
        said += [row.tobytes() for row in one.rows]
        if one.watermark > NEVER or len(one.control):
            if said and isinstance(said[-1], int) and not len(one.control):
                said[-1] = max(said[-1], one.watermark)
            else:
                said += [one.control.tobytes(), one.watermark] if len(one.control) else [one.watermark]
                if len(one.control):
                    said.append(None)  # a heartbeat behind it stays by itself
    return out


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda m: m._replace(headers=[]), "say no stream"),
        (lambda m: m._replace(headers=[("id", b"\xff")]), "no text"),
        (lambda m: m._replace(headers=[("id", b"trades:x")]), "cannot be read"),
        (lambda m: m._replace(headers=[("stream", b"trades"), ("id", b"b2f0aa")]), "no number of a row"),
        (lambda m: m._replace(headers=[*m.headers, ("schema", b"99")]), "schema version 99"),
        (lambda m: m._replace(headers=[*m.headers, ("watermark", b"soon")]), "cannot be read"),
        (lambda m: m._replace(headers=[*m.headers, ("control", b"[[1]]")]), "cannot be read"),
        (lambda m: m._replace(headers=[*m.headers, ("count", b"2")]), "more or fewer rows"),
        (lambda m: m._replace(headers=[("id", b"odd:1")]), "no stream 'odd'"),
        (lambda m: m._replace(key=b""), "no key"),
        (lambda m: m._replace(key=b"\xff"), "no text"),
        (lambda m: m._replace(value=b""), "neither"),
        (lambda m: m._replace(value=m.value[:-9]), "it is no"),
        (lambda m: m._replace(value=b"\0" + m.value), "neither"),
    ],
)
@pytest.mark.parametrize("wire", WIRES)
def test_what_cannot_be_read_says_why(wire, broken, why):
    [message] = encode(Frame(KEY, TRADES, trades(1), NEVER), MARKET[TRADES], 1, wire, MOST)
    assert len(frames_of([message], MARKET)) == 1
    with pytest.raises(Undecodable, match=why):
        frames_of([broken(message)], MARKET)


@given(st.integers(0, 2**32), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_damaged_bytes_are_told_or_harmless(seed, flips):
    r = np.random.default_rng(seed)
    [message] = encode(Frame(KEY, TRADES, trades(20), NEVER), MARKET[TRADES], 0, "arrow", MOST)
    value = bytearray(message.value)
    for at in r.integers(0, len(value), flips):
        value[at] ^= int(r.integers(1, 256))
    try:
        [(_, got)] = frames_of([message._replace(value=bytes(value))], MARKET)
    except Undecodable:
        return
    assert len(got.rows) == 20


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b'{"symbol":"A/B","id":"1","timestamp":1,"side":"up","price":1,"amount":1}', "not 'buy' or 'sell'"),
        (
            b'{"symbol":"A/B","id":"1","timestamp":99999999999999999999,"side":"buy","price":1,"amount":1}',
            "out of range",
        ),
        (b'{"symbol":"A/B","id":"1","timestamp":1,"side":"buy","price":"1","amount":1}', "price"),
        (b'{"symbol":"A/B","id":"1","side":"buy","price":1,"amount":1}', "timestamp"),
        (b"[1]", "neither rows of Arrow nor a JSON object"),
    ],
)
def test_trades_that_are_none_say_why(value, why):
    with pytest.raises(Undecodable, match=why):
        frames_of([Message(KEY.encode(), value, [("id", b"trades:0")])], MARKET)


def test_columns_of_other_settings_are_told():
    [message] = encode(sample(3, FEATURES, 1), FEATURES, 0, "arrow", MOST)
    other = Columns(FEATURES.name, feature_row(2), {**FEATURES.blocks, "values": ("rsi_7", "ema_50")})
    with pytest.raises(Undecodable, match="column 'values'"):
        frames_of([message], {FEATURES.name: other})


def test_records_are_json_with_their_ids():
    fields = {"ts": 5, "source": "x", "offset": 1, "ts_event": 5, "ts_recv": 5, "step": "intake", "reason": "LATE"}
    letter = DeadLetter(key=KEY, detail="late", raw={"price": float("nan")}, **fields)
    [message] = encode(Frame(KEY, "dead_letters", (letter,), 9), Records("dead_letters", DeadLetter), 0, "arrow", MOST)
    assert message.headers == [("stream", b"dead_letters"), ("id", letter.record_id.encode())]
    assert json.loads(message.value)["raw"] == {"price": None}
    position = position_of(message.headers)
    assert (position.id, position.first, position.rows) == (letter.record_id, -1, 1)


def test_trades_of_other_programs():
    wire = ForeignTrades(["x:A/B", "x:C/D"])
    trade = {
        "symbol": "A/B",
        "id": "b2f0",
        "timestamp": 1_000,
        "side": None,
        "price": 2.5,
        "amount": 1,
        "info": {"a": 1},
    }
    wire.take(b"x:A/B", json.dumps(trade).encode(), 40)
    wire.take(b"any", json.dumps({**trade, "exchange": "x", "symbol": "C/D", "id": None}).encode(), 41)
    wire.take(b"x:A/B", json.dumps({**trade, "id": "12", "takerOrMaker": "taker"}).encode(), 42)
    wire.take(b"", json.dumps({**trade, "exchange": "y"}).encode(), 43)  # not asked for
    got = dict(wire.frames())
    assert got["x:A/B"].rows["seq"].tolist() == [40, 12]
    assert got["x:A/B"].rows["trade_id"][0] < 0
    assert got["x:C/D"].rows[["seq", "trade_id", "available_at"]].tolist() == [(41, NEVER, 10**9)]
    assert all(f.watermark == NEVER for f in got.values())
    assert wire.frames() == []
    for value in (b"?", b'{"price":1}', json.dumps(trade).encode()):
        with pytest.raises(Undecodable):
            wire.take(b"other", value, 1)
