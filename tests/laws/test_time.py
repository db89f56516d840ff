"""The time vectors of the specification: exclusive watermarks, rows on boundaries, voids, in every interleaving."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from lab import KEY, Joined, together

from events.frames import NO_ROWS, Frame, control
from events.identity import id_hash
from events.rows import BAR, TRADE
from events.schema import NEVER, VOID
from events.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from operators.bars import Bars
from operators.latest import Input, Latest
from operators.ordered import LARGE, Ordered

T = 1_700_006_400 * SECOND_NS
CLOCK = np.dtype([("available_at", "i8")])
RATE = np.dtype([("available_at", "i8"), ("seq", "i8"), ("rate", "f8")])


def clock_row(at: int) -> Frame:
    return Frame(KEY, "clock", np.array([(at,)], CLOCK), at)


def rate_row(at: int, rate: float, seq: int) -> Frame:
    return Frame(KEY, "rates", np.array([(at, seq, rate)], RATE), at)


def beat(name: str, at: int) -> Frame:
    return Frame(KEY, name, NO_ROWS, at)


def void(since: int, until: int) -> Frame:
    return Frame(KEY, "rates", NO_ROWS, NEVER, control(VOID, since, since, until))


CLOCK_FRAMES = [
    f for at in (T, T + MINUTE_NS, T + 2 * MINUTE_NS) for f in (clock_row(at), beat("clock", at + 1))
]  # fmt: skip


def interleavings(a: list[Frame], b: list[Frame]) -> Iterator[list[Frame]]:
    if not a or not b:
        yield a + b
        return
    for rest in interleavings(a[1:], b):
        yield [a[0], *rest]
    for rest in interleavings(a, b[1:]):
        yield [b[0], *rest]


def joined(frames: list[Frame], ttl_ns: int, reduced: bool) -> list[tuple[int, float, int]]:
    """(time, rate, age) of each clock row; `reduced`: the rates go through `Latest` first, voids and all."""
    join = Ordered(Joined("out", "clock", (Input("rates", RATE, ttl_ns),)), ("clock", "rates"))
    latest, out = Ordered(Latest("rates", MINUTE_NS), ("rates",)), []
    for frame in frames:
        if reduced and frame.name == "rates":
            latest.push(frame)
            parts = latest.advance()
        else:
            parts = [frame]
        for part in parts:
            join.push(part)
            out += join.advance()
    rows = together(out).get("out", np.empty(0, [("available_at", "i8")]))
    return [(int(r["available_at"]), float(r["rates"]["rate"]), int(r["rates.age"])) for r in rows]


def check(rates: list[Frame], ttl_ns: int, expected: list[tuple[float | None, int]], count: int, reduced: bool) -> None:
    seen: Any = []
    for frames in interleavings(CLOCK_FRAMES, rates):
        seen.append(joined(frames, ttl_ns, reduced))
    assert len(seen) == count
    wanted = [
        (T + k * MINUTE_NS, rate, age * SECOND_NS) if rate is not None else (T + k * MINUTE_NS, None, NEVER)
        for k, (rate, age) in enumerate(expected)
    ]
    for rows in seen:
        assert [(t, None if rate != rate else rate, age) for t, rate, age in rows] == wanted  # noqa: PLR0124


@pytest.mark.parametrize("reduced", [False, True])
def test_a_rate_on_the_boundary_counts_in_all_210_interleavings(reduced):
    rates = [
        rate_row(T - 8 * HOUR_NS, 0.00005, 0),
        rate_row(T, 0.0001, 1),
        beat("rates", T + SECOND_NS),
        beat("rates", T + 130 * SECOND_NS),
    ]
    check(rates, DAY_NS, [(0.0001, 0), (0.0001, 60), (0.0001, 120)], 210, reduced)


@pytest.mark.parametrize("reduced", [False, True])
def test_a_void_hides_its_stream_in_all_462_interleavings(reduced):
    k1, k2 = rate_row(T - 100 * SECOND_NS, 0.0004, 0), rate_row(T + 20 * SECOND_NS, 0.0006, 1)
    end = beat("rates", T + 121 * SECOND_NS)
    voids = [void(T - 100 * SECOND_NS, T), void(T + 1, T + MINUTE_NS)]
    check([k1, *voids, k2, end], 180 * SECOND_NS, [(None, 0), (None, 0), (0.0006, 100)], 462, reduced)
    check([k1, k2, end], 180 * SECOND_NS, [(0.0004, 100), (0.0006, 40), (0.0006, 100)], 84, reduced)


def test_a_stream_that_never_comes_is_void_and_holds_nothing():
    rates = [void(NEVER, T + DAY_NS)]
    assert [age for _, _, age in joined([*rates, *CLOCK_FRAMES], DAY_NS, False)] == [NEVER] * 3


@pytest.mark.parametrize("reduced", [False, True])
def test_a_void_releases_the_join_at_once_up_to_its_end_and_no_further(reduced):
    since = T - 100 * SECOND_NS
    frames = [rate_row(since, 0.1, 0), *CLOCK_FRAMES, void(since, T + MINUTE_NS)]
    assert [at for at, _, _ in joined(frames, DAY_NS, reduced)] == [T, T + MINUTE_NS]


@pytest.mark.parametrize("restart", [False, True])
def test_a_void_of_an_instruments_own_trades_is_waited_for_by_itself_and_not_by_others(restart):
    """The void goes through the bars to a join with them: of the same instrument, which waits, and of another, which goes on."""

    def again(stage, core):
        if not restart:
            return stage
        fresh = Ordered(core(), stage.streams)
        fresh.restore(pickle.loads(pickle.dumps(stage.snapshot())))
        return fresh

    def bars():
        return Bars((("1m", MINUTE_NS),), 60)

    def join():
        return Joined("out", "clock", (Input("bars.1m", BAR, DAY_NS),))

    ticks = np.zeros(2, TRADE)
    ticks["available_at"], ticks["seq"], ticks["price"], ticks["qty"] = (
        [T - 90 * SECOND_NS, T + SECOND_NS],
        [0, 1],
        9.0,
        1.0,
    )
    said = control(VOID, T - 90 * SECOND_NS, T - 90 * SECOND_NS, T, id_from=id_hash(KEY))
    made, other, out = Ordered(bars(), ("trades",)), "kraken:BTC/USD", {}
    made.push(Frame(KEY, "trades", ticks[:1], T - 90 * SECOND_NS))
    made.push(Frame(KEY, "trades", NO_ROWS, NEVER, said))
    waiting = made.advance()
    made = again(made, bars)
    made.push(Frame(KEY, "trades", ticks[1:], T + SECOND_NS))
    late = made.advance()
    for key in (KEY, other):
        stage = Ordered(join(), ("clock", "bars.1m"))
        for frame in (clock_row(T), beat("clock", T + 1), *(f for f in waiting if f.name == "bars.1m")):
            stage.push(frame._replace(instrument=key))
        before = stage.advance()
        stage = again(stage, join)
        for frame in late:
            if frame.name == "bars.1m":
                stage.push(frame._replace(instrument=key))
        out[key] = [
            together(part).get("out", np.empty(0, join().dtype))["bars.1m.age"].tolist()
            for part in (before, stage.advance())
        ]
    assert out == {KEY: [[], [0]], other: [[NEVER], []]}


def test_a_bar_closes_when_the_watermark_reaches_its_end():
    """Vector "boundary": trades just before and on the boundary; the row on it belongs to the next bar."""
    ticks = np.zeros(3, TRADE)
    ticks["available_at"] = [T - 30 * SECOND_NS, T - 1, T]
    ticks["seq"], ticks["price"], ticks["qty"] = [0, 1, 2], [100.0, 100.5, 101.0], 1.0
    stage = Ordered(Bars((("1m", MINUTE_NS),), 60), ("trades",))
    stage.push(Frame(KEY, "trades", ticks[:2], T - 1))
    assert together(stage.advance()) == {}
    stage.push(Frame(KEY, "trades", ticks[2:], T))
    (frame,) = (f for f in stage.advance() if f.name == "bars.1m")
    assert frame.watermark == T + 1
    assert frame.rows[["open", "close", "n_trades"]].tolist() == [(100.0, 100.5, 2)]


def test_a_row_lives_up_to_its_time_to_live_and_not_longer():
    out = joined([rate_row(T, 0.1, 0), beat("rates", T + DAY_NS), *CLOCK_FRAMES], MINUTE_NS, False)
    assert [age for _, _, age in out] == [0, MINUTE_NS, NEVER]


def test_a_row_below_a_promise_stops_with_a_sentence():
    stage = Ordered(Latest("rates", MINUTE_NS), ("rates",))
    stage.push(beat("rates", T))
    stage.advance()
    stage.push(rate_row(T - 1, 0.1, 0))
    stage.push(beat("rates", T + 1))
    with pytest.raises(ValueError, match="came after everything before"):
        stage.advance()


class Seen:
    """A core that gives what it gets."""

    instrument, outputs = "", ("seen",)

    def promise(self, name, watermark):
        return watermark

    def advance(self, watermark, rows, control):
        yield "seen", rows.get("trades", NO_ROWS)

    def snapshot(self):
        return None

    def restore(self, snapshot):
        pass


@pytest.mark.parametrize("overlap_ns", [0, 1, 2_000, 5_000_000])
def test_large_parts_are_neither_lost_nor_disordered_however_they_overlap(overlap_ns):
    """Parts that are in order by themselves: what waited may lie before, at, or among the rows that follow."""
    n = 2 * LARGE
    rows = np.zeros(2 * n, TRADE)
    rows["available_at"] = T + np.arange(2 * n) // 3 * 1_000
    rows["available_at"][n:] -= overlap_ns
    rows["seq"] = np.arange(2 * n)
    stage, out = Ordered(Seen(), ("trades",)), []
    first = int(rows["available_at"][n]) - 1_000
    for part, watermark in ((rows[:n], first), (rows[n:], T + DAY_NS)):
        stage.push(Frame(KEY, "trades", part, watermark, in_order=True))
        out += stage.advance()
    got = together(out)["seen"]
    assert got.tobytes() == rows[np.lexsort((rows["seq"], rows["available_at"]))].tobytes()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("timeframe", ["1m", "5m"])
def test_voids_told_one_by_one_release_another_instrument_at_each_boundary(timeframe, restart):
    """The bars of a silent instrument, of each timeframe, hold nobody for longer than until the next void is told."""
    timeframes = (("1m", MINUTE_NS), ("5m", 5 * MINUTE_NS))
    name, other = f"bars.{timeframe}", "kraken:BTC/USD"

    def join():
        return Joined("out", "clock", (Input(name, BAR, DAY_NS),))

    ticks = np.zeros(1, TRADE)
    ticks["available_at"], ticks["price"], ticks["qty"] = T - 90 * SECOND_NS, 9.0, 1.0
    made = Ordered(Bars(timeframes, 60), ("trades",))
    stage = Ordered(join(), ("clock", name))
    made.push(Frame(KEY, "trades", ticks, T - 30 * SECOND_NS))
    since, seen = T - 30 * SECOND_NS, []
    for boundary in range(T, T + 23 * MINUTE_NS, MINUTE_NS):
        made.push(Frame(KEY, "trades", NO_ROWS, NEVER, control(VOID, since, since, boundary, id_from=id_hash(KEY))))
        since = boundary + 1
        for frame in (clock_row(boundary), beat("clock", boundary + 1), *made.advance()):
            if frame.name in ("clock", name):
                stage.push(frame._replace(instrument=other))
        if restart:
            held, stage = pickle.dumps(stage.snapshot()), Ordered(join(), ("clock", name))
            stage.restore(pickle.loads(held))
        seen.append(together(stage.advance())["out"]["available_at"].tolist())
        assert seen[-1] == [boundary], "it was held"
    made.push(Frame(KEY, "trades", NO_ROWS, T + 40 * MINUTE_NS))  # it is heard of again
    for frame in (clock_row(T + 30 * MINUTE_NS), beat("clock", T + 31 * MINUTE_NS), *made.advance()):
        if frame.name in ("clock", name):
            stage.push(frame._replace(instrument=other))
    (row,) = together(stage.advance())["out"]
    assert row[f"{name}.age"] == 0
