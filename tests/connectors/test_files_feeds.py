"""Several streams in one run: their order, heartbeats and ends, and resuming."""

import pickle

import numpy as np
import polars as pl
import pytest

from connectors.files import FileSource, open_inputs, read_streams
from connectors.files.merge import Merge
from events.feeds import FEEDS
from events.frames import concat
from events.schema import END, NEVER
from events.times import HOUR_NS, MINUTE_NS

START_NS = 1_750_507_200_000_000_000
TRADES, KLINES, RATES = "trades", "klines.1m", "funding"


def klines(path, first, count, seed=1):
    r = np.random.default_rng(seed)
    price = 100 + np.cumsum(r.normal(0, 1, count))
    times = START_NS + (first + np.arange(count)) * MINUTE_NS
    columns = {
        "time": times,
        "open": price,
        "high": price + 1,
        "low": price - 1,
        "close": price,
        "volume": r.random(count),
    }
    pl.DataFrame(columns).write_parquet(path)
    return path


def rates(path, first_h, count):
    times = START_NS + (first_h + np.arange(count)) * HOUR_NS
    pl.DataFrame({"time": times, "rate": np.arange(count) * 1e-5, "interval_h": 1.0}).write_parquet(path)
    return path


def trades(path, seconds):
    times = START_NS + np.asarray(seconds) * 1_000_000_000
    pl.DataFrame({"time": times, "price": np.ones(len(times)), "qty": np.ones(len(times))}).write_parquet(path)
    return path


@pytest.fixture
def paths(tmp_path):
    return [
        klines(tmp_path / "AA_USDT-1m.parquet", 0, 300),
        klines(tmp_path / "AA_USDT-1m-more.parquet", 400, 60, 2),
        klines(tmp_path / "BB_USDT-1m.parquet", 100, 90, 3),
        rates(tmp_path / "AA_USDT-1h-funding.parquet", -3, 9),
        trades(tmp_path / "CC_USDT-trades.parquet", np.arange(0, 20_000, 7)),
    ]


A, B, C = "x:AA/USDT", "x:BB/USDT", "x:CC/USDT"
ALL = {(A, KLINES), (B, KLINES), (C, TRADES), (A, RATES), (B, RATES), (C, RATES)}


def opened(paths, block_rows=40):
    return open_inputs(paths, exchange="x", block_rows=block_rows)


def drain(part):
    out = []
    while True:
        try:
            batch = part.next_batch()
        except StopIteration:
            return out
        out.append((batch, part.snapshot()))


def build(inputs, chunk, state=None, **options):
    return FileSource(inputs, chunk, **options).build_part("in", "files", state)


def frames_of(batches):
    return [frame for batch, _ in batches for _, frame in batch]


def rows_of(frames):
    found = {}
    for frame in frames:
        if len(frame.rows):
            found.setdefault((frame.instrument, frame.name), []).append(frame.rows)
    return {source: concat(parts).tobytes() for source, parts in found.items()}


def marks(frames):
    return [
        (f.instrument, f.name, f.watermark, int(f.control["kind"][0]) if len(f.control) else 0)
        for f in frames
        if not len(f.rows)
    ]


def test_feeds_and_the_order_of_streams(paths):
    inputs = opened(paths)
    assert inputs.feeds == {TRADES, KLINES, RATES}
    last, met = NEVER, set()
    for block in Merge(inputs):
        ranks = [FEEDS[stream].rank for _, stream in block.rows]
        assert ranks == sorted(ranks)
        met |= set(block.rows)
        for (_, stream), rows in block.rows.items():
            assert rows.dtype == FEEDS[stream].dtype
            assert int(rows["available_at"].min()) >= last
            if block.horizon is not None:
                assert int(rows["available_at"].max()) < block.horizon
        last = block.horizon if block.horizon is not None else last
    assert met == {(A, KLINES), (B, KLINES), (C, TRADES), (A, RATES)}


@pytest.mark.parametrize("chunk", [1, 7, 100_000])
def test_rows_are_those_of_the_files_whatever_the_chunk(paths, chunk):
    expected = {source: rows.tobytes() for source, rows in read_streams(paths, exchange="x").items()}
    for block_rows in (40, 131_072):
        assert rows_of(frames_of(drain(build(opened(paths, block_rows), chunk)))) == expected


def test_every_stream_of_every_instrument_gets_heartbeats_and_one_end(paths):
    frames = frames_of(drain(build(opened(paths), 50)))
    newest = max(int(rows["available_at"].max()) for rows in read_streams(paths, exchange="x").values())
    watermarks, ends, beats = {}, {}, {}
    for i, frame in enumerate(frames):
        source = (frame.instrument, frame.name)
        if len(frame.rows):
            assert frame.watermark == NEVER
            continue
        assert frame.watermark > watermarks.get(source, NEVER)
        assert frame.rows.dtype == FEEDS[frame.name].dtype
        watermarks[source] = frame.watermark
        beats[source] = beats.get(source, 0) + 1
        if len(frame.control):
            assert frame.control["kind"].tolist() == [END]
            assert source not in ends
            ends[source] = int(frame.control["available_at"][0])
        later = [f.rows["available_at"].min() for f in frames[i:] if (f.instrument, f.name) == source and len(f.rows)]
        assert all(time >= frame.watermark for time in later)
    assert set(ends) == set(watermarks) == ALL
    assert set(watermarks.values()) == {newest + 1}
    assert min(beats.values()) > 3
    assert ends[B, KLINES] == START_NS + 190 * MINUTE_NS
    assert ends[A, RATES] == START_NS + 5 * HOUR_NS
    assert ends[B, RATES] == ends[C, RATES] == newest, "streams without rows end with the run"


def test_a_run_of_trades_alone_has_no_other_stream(paths):
    frames = frames_of(drain(build(opened(paths[-1:]), 50)))
    assert {frame.name for frame in frames} == {TRADES}


@pytest.mark.parametrize("chunk", [5, 1_000])
def test_resume_at_every_point_with_another_chunk(paths, chunk, monkeypatch):
    monkeypatch.setattr("connectors.files.source._BATCH_ROWS", 40)
    inputs = opened(paths)
    batches = drain(build(inputs, chunk))
    whole, out = frames_of(batches), []
    assert len(batches) > 20
    for k, (batch, snapshot) in enumerate(batches):
        out += [frame for _, frame in batch]
        if k % 5:
            continue
        state = pickle.loads(pickle.dumps(snapshot))
        rest = frames_of(drain(build(inputs, 9, state)))
        begun, left = rows_of(out), rows_of(rest)
        assert {s: begun.get(s, b"") + left.get(s, b"") for s in {*begun, *left}} == rows_of(whole)
        assert marks(out) + marks(rest) == marks(whole)


def test_the_kind_of_a_file_is_part_of_what_a_run_goes_on_with(tmp_path):
    table = {"time": [START_NS], "open": [1.0], "high": [1.0], "low": [1.0], "close": [1.0], "volume": [1.0]}
    path = tmp_path / "a.parquet"
    pl.DataFrame(table | {"price": [1.0], "qty": [1.0]}).write_parquet(path)
    as_trades = open_inputs([path], instrument="x:A/B")
    assert as_trades.feeds == {TRADES}
    as_klines = open_inputs([path], instrument="x:A/B", layout="tidewax-bars")
    assert as_klines.feeds == {KLINES}
    assert as_trades.fingerprint != as_klines.fingerprint
