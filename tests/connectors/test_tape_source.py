"""A tape as a source: its frames in order, resumed at any point with any chunk, to its end and no further."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from bytewax.dataflow import Dataflow
from bytewax.operators import input as source_input
from bytewax.operators import output
from bytewax.testing import TestingSink, run_main
from hypothesis import given
from hypothesis import strategies as st
from tape_samples import KEYS, appends, frame, record, told

from connectors.tape import Recording, TapeSource, roll_closed
from connectors.tape.source import cut
from events.errors import InputError
from events.frames import NO_ROWS, Frame, control
from events.schema import FOREVER, NEVER, VOID

ALL = 1 << 40


def drain(part):
    """All batches of a partition, with the state after each."""
    out = []
    while True:
        try:
            batch = part.next_batch()
        except StopIteration:
            return out
        out.append((batch, part.snapshot()))


def build(directory, chunk=ALL, state=None, until=None, **options):
    return TapeSource(Recording(directory, until), chunk, **options).build_part("in", "tape", state)


def items(batches):
    return [item for batch, _ in batches for item in batch]


@given(seed=st.integers(0, 2**32), rows=st.integers(0, 40), controls=st.integers(0, 2), chunk=st.integers(1, 50))
def test_a_cut_frame_says_the_same(seed, rows, controls, chunk):
    whole = frame(np.random.default_rng(seed), KEYS[0], "trades", rows, controls)
    parts = list(cut(whole, chunk))
    assert b"".join(part.rows.tobytes() for part in parts) == whole.rows.tobytes()
    assert len(parts) == max(1, -(-rows // chunk))
    assert all(len(part.rows) <= chunk for part in parts)
    assert [(part.watermark, len(part.control)) for part in parts[:-1]] == [(NEVER, 0)] * (len(parts) - 1)
    assert (parts[-1].watermark, parts[-1].control.tobytes()) == (whole.watermark, whole.control.tobytes())


def test_all_frames_in_order_and_then_nothing(tmp_path):
    written = appends(1, 40)
    record(tmp_path, written, segment_bytes=2_000)
    batches = drain(build(tmp_path))
    assert told(items(batches)) == told([item for one in written for item in one])
    with pytest.raises(StopIteration):
        build(tmp_path, state=batches[-1][1]).next_batch()


@pytest.mark.parametrize("rolls", [False, True])
def test_resume_at_every_point_with_another_chunk(tmp_path, monkeypatch, rolls):
    monkeypatch.setattr("connectors.tape.batches.BATCH_FRAMES", 5)
    record(tmp_path, appends(2, 40), segment_bytes=2_000)
    batches = drain(build(tmp_path))
    assert len(batches) > 15
    if rolls:
        roll_closed(tmp_path)
    whole, before = told(items(batches)), 0
    for batch, snapshot in batches:
        before += len(batch)
        state = pickle.loads(pickle.dumps(snapshot))
        part = build(tmp_path, state=state)
        assert part.snapshot() == state
        assert told(items(drain(part))) == whole[before:]
        rest = items(drain(build(tmp_path, 1, state)))
        assert b"".join(f.rows.tobytes() for _, f in rest) == b"".join(row[3] for row in whole[before:])


def test_a_batch_is_of_reasonable_size(tmp_path):
    record(tmp_path, appends(3, 900, rows=2))
    batches = drain(build(tmp_path))
    assert len(batches) > 1
    assert max(len(batch) for batch, _ in batches) < 1_010


def test_another_tape_cannot_be_resumed(tmp_path):
    for name in ("a", "b"):
        record(tmp_path / name, appends(4, 3))
    state = drain(build(tmp_path / "a"))[0][1]
    with pytest.raises(InputError, match=r"another tape than .*b"):
        build(tmp_path / "b", state=state)
    shorter = Recording(tmp_path / "a", state[1] - 1)
    with pytest.raises(InputError, match=f"and not {state[1]}, from where"):
        TapeSource(shorter, 1).build_part("in", "tape", state).next_batch()


@pytest.fixture
def damaged(tmp_path):
    offsets = record(tmp_path, appends(5, 9), segment_bytes=1)
    path = sorted(tmp_path.glob("*.tape"))[4]
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    return tmp_path, offsets, path, whole


def test_damage_is_told_when_all_before_it_is_handed_out(damaged):
    directory, offsets, path, whole = damaged
    errors = []
    batches = drain(build(directory, on_error=errors.append))
    assert [str(error).split(":")[0] for error in errors] == [
        f"{path} is damaged at byte {len(whole) - offsets[4] + offsets[3]}"
    ]
    assert batches[-1][1][1] == offsets[3]
    part = build(directory)
    before = told(part.next_batch())
    with pytest.raises(InputError, match="is damaged"):
        part.next_batch()
    whole[-1] ^= 1
    path.write_bytes(whole)
    assert before + told(items(drain(build(directory, state=part.snapshot())))) == told(items(drain(build(directory))))


def test_progress(tmp_path):
    record(tmp_path, appends(6, 20))
    source = TapeSource(Recording(tmp_path), 10)
    assert (source.progress.bytes_read, source.progress.newest_ns) == (0, NEVER)
    found = items(drain(source.build_part("in", "tape", None)))
    assert source.progress.bytes_read == source.progress.total_bytes == source.recording.end > 0
    last = [int(f.rows["available_at"][-1]) for _, f in found if len(f.rows)]
    assert source.progress.newest_ns == max(last)


def test_chunk_is_checked(tmp_path):
    record(tmp_path, appends(7, 1))
    with pytest.raises(ValueError, match="chunk"):
        TapeSource(Recording(tmp_path), 0)


def test_in_a_dataflow(tmp_path):
    record(tmp_path, appends(8, 30), segment_bytes=3_000)
    out = []
    flow = Dataflow("tape")
    output("out", source_input("in", flow, TapeSource(Recording(tmp_path), 2)), TestingSink(out))
    run_main(flow)
    assert told(out) == told(items(drain(build(tmp_path, 2))))
    assert sum(len(frame.rows) for _, frame in out) > 30


def test_of_a_tape_cut_short_each_instrument_is_said_to_begin_with_nothing_loaded_before(tmp_path):
    loaded = [frame(np.random.default_rng(k), key, "preload", 3) for k, key in enumerate(KEYS)]
    trades = [frame(np.random.default_rng(k), KEYS[k % 2], "trades", 2) for k in range(40)]
    quiet = Frame(KEYS[2], "trades", NO_ROWS, NEVER, control(VOID, 1, 1, 2))
    written = [[(one.instrument, one)] for one in (*loaded, *trades[:20], quiet, loaded[2], *trades[20:])]
    record(tmp_path, written, segment_bytes=500)
    assert told(items(drain(build(tmp_path)))) == told([item for one in written for item in one])
    segments = sorted(tmp_path.glob("*.tape"))
    for path in segments[: len(segments) // 4]:
        path.unlink()
    recording = Recording(tmp_path)
    left = [item for _, some in recording.read(recording.first) for item in some]
    whole = items(drain(build(tmp_path)))
    assert told([item for item in whole if item[1].watermark != FOREVER]) == told(left)
    for key in KEYS:
        names = [one.name for name, one in whole if name == key and (len(one.rows) or one.watermark > NEVER)]
        assert names[0] == "preload"
        assert names.count("preload") == 1
    at = segments[len(segments) // 2]
    state = recording.header.tape, int(at.stem.split(".")[0]), (KEYS[0], KEYS[1])  # as a run that stopped there
    resumed = items(drain(build(tmp_path, state=state)))
    assert [name for name, one in resumed if one.watermark == FOREVER] == []
