"""The segment sink and the roll: what goes in comes out of Parquet, after kills too."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sink_samples as samples

from connectors.pending import Ordinals
from connectors.segments import SegmentSink, parquet_path, read_keys, read_stream, recount, roll
from connectors.segments.reading import SegmentReader
from connectors.sqlite import table_name
from events.digest import Digests
from events.errors import RunError
from events.frames import NO_ROWS, Frame, concat
from events.streams import Columns, is_digested

ROOT = Path(__file__).resolve().parents[2]
STREAMS = samples.streams()


def expected(frames, name, key):
    parts = [frame.rows for frame in frames if (frame.name, frame.instrument) == (name, key) and len(frame.rows)]
    if isinstance(STREAMS[name], Columns):
        return concat(parts) if parts else np.empty(0, STREAMS[name].dtype)
    return tuple(record for part in parts for record in part)


def contents(directory):
    return {
        path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.suffix in (".parquet", ".jsonl")
    }


def part(directory, state=None, streams=STREAMS, analysis_hash=samples.ANALYSIS, rows=8_192):
    return SegmentSink(directory, streams, analysis_hash, batch_rows=rows).build_part("segments", "segments", state)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run without an interruption: its directory, its frames, and what the roll told."""
    directory = tmp_path_factory.mktemp("whole")
    frames = samples.frames()
    samples.run(directory, frames)
    return directory, frames, roll(directory, STREAMS, samples.ANALYSIS)


def test_rows_come_back_bit_for_bit(whole):
    directory, frames, result = whole
    rows = 0
    for name, key in itertools.product(STREAMS, samples.KEYS):
        stream, want = STREAMS[name], expected(frames, name, key)
        found = read_stream(directory, stream, key)
        if isinstance(stream, Columns):
            assert stream.pack(found).tobytes() == stream.pack(want).tobytes()
            assert found.dtype == stream.dtype
            assert (found["available_at"] == want["available_at"]).all()
        else:
            assert found == want
        assert result.counts[name].get(key, 0) == len(want)
        rows += len(want)
    assert rows > 2_000
    assert len(read_stream(directory, STREAMS["bars.1m"], "no:SUCH")) == 0


def test_digests_are_those_of_the_rows_that_came_in(whole):
    _, frames, result = whole
    days = set()
    for name, key in itertools.product(STREAMS, samples.KEYS):
        rows, stream = expected(frames, name, key), STREAMS[name]
        if not is_digested(name):
            assert name not in result.digests
        elif not len(rows):
            assert result.digests[name] == {}
        elif isinstance(stream, Columns):
            assert result.digests[name][key] == Digests(name, stream).add_rows(rows).by_day()
        else:
            canonical = [record.canonical() for record in rows]
            assert result.digests[name][key] == Digests(name).add_records([r.ts for r in rows], canonical).by_day()
            days |= set(result.digests[name][key])
    assert len(days) == 2
    assert {"dead_letters", "counts", "gaps", "bars.open.1m"}.isdisjoint(result.digests)


def test_the_files_say_what_the_roll_said(whole):
    directory, _, result = whole
    assert recount(directory, STREAMS) == result


def test_rows_stand_by_key_and_time_and_carry_their_ordinals(whole):
    directory, _, _ = whole
    table = pq.read_table(directory / "features.1m.parquet")
    order = list(zip(*(table[name].to_pylist() for name in ("key", "ts_close", "ordinal"))))
    assert order == sorted(set(order))
    assert max(table["ordinal"].to_pylist()) >= 2
    assert pq.read_table(directory / "bars.1m.parquet")["vwap"].null_count > 0
    assert pq.read_table(directory / "bars.1m.parquet")["ts_first"].null_count > 0
    assert pq.read_schema(directory / "bars.1m.parquet").metadata[b"analysis_hash"] == samples.ANALYSIS.encode()
    assert read_keys(directory, STREAMS["bars.1m"]) == sorted(samples.KEYS)


def test_streams_without_rows_have_files_with_their_columns(whole, tmp_path):
    directory, _, result = whole
    assert pq.read_schema(directory / "features.4h.parquet").names[-1] == "atr_14.status"
    assert result.counts["features.4h"] == {}
    assert roll(tmp_path, STREAMS, samples.ANALYSIS).counts == {name: {} for name in STREAMS}
    assert pq.read_table(tmp_path / "signals.parquet").num_rows == 0
    assert (tmp_path / "dead_letters.jsonl").read_bytes() == b""
    assert recount(tmp_path, STREAMS).counts == {name: {} for name in STREAMS}


def test_dead_letters_are_lines_with_ids(whole):
    directory, frames, _ = whole
    lines = [json.loads(line) for line in (directory / "dead_letters.jsonl").read_text().splitlines()]
    letters = [letter for key in sorted(samples.KEYS) for letter in expected(frames, "dead_letters", key)]
    assert [line["id"] for line in lines] == [letter.record_id for letter in letters]
    assert [line["raw"] for line in lines] == [letter.raw for letter in letters]


@pytest.mark.parametrize("rows", [1, 7])
def test_the_size_of_buffers_does_not_matter(whole, tmp_path, rows):
    directory, frames, result = whole
    samples.run(tmp_path, frames, rows=rows, epoch_seconds=0.01)
    assert roll(tmp_path, STREAMS, samples.ANALYSIS) == result
    assert contents(tmp_path) == contents(directory)


def test_a_roll_after_an_interrupted_one_gives_the_same_bytes(whole, tmp_path):
    directory, frames, result = whole
    samples.run(tmp_path, frames)
    (tmp_path / ".bars.1m.parquet.partial").write_bytes(b"half of it")
    (tmp_path / "signals.parquet").write_bytes(b"of another run")
    for _ in range(2):
        assert roll(tmp_path, STREAMS, samples.ANALYSIS) == result
        assert contents(tmp_path) == contents(directory)
        (tmp_path / "bars.1m.parquet").unlink()
    assert not list(tmp_path.glob(".*"))


def test_heartbeats_and_unknown_streams_write_nothing(tmp_path):
    sink = part(tmp_path)
    sink.write_batch([Frame("a:A", "bars.1m", NO_ROWS, 5), Frame("a:A", "no.such", np.zeros(3, "i8"), 5)])
    assert sink.snapshot() == ((), ())
    sink.close()
    assert list((tmp_path / "segments").iterdir()) == []


def test_what_was_written_after_the_snapshot_is_cut_off(tmp_path):
    frames = [frame for frame in samples.frames(10) if frame.name != "unheard_of"]
    half = len(frames) // 2
    first = part(tmp_path, rows=3)
    first.write_batch([frame for frame in frames[:half] if frame.name != "outcomes"])
    state = first.snapshot()
    hash(state)  # immutable all the way
    first.write_batch(frames[half:])
    first.close()
    first.close()
    second = part(tmp_path, state)
    second.write_batch(frames[half:])
    second.snapshot()
    second.close()
    result = roll(tmp_path, STREAMS, samples.ANALYSIS)
    straight = part(tmp_path / "straight")
    straight.write_batch([frame for i, frame in enumerate(frames) if i >= half or frame.name != "outcomes"])
    straight.close()
    assert result == roll(tmp_path / "straight", STREAMS, samples.ANALYSIS)
    assert result.counts["bars.1m"] == dict.fromkeys(sorted(samples.KEYS), 10)


def test_without_a_recovery_state_it_starts_empty(tmp_path):
    for _ in range(2):
        sink = part(tmp_path)
        sink.write_batch(samples.frames(1))
        sink.snapshot()
        sink.close()
    assert roll(tmp_path, STREAMS, samples.ANALYSIS).counts["bars.1m"]["GLOBAL"] == 1


def test_a_segment_shorter_than_its_snapshot_stops_the_run(tmp_path):
    sink = part(tmp_path)
    sink.write_batch(samples.frames(1))
    state = sink.snapshot()
    sink.close()
    os.truncate(tmp_path / "segments" / "bars.1m.arrows", 100)
    with pytest.raises(RunError, match=r"bars\.1m\.arrows holds 100 bytes, but the recovery store says \d+"):
        part(tmp_path, state)


def test_segments_of_another_analysis_are_refused(tmp_path):
    sink = part(tmp_path)
    sink.write_batch(samples.frames(1))
    state = sink.snapshot()
    sink.close()
    for attempt in (lambda: part(tmp_path, state, analysis_hash="other"), lambda: roll(tmp_path, STREAMS, "other")):
        with pytest.raises(RunError, match=rf"analysis {samples.ANALYSIS}, .*analysis other, .* another run directory"):
            attempt()


def test_a_segment_that_ends_within_a_batch_is_not_rolled(tmp_path):
    sink = part(tmp_path)
    sink.write_batch(samples.frames(1))
    sink.close()
    path = tmp_path / "segments" / "bars.1m.arrows"
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(RunError, match=r"the run that wrote it did not end. Resume it"):
        roll(tmp_path, STREAMS, samples.ANALYSIS)


def test_a_file_in_place_of_the_directory_is_told(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="a part of the path is a file"):
        part(tmp_path / "run")
    with pytest.raises(RunError, match="there is a file where a directory has to be"):
        roll(tmp_path / "run", STREAMS)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told(tmp_path):
    sink = part(tmp_path)
    (tmp_path / "segments" / "bars.1m.arrows").symlink_to("/dev/full")
    sink.write_batch(samples.frames(1))
    with pytest.raises(RunError, match="the disk is full; free some space"):
        sink.snapshot()
    sink.close()


def test_a_parquet_file_of_other_columns_is_refused(whole):
    directory, _, _ = whole
    with pytest.raises(RunError, match="has other columns than stream"):
        read_stream(directory, Columns("bars.1m", STREAMS["gaps"].dtype), "GLOBAL")
    with pytest.raises(RunError, match=r"Cannot read .*absent\.parquet: it does not exist"):
        read_keys(directory, Columns("absent", STREAMS["gaps"].dtype))


@pytest.mark.parametrize("group_bytes", [1, 50_000])
def test_the_memory_of_the_roll_does_not_matter(whole, tmp_path, group_bytes):
    directory, _, _ = whole
    sink = part(tmp_path, rows=40)
    for i, frame in enumerate(samples.frames()):
        sink.write_batch([frame])
        if i % 17 == 0:  # batches of one key and of several
            sink.snapshot()
    sink.close()
    for name in ("bars.1m", "updates"):
        table = pq.read_table(directory / f"{name}.parquet")
        with SegmentReader(tmp_path / "segments" / f"{name}.arrows", table.schema, group_bytes) as reader:
            assert pa.Table.from_batches(reader.sorted_batches()).equals(table)


def test_ordinals_do_not_depend_on_the_split():
    rng = np.random.default_rng(3)
    rows = np.zeros(500, STREAMS["gaps"].dtype)
    rows["available_at"] = np.sort(rng.integers(0, 150, 500))
    times = rows["available_at"].tolist()
    want = [times[:i].count(at) for i, at in enumerate(times)]
    for pieces in (1, 2, 13, 500):
        found, ordinals = [], Ordinals()
        for piece in np.array_split(rows, pieces):
            found += ordinals.of(STREAMS["gaps"], "a:A", piece).tolist()
            ordinals = Ordinals(ordinals.snapshot())
        assert found == want


def test_rows_that_go_back_in_time_stop_the_run_unless_they_are_dead_letters():
    rng = np.random.default_rng(1)
    ordinals = Ordinals()
    ordinals.of(STREAMS["bars.1m"], "a:A", samples.bars([5], rng))
    with pytest.raises(RunError, match=r"Rows of stream bars\.1m of a:A went back in time, after 5 ns"):
        ordinals.of(STREAMS["bars.1m"], "a:A", samples.bars([4], rng))
    with pytest.raises(RunError, match="went back"):
        ordinals.of(STREAMS["bars.1m"], "a:A", samples.bars([6, 5], rng))
    letters = tuple(samples.dead_letter("a:A", ts, ts) for ts in (7, 7, 3))
    assert ordinals.of(STREAMS["dead_letters"], "a:A", letters).tolist() == [0, 1, 0]


def _store(path):
    connection = sqlite3.connect(path)
    rows = {}
    for name in STREAMS:
        table = table_name(name)
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")][1:]  # all but seq
        quoted = ", ".join(f'"{column}"' for column in columns)
        rows[name] = connection.execute(f"SELECT {quoted} FROM {table} ORDER BY {quoted}").fetchall()
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_or_twice_after_kills(whole, tmp_path, seed):
    directory, _, result = whole
    moments = random.Random(seed)
    environment, command = os.environ | {"PYTHONPATH": str(ROOT)}, [sys.executable, samples.__file__, str(tmp_path)]
    for _ in range(6):
        most = moments.randint(1, len(samples.frames()) // 6)  # frames; all are never reached, so none comes to its end
        when = map(str, (moments.randint(0, most), most, 0.05 * moments.random()))
        killed = subprocess.run([*command, *when], env=environment, capture_output=True, text=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert contents(tmp_path) == contents(directory)
    assert recount(tmp_path, STREAMS) == result
    assert _store(tmp_path / "run.sqlite") == _store(directory / "run.sqlite")


def test_the_path_of_a_stream_is_public():
    assert parquet_path(Path("run"), "bars.1m") == Path("run/bars.1m.parquet")
