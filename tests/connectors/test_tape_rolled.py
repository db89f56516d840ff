"""Closed segments as Parquet files: rows that a backtest reads, frames bit for bit; and what is removed in the end."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tape_samples import KEYS, UNIVERSE, appends, items, record, told

from connectors.files import open_inputs, read_streams
from connectors.simulator import Market
from connectors.tape import Keep, Recording, Tape
from connectors.tape import remove_old as remove
from connectors.tape import roll as roll_module
from connectors.tape import roll_closed as roll
from events.errors import InputError, RunError
from events.frames import Array, Frame
from events.rows import FUNDING, OHLCV
from events.schema import NEVER
from events.times import MINUTE_NS


def read(directory, offset=0, until=None):
    found = list(Recording(directory, until).read(offset))
    return [after for after, _ in found], [told(one) for _, one in found]


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32),
    shape=st.lists(st.tuples(st.integers(1, 6), st.sampled_from([1, 2, 9, 500])), min_size=2, max_size=9),
    segment_bytes=st.sampled_from([1, 2_000]),
)
def test_rolled_segments_give_back_all_bits_in_order(tmp_path_factory, seed, shape, segment_bytes):
    directory, r = tmp_path_factory.mktemp("tape"), np.random.default_rng(seed)
    written = [items(r, frames, rows) for frames, rows in shape]
    offsets = record(directory, written, segment_bytes=segment_bytes)
    closed = len(list(directory.glob("*.tape"))) - 1
    assert len(roll(directory)) == closed
    assert len(list(directory.glob("*.tape"))) == 1
    assert read(directory) == (offsets, [told(one) for one in written])
    for place in {0, len(offsets) // 2, len(offsets) - 1}:
        offset = offsets[place]
        assert read(directory, offset)[1] == [told(one) for one in written[place + 1 :]]
        assert read(directory, until=offset)[1] == [told(one) for one in written[: place + 1]]
    assert roll(directory) == []
    with Tape(directory, UNIVERSE, segment_bytes) as tape:
        assert [(after, told(one)) for after, one in tape.read(0)] == list(zip(offsets, map(told, written)))
        if closed:
            with pytest.raises(RunError, match="that is not rolled"):
                tape.truncate(0)


def market(key: str, seed: int) -> Array:
    rows = Market(key, seed=seed, trades_per_minute=20.0).trades(1_750_507_200_000_000_000, 0.05)
    rows["ts_recv"] = rows["available_at"] + 5_000_000
    rows["side"][::50] = 0
    return rows


def klines(n: int) -> Array:
    rows = np.zeros(n, OHLCV)
    rows["ts_open"] = 1_750_507_200_000_000_000 + np.arange(n) * MINUTE_NS
    rows["available_at"] = rows["ts_recv"] = rows["ts_open"] + MINUTE_NS
    for name in ("open", "high", "low", "close", "volume"):
        rows[name] = 1.5
    rows["quote_volume"], rows["closed"], rows["seq"] = np.nan, 1, np.arange(n)
    return rows


def funding(n: int) -> Array:
    rows = np.zeros(n, FUNDING)
    rows["available_at"] = rows["ts_event"] = rows["ts_recv"] = (
        1_750_507_200_000_000_000 + np.arange(n) * 60 * MINUTE_NS
    )
    rows["rate"], rows["interval_h"], rows["ts_next"] = 1e-4, 8.0, NEVER
    rows["mark"], rows["index"], rows["seq"] = np.nan, 2.0, np.arange(n)
    return rows


def interleaved(streams: dict[tuple[str, str], Array], pieces: int) -> list[list[tuple[str, Frame]]]:
    """Appends as of a live run: a piece of each stream after the other, so that instruments are out of order among each other."""
    cut = {source: np.array_split(rows, pieces) for source, rows in streams.items()}
    return [
        [(key, Frame(key, name, parts[k], NEVER)) for (key, name), parts in cut.items() if len(parts[k])]
        for k in range(pieces)
    ]


def test_files_of_rows_are_read_as_those_of_a_backtest(tmp_path):
    streams = {
        (KEYS[0], "trades"): market(KEYS[0], 1),
        (KEYS[1], "trades"): market(KEYS[1], 2),
        (KEYS[2], "klines.1m"): klines(60),
        (KEYS[0], "funding"): funding(4),
    }
    streams[KEYS[1], "trades"]["trade_id"] = NEVER
    record(tmp_path, [*interleaved(streams, 5), appends(1, 1)[0]], segment_bytes=20_000)
    roll(tmp_path)
    files = sorted((tmp_path / "rolled").glob("*.parquet"))
    rows = [file for file in files if ".frames." not in file.name]
    assert {file.name.split(".", 1)[1] for file in rows} == {"trades.parquet", "klines.1m.parquet", "funding.parquet"}
    for file in rows:
        assert open_inputs([file]).describe()[0]["layout"].startswith("tidewax"), file
    found = read_streams(rows)
    assert found.keys() == streams.keys()
    for source, given_rows in streams.items():
        for field in given_rows.dtype.names or ():
            if field != "seq" or source == (KEYS[0], "trades"):  # without ids the reader counts
                np.testing.assert_array_equal(found[source][field], given_rows[field], f"{source} {field}")


def test_rows_are_merged_by_time_and_keep_their_order_within_an_instrument(tmp_path):
    first, second = market(KEYS[0], 1)[:300], market(KEYS[1], 2)[:300]
    first["available_at"][7], first["available_at"][8] = first["available_at"][8] + 5, first["available_at"][7]
    record(
        tmp_path,
        [*interleaved({(KEYS[0], "trades"): first, (KEYS[1], "trades"): second}, 2), appends(1, 1)[0]],
        segment_bytes=30_000,
    )
    [made] = roll(tmp_path)
    [path] = made.files[1:]
    table = pq.read_table(path)
    names, times = np.array(table["instrument"].to_pylist()), table["ts_event"].to_numpy()
    assert (np.diff(times) < 0).sum() == 1
    for key, rows in ((KEYS[0], first), (KEYS[1], second)):
        assert times[names == key].tolist() == rows["available_at"].tolist()
    assert sorted(table["place"].to_pylist()) == list(range(600))
    assert table["place"].to_pylist() != list(range(600))


def test_a_roll_that_was_killed_is_done_again(tmp_path):
    written = appends(3, 6)
    offsets = record(tmp_path / "whole", written, segment_bytes=1)
    shutil.copytree(tmp_path / "whole", tmp_path / "rolled")
    roll(tmp_path / "rolled")
    names = [path.name for path in (tmp_path / "rolled" / "rolled").iterdir()]
    for name in names:  # as if it was killed before this file, or before the segment was removed
        killed = tmp_path / f"killed {name}"
        shutil.copytree(tmp_path / "whole", killed)
        shutil.copytree(tmp_path / "rolled" / "rolled", killed / "rolled")
        assert read(killed)[0] == offsets
        (killed / "rolled" / name).unlink()
        assert read(killed) == (offsets, [told(one) for one in written])
        assert len(roll(killed)) == 5
        assert read(killed) == (offsets, [told(one) for one in written])
        assert sorted(path.name for path in (killed / "rolled").iterdir()) == sorted(names)


def test_what_does_not_come_back_stays_as_it_is(tmp_path, monkeypatch):
    offsets = record(tmp_path, appends(4, 3), segment_bytes=1)
    monkeypatch.setattr(roll_module, "_keys", lambda times, code, instruments: times[:-1])  # it loses the last row
    with pytest.raises(RunError, match=r"could not be rolled and stays as it is: .* rows of .*, and frames of"):
        roll(tmp_path)
    assert len(list(tmp_path.glob("*.tape"))) == 3
    assert not list((tmp_path / "rolled").glob("*.frames.parquet"))
    monkeypatch.undo()
    assert len(roll(tmp_path)) == 2
    assert read(tmp_path)[0] == offsets


def changed(table: pa.Table) -> pa.Table:
    """The table with another number in its first row."""
    at = next(k for k, kind in enumerate(table.schema.types) if kind in (pa.int64(), pa.float64()))
    numbers = table.column(at).to_pylist()
    return table.set_column(at, table.schema.names[at], pa.array([7, *numbers[1:]], table.schema.types[at]))


@pytest.mark.parametrize("kind", ["frames", "rows"])
@pytest.mark.parametrize("damage", ["removed", "cut", "shorter", "changed"])
def test_a_damaged_rolled_segment_is_told(tmp_path, kind, damage):
    offsets = record(tmp_path, appends(5, 4), segment_bytes=1)
    path = roll(tmp_path)[1].files[kind == "rows"]
    match damage:
        case "removed":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:-20])
        case "shorter":
            pq.write_table(pq.read_table(path).slice(1), path)
        case _:
            pq.write_table(changed(pq.read_table(path)), path)
    told_of_frames = "is missing|is no file of a rolled segment|are damaged"
    with pytest.raises(InputError, match=told_of_frames if kind == "frames" else f"are damaged .*--until {offsets[0]}"):
        read(tmp_path)


def test_a_rolled_segment_without_its_last_records_is_told(tmp_path):
    offsets = record(tmp_path, appends(5, 9), segment_bytes=4_000)
    [made, *_] = roll(tmp_path)
    table = pq.read_table(made.path)
    last = offsets[offsets.index(made.end) - 1]
    pq.write_table(table.filter(pc.less_equal(table["offset"], last)), made.path)
    with pytest.raises(InputError, match=f"what is behind offset {last} of the tape is missing"):
        read(tmp_path)


def sizes(directory):
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file() and path.name != "lock")


@pytest.mark.parametrize("rolls", [False, True])
def test_old_segments_go_by_size_as_far_as_nobody_needs_them(tmp_path, rolls):
    written = appends(6, 12)
    offsets = record(tmp_path, written, segment_bytes=1)
    if rolls:
        roll(tmp_path)
    whole = sizes(tmp_path)
    assert remove(tmp_path, Keep(), offsets[-1]) == 0
    assert remove(tmp_path, Keep(total_bytes=whole), offsets[-1]) == 0
    assert remove(tmp_path, Keep(total_bytes=0), 0) == 0
    assert remove(tmp_path, Keep(total_bytes=0), offsets[2] - 1) == offsets[1]
    assert sizes(tmp_path) < whole
    half = sizes(tmp_path) // 2
    first = remove(tmp_path, Keep(total_bytes=half), offsets[-1])
    assert offsets[1] < first < offsets[-1]
    assert sizes(tmp_path) <= half
    rest = offsets.index(first) + 1
    assert read(tmp_path, first) == (offsets[rest:], [told(one) for one in written[rest:]])
    assert remove(tmp_path, Keep(total_bytes=0), offsets[-1]) == offsets[-2], "the newest stays"
    with Tape(tmp_path, UNIVERSE, segment_bytes=1) as tape:
        assert [after for after, _ in tape.read(offsets[-2])] == offsets[-1:]
        with pytest.raises(RunError, match=f"holds offsets {offsets[-2]} to {offsets[-1]}"):
            list(tape.read(offsets[-3]))
        assert tape.append(written[0]) > offsets[-1]


def test_old_segments_go_by_the_time_they_were_closed(tmp_path, monkeypatch):
    clock = iter(range(100, 200, 10))
    monkeypatch.setattr("connectors.tape.tape.time.time_ns", lambda: next(clock))
    offsets = record(tmp_path, appends(7, 5), segment_bytes=1)
    end = offsets[-1]
    assert remove(tmp_path, Keep(newer_than_ns=110), end) == 0
    assert remove(tmp_path, Keep(newer_than_ns=111), end) == offsets[0]
    assert remove(tmp_path, Keep(newer_than_ns=10**9), end) == offsets[3]
    assert Recording(tmp_path).describe()[0]["first"] == offsets[3]


def test_what_a_killed_removal_left_goes_with_the_next(tmp_path):
    offsets = record(tmp_path, appends(8, 4), segment_bytes=1)
    first, second, _ = roll(tmp_path)
    first.path.unlink()
    assert len(first.files) > 1
    assert read(tmp_path, offsets[0])[0] == offsets[1:]
    assert remove(tmp_path, Keep(), 0) == offsets[0]
    assert [path for path in first.files if path.exists()] == []
    assert all(path.exists() for path in second.files)
