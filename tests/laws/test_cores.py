"""The laws over every core: any delivery, restarts, prefixes, and statements about streams give the same bytes."""

from __future__ import annotations

import numpy as np
import pytest
from cases import cases, found_cores
from hypothesis import given
from hypothesis import strategies as st
from lab import ALL, DELIVERIES, END_OF_TIME, START, deliver, digest, drive

from events.frames import Frame
from events.rows import BAR
from events.times import DAY_NS, MINUTE_NS, SECOND_NS
from operators.bar_kernels import PAUSE, build
from operators.bars import Bars

pytestmark = pytest.mark.slow

CASES = cases()


def key_of(rows):
    """The times of rows or records."""
    return np.array([r.ts for r in rows]) if isinstance(rows, tuple) else rows["available_at"]


def same_head(part, whole):
    if isinstance(part, tuple):
        return part == whole[: len(part)]
    return part.tobytes() == whole[: len(part)].tobytes()


@pytest.fixture(scope="module", params=list(CASES))
def case(request):
    c = CASES[request.param]
    whole = drive(c.core, c.streams, deliver(c.streams, ALL, 2 * SECOND_NS, control=c.controls))
    for name in c.outputs:
        assert len(whole.get(name, ())), f"{name} has no rows, so nothing would be shown"
    return c, whole


def test_every_core_has_a_case():
    named = {name.split(",")[0] for name in CASES}
    assert {core.__name__ for core in found_cores()} <= named
    assert len(found_cores()) >= 5


@pytest.mark.parametrize("delivery", DELIVERIES, ids=str)
@pytest.mark.parametrize("restart", [0.0, 0.05])
def test_chunk_and_restart_law(case, delivery, restart):
    c, whole = case
    if c.late_rows and not delivery[1]:
        delivery = (delivery[0], 2 * SECOND_NS, *delivery[2:])
    frames = deliver(c.streams, *delivery, control=c.controls)
    assert digest(drive(c.core, c.streams, frames, restart)) == digest(whole)


@pytest.mark.parametrize("seed", range(6))
def test_prefix_law(case, seed):
    c, whole = case
    r = np.random.default_rng(seed)
    cut = (
        int(r.integers(START + 60 * MINUTE_NS, START + 8 * 3600 * SECOND_NS))
        if seed
        else START // DAY_NS * DAY_NS + DAY_NS
    )
    if seed == 1:
        cut = cut // MINUTE_NS * MINUTE_NS
    part = {
        name: np.sort(rows[rows["available_at"] < cut], order="available_at", kind="stable")
        for name, rows in c.streams.items()
    }
    controls = {name: rows[rows["available_at"] < cut] for name, rows in c.controls.items()}
    got = drive(c.core, c.streams, deliver(part, 501, end=cut, control=controls))
    for name, rows in got.items():
        assert same_head(rows, whole[name]), (name, cut)
        due = int((key_of(whole[name]) < cut).sum())
        assert due - 1 <= len(rows) <= due + 1, (name, cut, len(rows), due)


@given(data=st.data())
def test_any_cuts_at_all(data):
    """Frames of any size, several streams interleaved in any way, any lag: the laws at random."""
    name = data.draw(st.sampled_from([n for n, c in CASES.items() if not c.late_rows]))
    c = CASES[name]
    frames, r = [], np.random.default_rng(data.draw(st.integers(0, 10_000)))
    for stream, rows in c.streams.items():
        cuts = np.sort(r.choice(len(rows), size=int(r.integers(0, 30)), replace=True)) if len(rows) else []
        said = c.controls.get(stream)
        mine = [] if said is None else [Frame("lab:BTC/USDT", stream, rows[:0], -(2**63), said)]
        for a, b in zip([0, *cuts], [*cuts, len(rows)]):
            now = int(rows["available_at"][b - 1]) if b else START
            mine.append(Frame("lab:BTC/USDT", stream, rows[a:b], now - int(r.integers(0, 2)) * SECOND_NS))
        frames.append([*mine, Frame("lab:BTC/USDT", stream, rows[:0], END_OF_TIME)])
    mixed = []
    while any(frames):
        stream = frames[r.integers(len(frames))]
        mixed += [stream.pop(0) for _ in range(min(len(stream), int(r.integers(1, 5))))]
    whole = drive(c.core, c.streams, deliver(c.streams, ALL, control=c.controls))
    assert digest(drive(c.core, c.streams, mixed, restart=0.1)) == digest(whole)


def test_kernels_run_with_bounds_checks():
    """A kernel that is given too little room says so, instead of writing past it."""
    bars, ticks = Bars((("1m", MINUTE_NS),), 60), CASES["Bars"].streams["trades"]
    nothing, end = np.empty(0, BAR), int(ticks["available_at"][-1])
    with pytest.raises(IndexError):
        build(ticks, end, MINUTE_NS, 60, bars.open[0], bars.extra[0], nothing, np.empty(0, PAUSE))
