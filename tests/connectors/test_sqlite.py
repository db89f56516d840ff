"""The SQLite sink: all rows in one file, visible at snapshots, cut back on resume."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
import sink_samples as samples
from bytewax.errors import BytewaxRuntimeError

from connectors.sqlite import SqliteSink, table_name
from events.codec import record_from_json
from events.errors import RunError
from events.frames import NO_ROWS, Frame, concat
from events.records import IntakeCounts
from events.schema import NEVER
from events.streams import Columns

STREAMS = samples.streams()


def part(path, state=None, analysis_hash=samples.ANALYSIS, **options):
    return SqliteSink(path, STREAMS, analysis_hash, **options).build_part("sqlite", "sqlite", state)


def read(path, query, *values):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


def count(path, table):
    return read(path, f"SELECT count(*) FROM {table}")[0][0]


def packed_rows(path, stream, key):
    names = ", ".join(f'"{name}"' for name in stream.packed.names)
    order = '"ts_close"' if "ts_close" in stream.packed.names else '"ts"'
    found = read(path, f"SELECT {names} FROM {table_name(stream.name)} WHERE key = ? ORDER BY {order}, ordinal", key)
    packed = np.zeros(len(found), stream.packed)
    for i, name in enumerate(stream.packed.names):
        null = np.nan if stream.packed[name].kind == "f" else NEVER
        packed[name] = [null if row[i] is None else row[i] for row in found]
    return packed


@pytest.mark.parametrize("rows", [1, 50, 50_000])
def test_rows_come_back_bit_for_bit(tmp_path, rows):
    frames, path = samples.frames(), tmp_path / "run.sqlite"
    samples.run(tmp_path, frames, rows=rows, epoch_seconds=0.02)
    seqs = []
    for name, stream in STREAMS.items():
        seqs += [seq for (seq,) in read(path, f"SELECT seq FROM {table_name(name)}")]
        for key in samples.KEYS:
            parts = [f.rows for f in frames if (f.name, f.instrument) == (name, key) and len(f.rows)]
            if isinstance(stream, Columns):
                want = concat(parts) if parts else np.empty(0, stream.dtype)
                assert packed_rows(path, stream, key).tobytes() == stream.pack(want).tobytes()
            else:
                query = f"SELECT json, id FROM {table_name(name)} WHERE key = ? ORDER BY ts, ordinal"
                found = read(path, query, key)
                records = [record for part in parts for record in part]
                assert [record_from_json(stream, json) for json, _ in found] == records
                assert [id_ for _, id_ in found] == [record.record_id for record in records]
    assert sorted(seqs) == list(range(1, len(seqs) + 1))
    assert len(seqs) > 2_000


def test_nan_and_the_null_integer_are_null(tmp_path):
    rng = np.random.default_rng(0)
    rows = samples.bars([60, 120], rng)
    rows["vwap"], rows["ts_first"], rows["open"] = np.nan, NEVER, -0.0
    sink = part(tmp_path / "a.sqlite")
    sink.write_batch([Frame("a:A", "bars.1m", rows, 121), Frame("a:A", "outcomes", (samples.outcome("a:A", 60),), 61)])
    sink.close()
    nulls = read(tmp_path / "a.sqlite", "SELECT vwap, ts_first, open FROM bars_1m")
    assert nulls == [(None, None, 0.0)] * 2
    assert read(tmp_path / "a.sqlite", "SELECT ts_close, bars_held, regime FROM outcomes") == [(None, 4, None)]


def test_fields_with_the_name_of_a_column_of_the_sink_are_renamed(tmp_path):
    sink = part(tmp_path / "a.sqlite")
    sink.write_batch([Frame("a:A", "updates", tuple(samples.update("a:A", 60, seq) for seq in range(3)), 61)])
    sink.close()
    rows = read(tmp_path / "a.sqlite", "SELECT seq, ts, ordinal, record_seq, from_state, reason FROM updates")
    assert rows == [(1, 60, 0, 0, None, "ü"), (2, 60, 1, 1, "ACTIVE", "ü"), (3, 60, 2, 2, "ACTIVE", "ü")]


def test_rows_are_visible_from_the_snapshot_on(tmp_path):
    path = tmp_path / "a.sqlite"
    sink = part(path, buffer_rows=1)
    sink.write_batch(samples.frames(1))
    assert count(path, "bars_1m") == 0
    seq, ordinals = sink.snapshot()
    hash(ordinals)
    assert count(path, "bars_1m") == 3
    assert read(path, "SELECT schema_v, analysis_hash, seq FROM tidewax_run") == [(1, samples.ANALYSIS, seq)]
    sink.close()
    sink.close()


def test_rows_above_the_resumed_sequence_are_deleted(tmp_path):
    path, frames = tmp_path / "a.sqlite", samples.frames(10)
    half = len(frames) // 2
    first = part(path)
    first.write_batch(frames[:half])
    state = first.snapshot()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE outbox (seq INTEGER, sent INTEGER)")
    connection.execute("INSERT INTO outbox VALUES (1000000, 1)")
    connection.commit()
    first.write_batch(frames[half:])
    first.close()
    second = part(path, state)
    second.write_batch(frames[half:])
    second.close()
    assert count(path, "bars_1m") == 30
    assert count(path, "outbox") == 1
    third = part(path)
    assert count(path, "bars_1m") == 0
    third.close()
    assert count(path, "outbox") == 1
    with pytest.raises(
        RunError, match=r"holds rows up to number 0, but the recovery store says \d+: the file was replaced"
    ):
        part(path, state)


def test_a_file_of_another_analysis_or_version_is_refused(tmp_path):
    path = tmp_path / "a.sqlite"
    part(path).close()
    with pytest.raises(RunError, match=rf"analysis {samples.ANALYSIS}; this run makes .* other\. Give another file"):
        part(path, analysis_hash="other")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE tidewax_run SET schema_v = 0")
    connection.commit()
    with pytest.raises(RunError, match=r"holds rows of schema version 0, .*move this one away"):
        part(path)
    connection.execute("UPDATE tidewax_run SET schema_v = 1")
    connection.execute("ALTER TABLE gaps ADD COLUMN note")
    connection.commit()
    connection.close()
    with pytest.raises(RunError, match=r"Table gaps of .* has other columns than stream gaps"):
        part(path)


def test_files_of_other_programs_are_refused(tmp_path):
    (tmp_path / "a.sqlite").write_text("not a database at all, " * 100)
    with pytest.raises(RunError, match="is not an SQLite database; give another file"):
        part(tmp_path / "a.sqlite")
    connection = sqlite3.connect(tmp_path / "b.sqlite")
    connection.execute("CREATE TABLE signals (a)")
    connection.close()
    with pytest.raises(RunError, match="has a table signals of another program"):
        part(tmp_path / "b.sqlite")
    assert read(tmp_path / "b.sqlite", "SELECT name FROM sqlite_schema") == [("signals",)]
    with pytest.raises(RunError, match="is not the file the run wrote to"):
        part(tmp_path / "c.sqlite", (7, ()))
    with pytest.raises(RunError, match="there is a file where a directory has to be"):
        part(tmp_path / "a.sqlite" / "d.sqlite")
    (tmp_path / "e.sqlite").mkdir()
    with pytest.raises(RunError, match="it cannot be opened"):
        part(tmp_path / "e.sqlite")


def test_an_id_used_twice_stops_the_run(tmp_path):
    frames = [Frame("a:A", "updates", tuple(samples.update("a:A", 60, seq) for seq in (0, 1, 2, 1)), 61)]
    id_ = samples.update("a:A", 60, 1).record_id
    with pytest.raises(BytewaxRuntimeError) as caught:  # the engine wraps what a snapshot raises
        samples.run(tmp_path, frames)
    assert isinstance(caught.value.__cause__, RunError)
    assert f"Table updates of {tmp_path / 'run.sqlite'} has a row with id {id_} already" in str(caught.value.__cause__)
    assert count(tmp_path / "run.sqlite", "updates") == 0


def test_a_locked_file_is_told(tmp_path):
    path = tmp_path / "a.sqlite"
    sink = part(path, busy_seconds=0.05)
    sink.write_batch(samples.frames(1))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RunError, match=r"another program has held a transaction in it for 0\.05 s; end that program"):
        sink.snapshot()
    sink.close()
    other.execute("ROLLBACK")
    other.close()
    assert count(path, "bars_1m") == 0


def test_a_close_that_cannot_write_does_not_hide_the_error_before_it(tmp_path):
    sink = part(tmp_path / "a.sqlite", busy_seconds=0.05)
    sink.write_batch(samples.frames(1))
    other = sqlite3.connect(tmp_path / "a.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    sink.close()
    other.close()
    assert count(tmp_path / "a.sqlite", "bars_1m") == 0


def test_heartbeats_write_nothing(tmp_path):
    sink = part(tmp_path / "a.sqlite")
    sink.write_batch([Frame("a:A", "bars.1m", NO_ROWS, 5), Frame("a:A", "no.such", np.zeros(3, "i8"), 5)])
    assert sink.snapshot() == (0, ())
    sink.close()


def test_counts_by_reason_stay_in_the_json(tmp_path):
    counts = IntakeCounts(key="a:A", ts=1, name="trades", received=2, accepted=1, reordered=0, rejected={"LATE": 1})
    sink = part(tmp_path / "a.sqlite")
    sink.write_batch([Frame("a:A", "counts", (counts,), 2)])
    sink.close()
    (row,) = read(tmp_path / "a.sqlite", "SELECT name, received, json FROM counts")
    assert row[:2] == ("trades", 2)
    assert '"rejected":{"LATE":1}' in row[2]


def test_two_streams_with_one_table_are_refused(tmp_path):
    streams = {name: Columns(name, STREAMS["gaps"].dtype) for name in ("a.b", "a_b")}
    with pytest.raises(RunError, match="Two streams would share the table a_b"):
        SqliteSink(tmp_path / "a.sqlite", streams).build_part("sqlite", "sqlite", None)
