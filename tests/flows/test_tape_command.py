"""`tidewax tape`: what is on a tape, rolled or not, and rolling by hand."""

from __future__ import annotations

import os

import numpy as np
import pytest
from tape_samples import UNIVERSE
from test_replay import run

from connectors.simulator import Market
from connectors.tape import Recording, Tape
from connectors.tape.contents import contents
from events.errors import InputError
from events.frames import NO_ROWS, Frame
from events.rows import FUNDING
from events.schema import NEVER
from events.times import MINUTE_NS, SECOND_NS, iso

BEGINS_NS = 1_750_507_200_000_000_000
FIRST, SECOND, QUIET = UNIVERSE.instruments


@pytest.fixture
def tape(tmp_path):
    """Trades of two instruments, a minute out of order between them, and funding rates of one."""
    trades = {
        key: Market(key, seed=seed, trades_per_minute=60.0).trades(BEGINS_NS, 0.05)
        for seed, key in enumerate((FIRST, SECOND))
    }
    rates = np.zeros(3, FUNDING)
    rates["available_at"] = BEGINS_NS + np.arange(3) * MINUTE_NS
    with Tape(tmp_path / "tape", UNIVERSE, segment_bytes=10_000) as tape:
        for pieces in zip(*(np.array_split(trades[key], 40) for key in (SECOND, FIRST))):
            tape.append([(key, Frame(key, "trades", rows, NEVER)) for key, rows in zip((SECOND, FIRST), pieces)])
        tape.append([(FIRST, Frame(FIRST, "funding", rates, NEVER)), (QUIET, Frame(QUIET, "trades", NO_ROWS, 7))])
    return tmp_path / "tape", trades, rates


def expected(trades, rates):
    rows = {(key, "trades"): of for key, of in trades.items()} | {(FIRST, "funding"): rates}
    return {key: (len(of), of["available_at"].min(), of["available_at"].max()) for key, of in sorted(rows.items())}


def line(said, *words):
    """The cells of the one line of a table that begins so."""
    [found] = [cells for text in said.splitlines() if (cells := text.split())[: len(words)] == list(words)]
    return found[len(words) :]


def test_what_is_on_it_rolled_or_not(tape):
    path, trades, rates = tape
    assert contents(Recording(path)) == expected(trades, rates)
    segments = len(list(path.glob("*.tape")))
    for rolled in (0, segments - 1):
        said = run("tape", "show", path)
        recording = Recording(path)
        assert f"segments: {segments}, {rolled} of them rolled" in said
        assert f"offsets: 0 to {recording.end}\n" in said
        assert recording.header.tape in said
        for (key, stream), (count, first, last) in expected(trades, rates).items():
            told = [iso(int(ns) // SECOND_NS * SECOND_NS) for ns in (first, last)]
            assert line(said, key, stream) == [f"{count:,}", *told]
        assert line(said, QUIET, "trades") == ["0"]
        assert contents(recording) == expected(trades, rates)
        assert f"{0 if rolled else segments - 1} segments rolled" in run("tape", "roll", path)


def test_what_is_torn_or_damaged_is_told(tape):
    path, _, _ = tape
    last = sorted(path.glob("*.tape"))[-1]
    os.truncate(last, last.stat().st_size - 5)
    said = run("tape", "show", path)
    assert f"{Recording(path).torn_bytes} of a record cut short" in said
    first = sorted(path.glob("*.tape"))[0]
    whole = bytearray(first.read_bytes())
    whole[-1] ^= 1
    first.write_bytes(whole)
    for command in ("show", "roll"):
        with pytest.raises(InputError, match="is damaged at byte"):
            run("tape", command, path)
    assert first.exists()
    for command in ("show", "roll"):
        with pytest.raises(InputError, match="holds no tape"):
            run("tape", command, path.parent)
    assert [file.name for file in path.parent.iterdir()] == ["tape"]
