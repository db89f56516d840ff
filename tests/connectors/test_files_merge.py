"""The merge of several files against sorting everything in memory."""

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.files import open_inputs, read_trades
from connectors.files.merge import Merge
from connectors.files.reader import FileInput
from events.schema import NEVER

START_NS = 1_750_507_200_000_000_000


def write(path, times, ids=None, names=None):
    """A file of trades at so many ns after the start; the quantity is a serial number."""
    columns = {"ts_event": [START_NS + time for time in times], "price": [1.0] * len(times)}
    columns["qty"] = [1.0 + i for i in range(len(times))]
    if ids is not None:
        columns["id"] = ids
    if names is not None:
        columns["instrument"] = names
    pl.DataFrame(columns).write_parquet(path)
    return path


def merged_in_memory(files):
    """(time, id, file, row) of all rows by (key, late, id, file, row); files of (times, ids)."""
    rows = []
    for f, (times, ids) in enumerate(files):
        keys = np.maximum.accumulate(times)
        for i, (time, key) in enumerate(zip(times, keys)):
            late = time < key
            rows.append((int(key), bool(late), 0 if late or ids is None else ids[i], f, i, time))
    return [(row[5], row[3], row[4]) for row in sorted(rows)]


def found(rows, files):
    """(time, file, row) of merged rows, the file by the price, the row by the quantity."""
    return [(int(row["available_at"]) - START_NS, int(row["price"]) - 1, int(row["qty"]) - 1) for row in rows]


def write_files(folder, files):
    paths = []
    for f, (times, ids) in enumerate(files):
        path = write(folder / f"{f}.parquet", times, ids)
        pl.read_parquet(path).with_columns(price=pl.lit(1.0 + f)).write_parquet(path)
        paths.append(path)
    return paths


offsets = st.lists(st.integers(0, 12), min_size=1, max_size=15)


@given(st.lists(st.tuples(offsets, st.booleans()), min_size=1, max_size=5), st.integers(1, 6), st.booleans())
def test_any_files_in_any_blocks(tmp_path_factory, files, block_rows, with_ids):
    folder = tmp_path_factory.mktemp("merge")
    rng = np.random.default_rng(len(files))
    files = [
        (sorted(times) if ordered else times, rng.permutation(50)[: len(times)].tolist() if with_ids else None)
        for times, ordered in files
    ]
    paths = write_files(folder, files)
    rows = read_trades(paths, instrument="x:A/B", block_rows=block_rows)["x:A/B"]
    assert found(rows, files) == merged_in_memory(files)
    assert not rows.flags.writeable
    if not with_ids:
        assert rows["seq"].tolist() == list(range(len(rows)))


@pytest.mark.parametrize("block_rows", [1, 3, 10, 1_000])
def test_many_files(tmp_path, block_rows):
    rng = np.random.default_rng(3)
    files = []
    for f in range(30):
        times = np.sort(rng.integers(f * 5, f * 5 + rng.integers(1, 60), 20)).tolist()
        files.append((times, (rng.permutation(1_000)[:20]).tolist()))
    rows = read_trades(write_files(tmp_path, files), instrument="x:A/B", block_rows=block_rows)["x:A/B"]
    assert found(rows, files) == merged_in_memory(files)


def test_ties_across_blocks_and_files_come_out_by_id(tmp_path):
    files = [([5] * 7, [13, 11, 9, 7, 5, 3, 1]), ([4, 5, 5, 5, 6], [0, 12, 10, 2, 14])]
    for block_rows in (1, 2, 3, 100):
        rows = read_trades(write_files(tmp_path, files), instrument="x:A/B", block_rows=block_rows)["x:A/B"]
        assert rows["trade_id"].tolist() == [0, 1, 2, 3, 5, 7, 9, 10, 11, 12, 13, 14]


def test_a_file_twice_gives_each_row_twice_in_a_row(tmp_path):
    paths = [write(tmp_path / f"{name}.parquet", [1, 2, 2, 3, 3, 3, 9], [1, 2, 3, 4, 5, 6, 7]) for name in "ab"]
    for block_rows in (1, 2, 100):
        rows = read_trades(paths, instrument="x:A/B", block_rows=block_rows)["x:A/B"]
        assert rows["trade_id"].tolist() == [i for i in range(1, 8) for _ in range(2)]


def test_late_rows_stay_late(tmp_path):
    path = write(tmp_path / "a.parquet", [10, 20, 5, 20, 30], [1, 2, 3, 4, 5])
    rows = read_trades([path], instrument="x:A/B")["x:A/B"]
    assert (rows["available_at"] - START_NS).tolist() == [10, 20, 20, 5, 30]


def test_several_instruments_in_one_file(tmp_path):
    rng = np.random.default_rng(5)
    names = [("x:A/B", "x:C/D", "y:A/B")[i] for i in rng.integers(0, 3, 50)]
    times = np.sort(rng.integers(0, 20, 50)).tolist()
    one = write(tmp_path / "1.parquet", times, None, names)
    two = write(tmp_path / "2.parquet", [3, 4, 4, 90], None, ["x:A/B"] * 4)
    for block_rows in (1, 4, 1_000):
        trades = read_trades([one, two], block_rows=block_rows)
        for name in set(names):
            expected = [(time, 0, i) for i, time in enumerate(times) if names[i] == name]
            expected += [(time, 1, i) for i, time in enumerate([3, 4, 4, 90]) if name == "x:A/B"]
            rows = trades[name]
            assert (rows["available_at"] - START_NS).tolist() == [time for time, _, _ in sorted(expected)]
            assert rows["seq"].tolist() == list(range(len(rows)))
            assert rows["qty"].tolist() == [1.0 + i for _, _, i in sorted(expected)]


def test_counter_fills_only_what_the_ids_leave_open(tmp_path):
    rows = read_trades(
        [write(tmp_path / "a.parquet", [1, 2, 3, 4], ["8", "x", "9", None])], instrument="x:A/B", block_rows=1
    )
    assert rows["x:A/B"]["seq"].tolist() == [8, 1, 9, 3]
    assert rows["x:A/B"]["trade_id"][3] == NEVER


def test_only_files_whose_time_has_come_are_open(tmp_path, monkeypatch):
    paths = [write(tmp_path / f"{f}.parquet", range(f * 100, f * 100 + 100), list(range(100))) for f in range(6)]
    inputs = open_inputs(paths, instrument="x:A/B", block_rows=10)
    opened = 0
    original = FileInput.blocks

    def counted(self, *arguments, **options):
        nonlocal opened
        opened += 1
        try:
            yield from original(self, *arguments, **options)
        finally:
            opened -= 1

    monkeypatch.setattr(FileInput, "blocks", counted)
    most = 0
    for _ in Merge(inputs):
        most = max(most, opened)
    assert (most, opened) == (1, 0)


def test_blocks_are_bounded_and_horizons_rise(tmp_path):
    paths = [write(tmp_path / f"{f}.parquet", range(f, 1_000 + f), list(range(1_000))) for f in range(3)]
    inputs = open_inputs(paths, instrument="x:A/B", block_rows=50)
    last = NEVER
    for block in Merge(inputs):
        rows = block.rows["x:A/B", "trades"]
        assert len(rows) <= 3 * 60
        assert int(rows["available_at"].min()) >= last
        if block.horizon is not None:
            assert int(rows["available_at"].max()) < block.horizon
            last = block.horizon


def test_bytes_add_up(tmp_path):
    paths = [write(tmp_path / f"{f}.parquet", range(f, 100 + f), list(range(100))) for f in range(3)]
    csv = tmp_path / "a.csv"
    pl.read_parquet(paths[0]).write_csv(csv)
    merge = Merge(open_inputs([*paths, csv], instrument="x:A/B", block_rows=10))
    seen = [merge.bytes_done for _ in merge]
    assert seen == sorted(seen)
    assert seen[0] > 0
    assert seen[-1] == sum(path.stat().st_size for path in [*paths, csv])


def test_many_instruments_share_the_memory_of_a_few(tmp_path):
    path = write(tmp_path / "a.parquet", range(100), None, [f"x:A{i}/B" for i in range(100)])
    assert open_inputs([path], block_rows=50).rows_per_block == 50
    assert open_inputs([path]).rows_per_block == 131_072 * 16 // 100
    assert open_inputs([write(tmp_path / "b.parquet", [1], None, ["x:A/B"])]).rows_per_block == 131_072


def test_a_parquet_file_is_not_kept_in_memory_while_it_is_read(tmp_path):
    n, path = 600_000, tmp_path / "long.parquet"
    r = np.random.default_rng(1)
    columns = {
        "ts_event": START_NS + np.arange(n),
        "price": r.random(n) + 1,
        "qty": r.random(n) + 1,
        "id": np.arange(n),
    }
    pq.write_table(pa.table(columns), path, row_group_size=20_000, compression="none")
    before, most = pa.total_allocated_bytes(), 0
    for _ in Merge(open_inputs([path], None, "x:A/B", block_rows=10_000)):
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < path.stat().st_size / 3
