"""The tape: all bits come back in order, torn ends are cut off, damage is told, nothing is half appended."""

from __future__ import annotations

import logging
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tape_samples import KEYS, UNIVERSE, appends, items, record, told

from connectors.tape import Recording, Tape, Universe
from connectors.tape.header import new_header
from connectors.tape.records import HEAD_BYTES
from events.errors import InputError, RunError
from events.feeds import FEEDS
from events.frames import NO_ROWS, Frame

ROOT = Path(__file__).resolve().parent.parent.parent


def read(directory, offset=0, until=None):
    """All of a tape: the offsets, and what is in the records."""
    found = list(Recording(directory, until).read(offset))
    return [after for after, _ in found], [told(one) for _, one in found]


@given(
    seed=st.integers(0, 2**32),
    shape=st.lists(st.tuples(st.integers(1, 6), st.sampled_from([1, 2, 9, 300, 9_000])), min_size=1, max_size=8),
    segment_bytes=st.sampled_from([1, 3_000, 1 << 20]),
)
def test_all_bits_come_back_in_order(tmp_path_factory, seed, shape, segment_bytes):
    directory, r = tmp_path_factory.mktemp("tape"), np.random.default_rng(seed)
    written = [items(r, frames, rows) for frames, rows in shape]
    offsets = record(directory, written, segment_bytes=segment_bytes)
    assert read(directory) == (offsets, [told(one) for one in written])
    with Tape(directory, UNIVERSE, segment_bytes) as tape:
        assert [(after, told(one)) for after, one in tape.read(0)] == list(zip(offsets, map(told, written)))
        for place, offset in enumerate([0, *offsets]):
            assert [told(one) for _, one in tape.read(offset)] == [told(one) for one in written[place:]]
    if segment_bytes == 1:
        assert len(list(directory.glob("*.tape"))) == len(written)


def test_rows_are_read_only_and_aligned(tmp_path):
    record(tmp_path, appends(1, 20))
    rows = [frame.rows for _, found in Recording(tmp_path).read(0) for _, frame in found if len(frame.rows)]
    assert rows
    for found in rows:
        assert not found.flags.writeable
        assert found.ctypes.data % 8 == 0


def test_heartbeats_come_back_with_the_row_type_of_their_stream(tmp_path):
    record(tmp_path, [[(KEYS[0], Frame(KEYS[0], "funding", NO_ROWS, 5))]])
    [(_, [(_, beat)])] = Recording(tmp_path).read(0)
    assert (beat.rows.dtype, len(beat.rows), beat.watermark) == (FEEDS["funding"].dtype, 0, 5)


def test_it_goes_on_where_it_was(tmp_path):
    written = appends(2, 30)
    assert record(tmp_path, written[:11], segment_bytes=2_000)[-1] < record(tmp_path, written[11:])[0]
    assert read(tmp_path)[1] == [told(one) for one in written]
    with Tape(tmp_path, UNIVERSE) as tape:
        assert tape.append([]) == tape.end
        assert tape.id == Recording(tmp_path).header.tape


def last_segment(directory):
    return sorted(directory.glob("*.tape"))[-1]


def test_an_end_torn_at_any_byte_is_cut_off_and_told(tmp_path, caplog):
    written = appends(3, 6, frames=2, rows=2)
    offsets = record(tmp_path / "whole", written)
    path = last_segment(tmp_path / "whole")
    before = path.stat().st_size - (offsets[-1] - offsets[-2])
    for size in range(before, path.stat().st_size):
        torn = tmp_path / "torn"
        shutil.copytree(tmp_path / "whole", torn)
        with (torn / path.name).open("r+b") as file:
            file.truncate(size)
        recording = Recording(torn)
        assert (recording.end, recording.torn_bytes) == (offsets[-2], size - before)
        caplog.clear()
        with caplog.at_level(logging.WARNING), Tape(torn, UNIVERSE) as tape:
            assert (tape.end, tape.torn_bytes) == (offsets[-2], size - before)
            assert ("were cut off" in caplog.text) == (size > before)
            assert tape.append(written[-1]) == offsets[-1]
        assert read(torn) == (offsets, [told(one) for one in written])
        shutil.rmtree(torn)


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"TWXr"])
def test_an_end_that_was_never_written_is_cut_off(tmp_path, fill):
    """What a power cut may leave: the file is long enough, the bytes are not there."""
    written = appends(4, 5)
    offsets = record(tmp_path, written)
    path = last_segment(tmp_path)
    whole = path.read_bytes()
    place = len(whole) - (offsets[-1] - offsets[-2])
    for kept in (0, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 50):
        path.write_bytes(whole[: place + kept] + (fill * len(whole))[: len(whole) - place - kept + 1_000])
        with Tape(tmp_path, UNIVERSE) as tape:
            assert tape.end == offsets[-2]
            assert tape.torn_bytes == len(whole) - place + 1_000
        assert read(tmp_path) == (offsets[:-1], [told(one) for one in written[:-1]])


def test_any_flipped_bit_in_the_middle_is_told_with_its_place(tmp_path):
    written = appends(5, 5, frames=2, rows=2)
    offsets = record(tmp_path, written)
    path = last_segment(tmp_path)
    whole = bytearray(path.read_bytes())
    body = len(whole) - offsets[-1]
    r = np.random.default_rng(5)
    for at in range(body, body + offsets[3]):
        whole[at] ^= (bit := 1 << int(r.integers(8)))
        path.write_bytes(whole)
        start = max(offset for offset in [0, *offsets] if body + offset <= at)
        for opened in (lambda: Recording(tmp_path), lambda: Tape(tmp_path, UNIVERSE)):
            with pytest.raises(InputError, match=f"damaged at byte {body + start}: .* offset {start} "):
                opened()
        if start:
            assert read(tmp_path, until=start)[0] == [offset for offset in offsets if offset <= start]
        whole[at] ^= bit
    for at in range(body):
        whole[at] ^= (bit := 1 << int(r.integers(8)))
        path.write_bytes(whole)
        with pytest.raises(InputError, match=r"is not a segment|The head of"):
            Recording(tmp_path)
        whole[at] ^= bit
    path.write_bytes(whole)
    assert read(tmp_path)[0] == offsets


def test_damage_in_an_older_segment_is_told_when_it_is_read(tmp_path):
    offsets = record(tmp_path, appends(6, 9), segment_bytes=1)
    first, second = sorted(tmp_path.glob("*.tape"))[:2]
    whole = bytearray(second.read_bytes())
    whole[-1] ^= 1
    second.write_bytes(whole)
    found = Recording(tmp_path).read(0)
    assert next(found)[0] == offsets[0]
    with pytest.raises(InputError, match=f"{second.name} is damaged .*--until {offsets[0]}"):
        next(found)
    first.unlink()
    with pytest.raises(InputError, match=f"holds offsets {offsets[0]} to {offsets[-1]} .* not 0"):
        next(Recording(tmp_path).read(0))


def test_a_missing_or_short_segment_in_the_middle_is_told(tmp_path):
    offsets = record(tmp_path, appends(7, 5), segment_bytes=1)
    third = sorted(tmp_path.glob("*.tape"))[2]
    whole = third.read_bytes()
    third.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=f"what is between them is missing.*--until {offsets[2] - 1}"):
        Recording(tmp_path)
    assert read(tmp_path, until=offsets[2] - 1)[0] == offsets[:2]
    third.unlink()
    with pytest.raises(InputError, match="what is between them is missing"):
        Tape(tmp_path, UNIVERSE)
    third.write_bytes(whole)
    (tmp_path / "00000000000000000007.tape").write_bytes(whole)
    with pytest.raises(InputError, match="its name says otherwise"):
        Recording(tmp_path)


def test_two_tapes_in_one_directory_are_told(tmp_path):
    written = appends(8, 4)
    assert record(tmp_path / "a", written, segment_bytes=1) == record(tmp_path / "b", written, segment_bytes=1)
    name = sorted(path.name for path in (tmp_path / "a").glob("*.tape"))[2]
    (tmp_path / "b" / name).replace(tmp_path / "a" / name)
    with pytest.raises(InputError, match="are of two tapes"):
        Recording(tmp_path / "a")


def test_what_is_no_tape_is_told(tmp_path):
    with pytest.raises(InputError, match="holds no tape"):
        Recording(tmp_path)
    record(tmp_path, appends(9, 2))
    with pytest.raises(InputError, match="is damaged"):
        list(Recording(tmp_path).read(8))
    path = last_segment(tmp_path)
    whole = bytearray(path.read_bytes())
    whole[20] ^= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"The head of .* is damaged"):
        Recording(tmp_path)
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="is not a segment of a tape"):
        Recording(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_v": 99}, r"schema version 99; this one has 1\) and has other row types"),
        (
            {"universe": Universe(KEYS, frozenset(), frozenset({"auctions"}))},
            r"streams that this one does not know \(auctions\)",
        ),
    ],
)
def test_a_tape_of_another_version_is_refused_with_what_to_do(tmp_path, change, said):
    later = replace(new_header("tape", UNIVERSE, 0), created_by="9.9", **change)
    (tmp_path / f"{0:020d}.tape").write_bytes(later.to_bytes())
    with pytest.raises(InputError, match=rf"written by Tidewax 9\.9 .*{said}\. Replay it with the version"):
        Recording(tmp_path)


def test_a_stream_of_a_later_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(FEEDS, "auctions", FEEDS["trades"])
    record(tmp_path, [*appends(1, 1), [("x:A/B", Frame("x:A/B", "auctions", NO_ROWS, 5))]])
    monkeypatch.undo()
    with pytest.raises(InputError, match="stream 'auctions' of x:A/B, which this version does not know"):
        read(tmp_path)


def test_what_a_tape_does_not_hold_is_not_appended(tmp_path):
    rows = FEEDS["trades"].dtype
    with Tape(tmp_path, UNIVERSE) as tape:
        for key, frame in (
            ("x:A/B", Frame("x:A/B", "bars.1m", NO_ROWS, 5)),
            ("x:A/B", Frame("x:A/B", "funding", np.zeros(1, rows), 5)),
            ("x:A/B", Frame("x:A/B", "trades", ("record",), 5)),
            ("x:C/D", Frame("x:A/B", "trades", NO_ROWS, 5)),
        ):
            with pytest.raises(
                ValueError, match=r"a tape holds frames of trades, liquidations, book, top, ticker, funding"
            ):
                tape.append([(key, frame)])
        assert tape.end == 0


def test_one_process_writes_and_the_universe_stays(tmp_path):
    with Tape(tmp_path, UNIVERSE):
        with pytest.raises(RunError, match="another process records"):
            Tape(tmp_path, UNIVERSE)
        assert Recording(tmp_path).end == 0
    with pytest.raises(RunError, match=r"holds a tape of binance:BTC/USDT, .* and this run is of x:A/B"):
        Tape(tmp_path, Universe(("x:A/B",), frozenset(), frozenset({"trades"})))


def test_it_is_cut_back_to_the_end_of_a_record(tmp_path):
    written = appends(10, 12)
    offsets = record(tmp_path, written, segment_bytes=1_500)
    assert len(list(tmp_path.glob("*.tape"))) > 3
    for place in (10, 5, 1):
        with Tape(tmp_path, UNIVERSE) as tape:
            with pytest.raises(RunError, match="no record that is not rolled ends there"):
                tape.truncate(offsets[place] + 8)
            tape.truncate(offsets[place])
            assert tape.end == offsets[place]
            assert tape.append(written[place + 1]) == offsets[place + 1]
        assert read(tmp_path)[1] == [told(one) for one in written[: place + 2]]
    with Tape(tmp_path, UNIVERSE) as tape:
        tape.truncate(0)
        assert tape.append(written[0]) == offsets[0]
        with pytest.raises(RunError, match=f"goes on from {offsets[7]}"):
            list(tape.read(offsets[7]))


@contextmanager
def files_at_most(size):
    """Writing beyond this size fails, as on a full disk, after what fits was written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_failing_disk_leaves_no_half_record(tmp_path):
    written = appends(11, 3)
    with Tape(tmp_path, UNIVERSE) as tape:
        offsets = [tape.append(one) for one in written[:2]]
        size = last_segment(tmp_path).stat().st_size
        with files_at_most(size + HEAD_BYTES + 5), pytest.raises(RunError, match="Cannot write"):
            tape.append(written[2])
        assert last_segment(tmp_path).stat().st_size == size
        offsets.append(tape.append(written[2]))
    assert read(tmp_path) == (offsets, [told(one) for one in written])


def test_a_recording_does_not_see_what_is_appended_meanwhile(tmp_path):
    written = appends(12, 20)
    with Tape(tmp_path, UNIVERSE, segment_bytes=1_000) as tape:
        offsets = [tape.append(one) for one in written[:9]]
        recording = Recording(tmp_path)
        found = recording.read(0)
        first = next(found)
        offsets += [tape.append(one) for one in written[9:]]
        assert [first[0], *(after for after, _ in found)] == offsets[:9]
        assert recording.fingerprint == Recording(tmp_path, offsets[8]).fingerprint != Recording(tmp_path).fingerprint


@pytest.mark.slow
def test_what_was_appended_before_a_kill_is_there(tmp_path):
    r, said = np.random.default_rng(13), [0, 0]
    program = [sys.executable, str(ROOT / "tests" / "connectors" / "tape_samples.py"), str(tmp_path), "13"]
    for _ in range(12):
        process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)})
        until = said[0] + int(r.integers(1, 120))
        assert process.stdout is not None
        while said[0] < until:
            said = list(map(int, process.stdout.readline().split()))
        process.kill()
        for line in process.stdout.read().splitlines(keepends=True):
            said = list(map(int, line.split())) if line.endswith("\n") else said
        process.wait()
        process.stdout.close()
        offsets, found = read(tmp_path)
        assert len(found) >= said[0]
        assert offsets[said[0] - 1] == said[1]
        assert found == [told(one) for one in appends(13, len(found))]
    assert len(list(tmp_path.glob("*.tape"))) > 3
