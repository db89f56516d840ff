"""Where rows enter: late, duplicate and poisonous rows, holes in ids; how frames are cut decides nothing."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab import KEY, START, digest, funding, klines, together, trades

from events.frames import NO_ROWS, Frame, control
from events.rows import TRADE
from events.schema import END, HOLE, MALFORMED, NEVER
from events.times import MINUTE_NS, SECOND_NS
from operators.bars import Bars
from operators.intake import Intake
from operators.ordered import Ordered

LATENESS = 2 * SECOND_NS


def admit(rows, chunk=10**9, lateness_ns=LATENESS, sequenced=False, restart=0.0, seed=1, name="trades"):
    """All that the intake makes of rows in this order of arrival, and of their end."""

    def new():
        return Intake({name: lateness_ns}, frozenset([KEY] if sequenced else []))

    r, stage, out = np.random.default_rng(seed), new(), []
    frames = [Frame(KEY, name, rows[a : a + chunk], NEVER) for a in range(0, len(rows), chunk)]
    last = int(rows["available_at"].max())
    frames.append(Frame(KEY, name, NO_ROWS, last + 1, control(END, last)))
    for frame in frames:
        stage.push(frame)
        if r.random() < 0.7:
            out += stage.advance()
            if r.random() < restart:
                blob, stage = pickle.dumps(stage.snapshot()), new()
                stage.restore(pickle.loads(blob))
    return out + stage.advance()


def bars_of(frames):
    stage, out = Ordered(Bars((("1m", MINUTE_NS),), 60), ("trades",)), []
    for frame in frames:
        if frame.name == "trades":
            stage.push(frame)
            out += stage.advance()
    return together(out)


@given(
    chunk=st.sampled_from([1, 3, 64, 10**9]),
    restart=st.sampled_from([0.0, 0.5]),
    sequenced=st.booleans(),
    seed=st.integers(0, 5),
)
def test_chunk_and_restart_law(chunk, restart, sequenced, seed):
    rows = trades(400, seed, SECOND_NS, shuffle_ns=5 * SECOND_NS)
    rows = np.concatenate([rows, rows[50:80]])[np.random.default_rng(seed).permutation(430)] if seed % 2 else rows
    rows["price"][7::97] = -1.0
    whole = admit(rows, lateness_ns=0 if sequenced else LATENESS, sequenced=sequenced)
    got = admit(rows, chunk, 0 if sequenced else LATENESS, sequenced, restart, seed)
    assert digest(together(got)) == digest(together(whole))
    assert digest(bars_of(got)) == digest(bars_of(whole))
    assert max(f.watermark for f in got) == max(f.watermark for f in whole)


def test_order_within_the_lateness_changes_no_bar():
    straight = trades(3_000, 3, SECOND_NS)
    shuffled = trades(3_000, 3, SECOND_NS, shuffle_ns=LATENESS - 1)
    assert not np.array_equal(straight, shuffled)
    out = admit(shuffled, 50)
    assert digest(bars_of(out)) == digest(bars_of(admit(straight, 50)))
    (counts,) = together(out)["counts"]
    assert counts.reordered > 100
    assert counts.rejected == {}


def test_every_row_twice_gives_the_same_bars_and_is_counted():
    rows = trades(2_000, 4, SECOND_NS)
    for sequenced in (False, True):
        twice = admit(np.repeat(rows, 2), 33, lateness_ns=0, sequenced=sequenced)
        assert digest(bars_of(twice)) == digest(bars_of(admit(rows, lateness_ns=0)))
        (counts,) = together(twice)["counts"]
        assert counts.rejected == {"DUPLICATE": 2_000}
        assert "dead_letters" not in together(twice)


def test_rows_later_than_allowed_are_dead_lettered_and_quantities_are_conserved():
    rows = trades(3_000, 5, SECOND_NS, shuffle_ns=9 * SECOND_NS)
    out = together(admit(rows, 20))
    late = out["dead_letters"]
    assert len(late) > 100
    assert {letter.reason for letter in late} == {"LATE"}
    made = bars_of(admit(rows, 20))
    in_bars = float(np.sum(made["bars.1m"]["volume"])) + float(np.sum(made["bars.open.1m"]["volume"]))
    assert in_bars + sum(letter.raw["qty"] for letter in late) == pytest.approx(float(np.sum(rows["qty"])), rel=1e-12)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("price", float("nan"), "NON_FINITE"),
        ("qty", float("inf"), "NON_FINITE"),
        ("price", 0.0, "NON_POSITIVE"),
        ("qty", -1.0, "NON_POSITIVE"),
        ("price", 1e13, "OUT_OF_RANGE"),
        ("side", 2, "BAD_SIDE"),
        ("flags", MALFORMED, "MALFORMED"),
    ],
)
def test_a_poison_row_is_one_dead_letter_and_its_neighbours_are_unharmed(field, value, reason):
    rows = trades(100, 6)
    clean = np.delete(rows, 40)
    rows[field][40] = value
    rows["available_at"][40] += 10**15  # a refused row moves no watermark, however far ahead it claims to be
    out = admit(rows, 9, lateness_ns=0)
    (letter,) = together(out)["dead_letters"]
    assert (letter.reason, letter.offset, letter.step) == (reason, 40, "intake")
    assert together(out)["trades"].tobytes() == clean.tobytes()


def test_a_jump_in_consecutive_ids_is_a_hole_stated_in_the_stream():
    rows = np.delete(trades(300, 7, SECOND_NS), [*range(100, 160), 250])
    out = admit(rows, 11, lateness_ns=0, sequenced=True)
    said = np.concatenate([f.control for f in out if len(f.control)])
    gap, single = said[said["kind"] == HOLE]
    assert (single["id_from"], single["id_to"]) == (250, 250)
    assert (gap["id_from"], gap["id_to"]) == (100, 159)
    assert (gap["since"], gap["until"]) == (rows["available_at"][99], rows["available_at"][100])


def test_ids_that_are_forgotten_stay_few():
    rows = np.zeros(20_000, TRADE)
    rows["available_at"] = np.arange(20_000) * SECOND_NS
    rows["trade_id"] = -2 - np.random.default_rng(8).permutation(20_000)  # hashed ids, in no order
    rows["price"] = rows["qty"] = 1.0
    stage = Intake({"trades": 60 * SECOND_NS})
    stage.push(Frame(KEY, "trades", rows, NEVER))
    stage.advance()
    assert len(pickle.dumps(stage.snapshot())) < 4_000
    assert len(stage.streams["trades"].ids) <= 2_048


def test_funding_rates_have_rules_of_their_own():
    rates = funding(30, 9)
    rates["rate"][5], rates["interval_h"][6] = 0.5, 0.0
    out = together(admit(np.concatenate([rates[:10], rates[9:]]), 4, lateness_ns=0, name="funding"))
    assert [letter.reason for letter in out["dead_letters"]] == ["OUT_OF_RANGE", "OUT_OF_RANGE"]
    assert out["counts"][0].rejected == {"DUPLICATE": 1, "OUT_OF_RANGE": 2}
    assert len(out["funding"]) == 28


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"flags": MALFORMED}, "MALFORMED"),
        ({"close": float("nan")}, "NON_FINITE"),
        ({"volume": float("inf")}, "NON_FINITE"),
        ({"low": 0.0}, "NON_POSITIVE"),
        ({"high": 1e13}, "OUT_OF_RANGE"),
        ({"volume": -1.0}, "OUT_OF_RANGE"),
        ({"quote_volume": float("inf")}, "OUT_OF_RANGE"),
        ({"low": 1e6, "high": 2e6}, "OHLC_INCONSISTENT"),
        ({"high": 1e-3, "low": 1e-4}, "OHLC_INCONSISTENT"),
        ({"ts_open": START + 1}, "MISALIGNED"),
    ],
)
def test_a_poison_kline_is_one_dead_letter_and_its_neighbours_are_unharmed(change, reason):
    rows = klines(100, 6)
    clean = np.delete(rows, 40)
    for field, value in change.items():
        rows[field][40] = value
    rows["available_at"][40] += 10**15
    out = together(admit(rows, 9, lateness_ns=0, name="klines.1m"))
    (letter,) = out["dead_letters"]
    assert (letter.reason, letter.offset) == (reason, 40)
    assert out["klines.1m"].tobytes() == clean.tobytes()


@pytest.mark.parametrize("chunk", [1, 3, 10**9])
@pytest.mark.parametrize("restart", [0.0, 0.5])
def test_klines_that_repeat_or_are_still_forming_are_only_counted_and_late_ones_told(chunk, restart):
    rows = klines(6_000, 7)
    sent = np.concatenate([rows[:50], rows[49:50], rows[50:], rows[10:11]])
    sent["close"][50] += 1.0  # the same minute, other prices: the first counts
    sent["high"][50] += 1.0
    sent["closed"][70] = 0
    out = together(admit(sent, chunk, 0, restart=restart, name="klines.1m"))
    assert out["counts"][0].rejected == {"DUPLICATE": 1, "LATE": 1, "NOT_CLOSED": 1}
    assert [letter.reason for letter in out["dead_letters"]] == ["LATE"]
    assert out["klines.1m"].tobytes() == np.delete(rows, 69).tobytes()


def test_klines_within_the_lateness_are_put_in_order_and_repeats_of_them_found():
    rows = klines(3_000, 8)
    r = np.random.default_rng(1)
    sent = np.repeat(rows, 2)[np.argsort(np.repeat(np.arange(3_000), 2) + r.integers(0, 30, 6_000), kind="stable")]
    out = together(admit(sent, 50, 200 * MINUTE_NS, name="klines.1m"))
    assert out["counts"][0].rejected == {"DUPLICATE": 3_000}
    assert out["counts"][0].reordered > 100
    assert np.sort(out["klines.1m"], order="available_at").tobytes() == rows.tobytes()


def test_a_stream_without_rules_is_refused():
    with pytest.raises(ValueError, match="rules of admission"):
        Intake().push(Frame(KEY, "weather", trades(1, 1), NEVER))
