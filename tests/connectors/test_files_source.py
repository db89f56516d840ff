"""The source: frames, heartbeats, ends, resuming, errors."""

import gzip
import pickle

import numpy as np
import polars as pl
import pytest
from bytewax.dataflow import Dataflow
from bytewax.operators import input as source_input
from bytewax.operators import output
from bytewax.testing import TestingSink, run_main

from connectors.files import FileSource, open_inputs, read_trades
from events.errors import InputError
from events.frames import concat
from events.schema import END, NEVER
from events.times import MINUTE_NS

START_NS = 1_750_507_200_000_000_000


def write(path, rng, count, instrument, first_s=0, span_s=600):
    times = START_NS + np.sort(rng.integers(first_s * 10, (first_s + span_s) * 10, count)) * 100_000_000
    table = pl.DataFrame({"ts_event": times, "price": rng.uniform(1, 2, count), "qty": rng.uniform(1, 2, count)})
    table.with_columns(id=pl.Series(range(count)), instrument=pl.lit(instrument)).write_parquet(path)
    return path


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(11)
    return [
        write(tmp_path / "a1.parquet", rng, 90, "x:A/B"),
        write(tmp_path / "a2.parquet", rng, 70, "x:A/B", 500, 300),
        write(tmp_path / "c.parquet", rng, 60, "x:C/D", 100, 200),
    ]


def opened(paths, block_rows=20):
    return open_inputs(paths[:2], instrument="x:A/B", block_rows=block_rows) + open_inputs(
        paths[2:], instrument="x:C/D", block_rows=block_rows
    )


def drain(part):
    """All batches of a partition, with the state after each."""
    out = []
    while True:
        try:
            batch = part.next_batch()
        except StopIteration:
            return out
        out.append((batch, part.snapshot()))


def build(inputs, chunk, state=None, **options):
    return FileSource(inputs, chunk, **options).build_part("in", "files", state)


def items(batches):
    return [item for batch, _ in batches for item in batch]


def rows_of(frames, instrument):
    parts = [frame.rows for key, frame in frames if key == instrument and len(frame.rows)]
    return concat(parts).tobytes() if parts else b""


def marks(frames):
    """What is said between the rows: (instrument, watermark, END or 0)."""
    return [
        (key, f.watermark, int(f.control["kind"][0]) if len(f.control) else 0) for key, f in frames if not len(f.rows)
    ]


def test_frames_hold_the_merged_rows_whatever_the_chunk(paths):
    expected = {"x:A/B": read_trades(paths[:2])["x:A/B"], "x:C/D": read_trades(paths[2:])["x:C/D"]}
    said = []
    for chunk in (1, 7, 100_000):
        frames = items(drain(build(opened(paths), chunk)))
        for instrument, rows in expected.items():
            assert rows_of(frames, instrument) == rows.tobytes()
        for key, frame in frames:
            assert (frame.instrument, frame.name) == (key, "trades")
            assert len(frame.rows) <= chunk
            assert not frame.rows.flags.writeable
            assert (frame.watermark == NEVER) == bool(len(frame.rows))
        said.append(marks(frames))
    assert said[0] == said[1] == said[2]


@pytest.mark.parametrize("lateness_ns", [0, 90_000_000_000])
def test_heartbeats_promise_only_what_is_out(paths, lateness_ns):
    frames = items(drain(build(opened(paths), 8, lateness_ns=lateness_ns)))
    watermarks = {}
    for i, (key, frame) in enumerate(frames):
        if len(frame.rows):
            continue
        assert frame.watermark > watermarks.get(key, NEVER)
        watermarks[key] = frame.watermark
        later = [int(f.rows["available_at"].min()) for k, f in frames[i:] if k == key and len(f.rows)]
        assert all(time >= frame.watermark for time in later)
        if not len(frame.control) and frame is not frames[-1][1]:
            assert frame.watermark % MINUTE_NS == 0 or not later
    assert len(marks(frames)) > 10


def test_each_instrument_ends_once(paths):
    frames = items(drain(build(opened(paths), 8)))
    ends = [(key, f) for key, f in frames if len(f.control)]
    assert [key for key, _ in ends] == ["x:C/D", "x:A/B"]
    last_c, last_a = (
        int(read_trades(p)[k]["available_at"].max()) for p, k in ((paths[2:], "x:C/D"), (paths[:2], "x:A/B"))
    )
    assert last_c < last_a
    for (_, frame), last in zip(ends, (last_c, last_a)):
        assert frame.control["kind"].tolist() == [END]
        assert frame.control["available_at"].tolist() == [last]
        assert (frame.watermark, len(frame.rows)) == (last + 1, 0)
    of_c = [frame for key, frame in frames if key == "x:C/D"]
    after = of_c[next(i for i, frame in enumerate(of_c) if len(frame.control)) + 1 :]
    assert after  # watermarks go on
    assert after[-1].watermark == last_a + 1
    assert all(not len(f.rows) and not len(f.control) for f in after)


def test_instruments_of_one_file_end_with_the_run(tmp_path):
    rng = np.random.default_rng(1)
    one = pl.read_parquet(write(tmp_path / "1.parquet", rng, 30, "x:A/B"))
    two = pl.read_parquet(write(tmp_path / "2.parquet", rng, 30, "x:C/D", 700))
    pl.concat([one, two]).write_parquet(tmp_path / "3.parquet")
    inputs = open_inputs([tmp_path / "3.parquet"], block_rows=10)
    frames = items(drain(build(inputs, 8)))
    last = int(two["ts_event"].max())
    ends = [(key, f.control["available_at"].tolist(), f.watermark) for key, f in frames if len(f.control)]
    assert ends == [("x:A/B", [last], last + 1), ("x:C/D", [last], last + 1)]


@pytest.mark.parametrize("chunk", [5, 1_000])
def test_resume_at_every_point_with_another_chunk(paths, chunk, monkeypatch):
    monkeypatch.setattr("connectors.files.source._BATCH_ROWS", 12)
    inputs = opened(paths)
    batches = drain(build(inputs, chunk))
    whole = items(batches)
    assert len(batches) > 10
    out = []
    for batch, snapshot in batches:
        out += batch
        state = pickle.loads(pickle.dumps(snapshot))
        for other in (1, 9):
            part = build(inputs, other, state)
            assert part.snapshot() == state
            rest = items(drain(part))
            for instrument in ("x:A/B", "x:C/D"):
                assert rows_of(out, instrument) + rows_of(rest, instrument) == rows_of(whole, instrument)
            assert marks(out) + marks(rest) == marks(whole)
    assert batches[-1][1][-1]
    with pytest.raises(StopIteration):
        build(inputs, 3, batches[-1][1]).next_batch()


def test_snapshot_while_a_resumed_run_finds_its_place(paths):
    inputs = opened(paths, block_rows=3)
    batches = drain(build(inputs, 4))
    state = batches[len(batches) * 3 // 4][1]
    part = build(inputs, 4, state)
    skipping = 0
    while not part.next_batch():
        skipping += 1
        assert part.snapshot() == state
    assert skipping > 2


def test_a_batch_is_of_reasonable_size(tmp_path):
    rng = np.random.default_rng(2)
    inputs = open_inputs([write(tmp_path / "a.parquet", rng, 5_000, "x:A/B")])
    assert max(len(batch) for batch, _ in drain(build(inputs, 3))) <= 64 + 2


def test_other_files_cannot_be_resumed(paths):
    state = drain(build(opened(paths), 9))[3][1]
    with pytest.raises(InputError, match="other files"):
        build(open_inputs(paths[:1], instrument="x:A/B", block_rows=20), 9, state)


@pytest.fixture
def cut(tmp_path):
    rng = np.random.default_rng(4)
    table = pl.read_parquet(write(tmp_path / "a.parquet", rng, 30_000, "x:A/B", 0, 60_000))
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(table.write_csv().encode())[:-500])
    return open_inputs([path], block_rows=1_000), table


def test_error_in_the_middle_reaches_on_error(cut):
    inputs, table = cut
    errors = []
    part = build(inputs, 500, on_error=errors.append)
    batches = drain(part)
    frames = items(batches)
    assert [type(error) for error in errors] == [InputError]
    assert "is cut short" in str(errors[0])
    assert not any(len(frame.control) for _, frame in frames)
    assert 0 < sum(len(frame.rows) for _, frame in frames) < len(table)
    assert not part.snapshot()[-1]


def test_error_in_the_middle_is_raised_and_the_run_resumes_on_the_whole_file(cut):
    inputs, table = cut
    part = build(inputs, 500)
    out = []
    with pytest.raises(InputError, match="is cut short"):  # noqa: PT012
        while True:
            out += part.next_batch()
    state = part.snapshot()
    path = inputs.files[0].path
    path.write_bytes(gzip.compress(table.write_csv().encode()))
    inputs = open_inputs([path], block_rows=1_000)
    rest = items(drain(build(inputs, 700, state)))
    assert rows_of(out, "x:A/B") + rows_of(rest, "x:A/B") == rows_of(items(drain(build(inputs, 500))), "x:A/B")


def test_progress(paths):
    source = FileSource(opened(paths), 50)
    assert (source.progress.bytes_read, source.progress.newest_ns) == (0, NEVER)
    drain(source.build_part("in", "files", None))
    assert source.progress.bytes_read == source.progress.total_bytes == sum(path.stat().st_size for path in paths)
    assert source.progress.newest_ns == max(int(read_trades(paths[:2])["x:A/B"]["available_at"].max()), NEVER)


def test_arguments_are_checked(paths):
    with pytest.raises(ValueError, match="chunk"):
        FileSource(opened(paths), 0)
    with pytest.raises(ValueError, match="lateness_ns"):
        FileSource(opened(paths), 1, -1)


def test_in_a_dataflow(paths):
    out = []
    flow = Dataflow("files")
    output("out", source_input("in", flow, FileSource(opened(paths), 10)), TestingSink(out))
    run_main(flow)
    expected = items(drain(build(opened(paths), 10)))
    assert [(key, frame.watermark, frame.rows.tobytes()) for key, frame in out] == [
        (key, frame.watermark, frame.rows.tobytes()) for key, frame in expected
    ]
