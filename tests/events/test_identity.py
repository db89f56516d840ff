"""The vectors of file 00 section 8, and codecs that give back the bits."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.codec import (
    arrow_schema,
    record_from_json,
    rows_from_arrow,
    rows_from_json,
    rows_to_json,
    to_arrow,
)
from events.identity import analysis_hash, canonical_json, id_hash, id_of
from events.records import RECORDS, DeadLetter, SignalUpdate
from events.rows import BAR, FUNDING, GAP_ROW, TRADE, confluence_row, feature_row
from events.schema import NEVER
from events.streams import Columns, Records
from events.times import DAY_NS, iso, timeframe_ns

TREE = {
    "alerts": {},
    "bars": {"max_fill": 60, "time": ["1m", "5m", "30m", "4h"]},
    "confluence": {"preset": "price6", "theta": "auto"},
    "dimensions": {},
    "indicators": {},
    "instruments": {"binance:BTC/USDT": {"lot": 1e-05, "tick": 0.01}},
    "outcomes": {"fee_bps": 5.0, "slip_bps": 2.0},
    "signals": {"tf": "30m"},
}


def test_ids_of_the_specification():
    assert id_of("bar", "binance:BTC/USDT", "time", "1m", 1700001000000000000) == "d9a40501517f15d7"
    signal = id_of("signal", "binance:BTC/USDT", "30m", 1700001000000000000, "LONG", "727f5db605037c4d")
    assert signal == "916cec4df000a008"
    assert id_of("alert", "signal|binance:BTC/USDT|LONG", 1700001000000000000) == "873b1682c1578370"


def test_analysis_hash_of_the_specification():
    assert analysis_hash(TREE) == "727f5db605037c4d"
    assert analysis_hash({**TREE, "sinks": {"anything": 1}}) == "727f5db605037c4d"
    assert analysis_hash({**TREE, "confluence": {"preset": "price6", "theta": 20.0}}) == "e317a821a114aca6"


def test_canonical_json_is_one_spelling():
    value = {"b": [1, -0.0, float("nan")], "a": {"é": 20.0}, "emitted_at": 5}
    assert canonical_json(value) == '{"a":{"é":20.0},"b":[1,0.0,null]}'


@given(a=st.text(min_size=1), b=st.text(min_size=1))
def test_hashed_ids_are_negative_and_tell_apart(a, b):
    assert id_hash(a) < 0
    assert (id_hash(a) == id_hash(b)) == (a == b)


STREAMS = {
    "trades": Columns("trades", TRADE),
    "funding": Columns("funding", FUNDING),
    "bars": Columns("bars.1m", BAR),
    "gaps": Columns("gaps", GAP_ROW),
    "features": Columns("features.1m", feature_row(2), {"values": ["a", "b"], "status": ["a.status", "b.status"]}),
    "confluence": Columns(
        "confluence",
        confluence_row(2, 1),
        {f: [f"x.{f}", f"y.{f}"] for f in ("u", "weight", "q", "contribution", "status")} | {"gates": ["gate.x"]},
    ),
}
SPECIAL = [0.0, 1.5, -1e300, 5e-324, float("nan"), float("inf"), -9.223372036854775808e18]


@pytest.mark.parametrize("name", STREAMS)
@given(seed=st.integers(0, 10**6))
def test_rows_come_back_bit_for_bit(name, seed):
    stream, r = STREAMS[name], np.random.default_rng(seed)
    rows = np.zeros(20, stream.dtype)
    for field in stream.dtype.names:
        shape = rows[field].shape
        kind = rows[field].dtype.kind
        if kind == "f":
            rows[field] = np.where(r.random(shape) < 0.5, r.normal(size=shape), r.choice(SPECIAL, shape))
        elif rows[field].dtype == "i8":
            rows[field] = np.where(r.random(shape) < 0.2, NEVER, r.integers(-(2**62), 2**62, shape))
        else:
            rows[field] = r.integers(0, 100, shape)
    rows["available_at"] = rows["ts_close"] if "ts_close" in stream.dtype.names else r.integers(1, 2**60, 20)
    schema = arrow_schema(stream, "abc")
    batch = to_arrow(stream, schema, "x:Y/Z", rows, np.zeros(20, "i8"))
    through = pa.ipc.read_record_batch(batch.serialize(), schema)
    finite = rows.copy()
    for field in stream.dtype.names:
        if rows[field].dtype.kind == "f":
            finite[field][~np.isfinite(finite[field])] = np.nan
    assert rows_from_arrow(stream, through).tobytes() == stream.unpack(stream.pack(rows)).tobytes()
    assert (
        rows_from_json(stream, rows_to_json(stream, finite)).tobytes() == stream.unpack(stream.pack(finite)).tobytes()
    )
    assert schema.metadata == {b"schema_v": b"1", b"analysis_hash": b"abc"}


def test_records_come_back_from_their_canonical_json():
    letter = DeadLetter(
        key="x:Y/Z",
        ts=5,
        source="s",
        offset=3,
        ts_event=5,
        ts_recv=6,
        step="intake",
        reason="LATE",
        detail="d",
        raw={"a": 1},
    )
    assert record_from_json(Records("dead_letters", DeadLetter), letter.canonical()) == letter
    update = SignalUpdate(
        key="x:Y/Z", ts=5, signal_id="i", seq=0, from_state=None, to="PENDING", price=1.25, reason="new",
        size_closed=0.0, r_gross=None, r_net=None, analysis_hash="h",
    )  # fmt: skip
    assert record_from_json(Records("updates", SignalUpdate), update.canonical()) == update
    assert json.loads(update.canonical())["schema_v"] == 1
    assert set(RECORDS) == {"dead_letters", "counts", "components", "reconcile", "reconcile_counts"} | {
        "signals",
        "updates",
        "outcomes",
    }


@pytest.mark.parametrize("name", ["0m", "1w", "7m", "90s", "m", "1.5m", "", "-5m"])
def test_a_bad_timeframe_says_what_a_good_one_is(name):
    with pytest.raises(ValueError, match="timeframe"):
        timeframe_ns(name)


@given(st.integers(-(10**9), 4 * 10**9))
def test_iso_agrees_with_the_calendar(seconds):
    assert iso(seconds * 10**9).rstrip("Z") == str(np.datetime64(seconds, "s"))
    assert iso(DAY_NS + 1).endswith("00:00:00.000000001Z")
