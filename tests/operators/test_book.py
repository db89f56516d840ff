"""What a book does with updates that do not follow each other, with repeats, silence and voids; what it says of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from captured_books import update
from simple_book import SimpleBook, updates
from test_book_properties import sides

from events.frames import concat, control
from events.rows import BOOK_MINUTE
from events.schema import (
    BOOK_DELTA,
    BOOK_SEQUENCE,
    BOOK_SNAPSHOT,
    BUFFERING,
    EMPTY,
    END,
    HOLE,
    NEVER,
    RECONNECT,
    STALE,
    SYNCED,
    VOID,
)
from events.times import SECOND_NS
from operators.microstructure.book import BookMinutes, BookSettings
from operators.microstructure.columns import BOOK_COLUMNS, LASTS, MEANS
from operators.microstructure.waiting import MOST_ROWS, MOST_UPDATES

MINUTE = 1_700_000_040 * SECOND_NS


def snapshot(at_s, nonce=NEVER, bids=((100, 5),), asks=((101, 4),)):
    return update(BOOK_SNAPSHOT, MINUTE + round(at_s * SECOND_NS), (NEVER, nonce, NEVER), bids, asks)


def delta(at_s, first=NEVER, last=None, prev=NEVER, bids=(), asks=()):
    ids = (first, first if last is None else last, prev)
    return update(BOOK_DELTA, MINUTE + round(at_s * SECOND_NS), ids, bids, asks)


def run(*parts, until_s=600, controls=()):
    """(core, rows of minutes, gaps, dead letters)."""
    core = BookMinutes(BookSettings(cap_mult=None))
    core.instrument = "lab:BTC/USDT"
    said = {"book": concat(list(controls))} if controls else {}
    made = dict(core.advance(MINUTE + until_s * SECOND_NS, {"book": concat(list(parts))} if parts else {}, said))
    gaps = [tuple(gap) for gap in made["gaps.book"].tolist()] if "gaps.book" in made else []
    return core, made.get("book.1m", np.empty(0, BOOK_MINUTE)), gaps, made.get("dead_letters", ())


def value(row, name):
    return float(row["values"][BOOK_COLUMNS.index(name)])


def at(second):
    return MINUTE + round(second * SECOND_NS)


def state(core):
    return int(core.state["state"][0]), int(core.state["u"][0])


def test_a_book_begins_with_a_snapshot_and_what_came_before_continues_it():
    core, rows, _, _ = run(delta(1, 11, 12, bids=[(99, 1)]), delta(2, 13, 14, bids=[(98, 2)]))
    assert (state(core), len(rows)) == ((BUFFERING, NEVER), 0)
    assert state(BookMinutes(BookSettings())) == (EMPTY, NEVER)
    for nonce in (12, 13):  # the second update goes past both
        core, rows, gaps, dead = run(
            delta(1, 11, 12, bids=[(99, 1)]), delta(2, 13, 14, bids=[(98, 2)]), snapshot(3, nonce)
        )
        assert state(core) == (SYNCED, 14)
        assert sides(core)[0] == [(100, 5), (98, 2)]
        assert (rows["updates"][0], gaps, dead) == (2, [], ())


@pytest.mark.parametrize(
    ("first", "last", "prev", "follows"),
    [
        (11, 12, NEVER, True),
        (9, 11, NEVER, True),
        (12, 13, NEVER, False),
        (15, 16, 10, True),
        (9, 16, 8, True),  # the first after a snapshot reaches back to it
        (15, 16, 11, False),
    ],
)
def test_the_first_update_after_a_snapshot_covers_it(first, last, prev, follows):
    core, _, _, dead = run(snapshot(1, 10), delta(2, first, last, prev, bids=[(99, 1)]))
    assert state(core) == ((SYNCED, last) if follows else (STALE, NEVER))
    assert [letter.reason for letter in dead] == [] if follows else ["BOOK_SEQ"]


def test_a_later_update_must_name_the_one_before():
    fine = snapshot(1, 10), delta(2, 15, 16, 10), delta(3, 20, 21, 16)
    assert state(run(*fine)[0]) == (SYNCED, 21)
    assert state(run(*fine[:2], delta(3, 15, 21, 15))[0]) == (STALE, NEVER)


def test_a_gap_lasts_until_the_next_snapshot():
    parts = [
        snapshot(1, 10),
        delta(5, 11, bids=[(99, 1)]),
        delta(7, 14, 15, bids=[(98, 9)]),  # 12 and 13 are missing
        delta(8, 16, bids=[(97, 3)]),
        snapshot(70, 15, bids=[(100, 1)]),
        delta(95, 17, bids=[(96, 4)]),
    ]
    core, rows, gaps, dead = run(*parts)
    assert gaps == [
        (at(7), at(5), NEVER, BOOK_SEQUENCE, 12, 13),
        (at(70), at(5), at(70), BOOK_SEQUENCE, 12, 13),
    ]
    assert sides(core)[0] == [(100, 1), (97, 3), (96, 4)]
    (letter,) = dead
    assert (letter.reason, letter.ts, letter.raw["price"]) == ("BOOK_SEQ", at(7), 98.0)
    assert letter.detail == (
        "an update of the book of lab:BTC/USDT: it begins with id 14, the book is at 11; the book waits for a snapshot"
    )
    first, second, _ = rows
    assert (first["state"], first["synced_ns"], first["age_ns"]) == (BUFFERING, 6 * SECOND_NS, 55 * SECOND_NS)
    assert (second["state"], second["synced_ns"], second["updates"]) == (SYNCED, 50 * SECOND_NS, 3)
    assert value(second, "ofi_1") == 0


def test_no_flow_spans_a_gap():
    """A gap leaves the flows of all that comes after it as they are without what came before it."""
    after = [snapshot(20, 30, bids=[(104, 2)], asks=[(106, 1)]), delta(21, 31, bids=[(105, 7)])]
    alone = run(*after)[1][0]
    broken = run(snapshot(1, 10), delta(2, 15), *after)[1][0]
    crossed = run(snapshot(1, 10), delta(2, 11, bids=[(101, 3)]), *after)[1][0]
    assert value(alone, "ofi_1") == 7
    assert [value(row, "ofi_1") for row in (broken, crossed)] == [7, 7]


def test_a_snapshot_amid_updates_begins_flow_anew_but_one_after_another_does_not():
    """What was missed before the source asked for a snapshot is not order flow; books that are sent whole are."""
    fresh = snapshot(3, 20, bids=[(100, 50)])
    assert value(run(snapshot(1, 10), fresh)[1][0], "ofi_1") == 45
    assert value(run(snapshot(1, 10), delta(2, 11), fresh)[1][0], "ofi_1") == 0


def test_a_crossed_book_is_dropped():
    core, rows, gaps, dead = run(snapshot(1, 10), delta(5, 11, bids=[(101, 1)]), delta(6, 12, asks=[(103, 1)]))
    assert state(core) == (BUFFERING, NEVER)
    assert sides(core) == ([], [])
    assert gaps == [(at(5), at(1), NEVER, BOOK_SEQUENCE, NEVER, NEVER)]
    assert [(letter.reason, letter.ts) for letter in dead] == [("CROSSED", at(5))]
    assert (rows[0]["synced_ns"], rows[0]["updates"]) == (4 * SECOND_NS, 1)
    one = delta(5, 11, bids=[(101, 1)], asks=[(101, 0), (102, 1)])  # crossed only within the update
    assert state(run(snapshot(1, 10), one)[0]) == (SYNCED, 11)


def test_a_crossed_snapshot_is_refused_and_the_next_one_taken():
    core, _, gaps, dead = run(snapshot(1, 10, bids=[(102, 1)]), snapshot(2, 11))
    assert [letter.reason for letter in dead] == ["CROSSED"]
    assert [(gap[1], gap[2]) for gap in gaps] == [(at(1), NEVER), (at(1), at(2))]
    assert state(core) == (SYNCED, 11)


def test_repeats_change_nothing():
    parts = [
        snapshot(1, 10, bids=[(100, 5), (99, 2)]),
        delta(13, 11, bids=[(100, 7)]),
        delta(31, 12, bids=[(99.5, 3)]),
        delta(44, 13, asks=[(101, 0), (102, 3)]),
    ]
    once = run(*parts)[1]
    for k in (1, 2, 3):
        again = parts[k].copy()
        again["available_at"] += 3 * SECOND_NS
        assert run(*parts[: k + 1], again, *parts[k + 1 :])[1].tobytes() == once.tobytes()


def test_updates_without_ids_change_nothing_the_second_time():
    changes = [delta(13, bids=[(100, 7)]), delta(31, bids=[(99.5, 3)]), delta(44, asks=[(102, 3)])]
    once, twice = run(snapshot(1), *changes)[1], run(snapshot(1), *(part for part in changes for _ in range(2)))[1]
    assert once["values"].tobytes() == twice["values"].tobytes()
    assert (value(once[0], "ofi_1"), once["updates"][0], twice["updates"][0]) == (2, 4, 7)


def test_a_silent_book_is_stale_after_30_s():
    core, rows, gaps, _ = run(snapshot(10, 10), delta(75, 11, bids=[(100, 9)]))
    assert [row["available_at"] for row in rows] == [at(60), at(120)]
    assert [row["synced_ns"] for row in rows] == [30 * SECOND_NS, 30 * SECOND_NS]
    assert [row["state"] for row in rows] == [STALE, STALE]
    assert [row["age_ns"] for row in rows] == [50 * SECOND_NS, 45 * SECOND_NS]
    assert np.isnan([value(row, name) for row in rows for name in LASTS]).all()
    assert value(rows[1], "ofi_1") == 0, "flow over the time in which nobody knew"
    assert (gaps, state(core)) == ([], (SYNCED, 11))


def test_a_book_that_is_exactly_30_s_old_is_not_stale():
    (row,) = run(snapshot(30, 10))[1]
    assert (row["state"], row["age_ns"], row["synced_ns"]) == (SYNCED, 30 * SECOND_NS, 30 * SECOND_NS)
    assert value(row, "mid") == 100.5


def test_a_book_with_one_side_says_nothing_but_flow():
    (row,) = run(snapshot(40, 10), delta(45, 11, asks=[(101, 0)]), delta(50, 12, bids=[(100, 6)]))[1]
    assert (row["synced_ns"], row["updates"], row["state"]) == (5 * SECOND_NS, 3, SYNCED)
    assert math.isnan(value(row, "mid"))
    assert value(row, "ad_1") == 4.5
    assert value(row, "ofi_1") == 4 + 1  # the asks withdrew, then a bid was added


def test_memory_of_what_waits_is_bounded():
    many = [delta(1, 100 + k, bids=[(50, k + 1)]) for k in range(MOST_UPDATES + 10)]
    core, _, _, _ = run(*many)
    assert (core.waiting.n_updates, core.waiting.n_rows) == (MOST_UPDATES, MOST_UPDATES)
    core = run(*many, snapshot(2, 105))[0]  # the ids after it are among those that went
    assert state(core)[0] == BUFFERING
    core = run(*many, snapshot(2, 109))[0]
    assert (state(core), sides(core)[0][-1]) == ((SYNCED, 100 + MOST_UPDATES + 9), (50, MOST_UPDATES + 10))
    wide = [(price, 1) for price in range(1, 60)]
    core = run(*(delta(1, k, bids=wide) for k in range(1000)))[0]
    assert MOST_ROWS - len(wide) < core.waiting.n_rows <= MOST_ROWS


def test_neither_a_gap_nor_a_bad_time_makes_rows_by_its_length():
    """Two minutes of the first update, then one of an update ten years later."""
    years_s = 10 * 365 * 86_400
    core, rows, _, _ = run(snapshot(50, 10), delta(years_s + 50, 11), until_s=years_s + 7_200)
    assert [(row["available_at"] - MINUTE) // SECOND_NS for row in rows] == [60, 120, years_s + 60, years_s + 120]
    assert state(core) == (SYNCED, 11)


def test_two_faults_of_one_time_are_two_letters():
    parts = [snapshot(1, 10), delta(2, 15), snapshot(2, 20, bids=[(102, 1)]), snapshot(3, 21), delta(3, 30)]
    core, _, _, dead = run(*parts)
    assert [letter.reason for letter in dead] == ["BOOK_SEQ", "CROSSED", "BOOK_SEQ"]
    assert [letter.offset for letter in dead] == [at(2), at(2) + 1, at(3)]
    assert len({letter.record_id for letter in dead}) == 3
    assert state(core) == (STALE, NEVER)


def test_the_end_of_a_bounded_run_is_not_silence():
    said = [control(END, at(20), at(20))]
    core, rows, _, _ = run(snapshot(10, 10), controls=said)
    assert len(rows) == 0
    assert dict(core.advance(at(6000), {}, {})) == {}


def test_a_depth_that_no_book_has():
    with pytest.raises(ValueError, match="from 20 to 1000 levels, not 5"):
        BookMinutes(BookSettings(depth=5))


class TestVoid:
    """Voids begin at 30 s of the first minute and last to the end of a minute; what comes in them, comes late."""

    late = (snapshot(10, 10), delta(40, 11, bids=[(100, 8)]), delta(62, 12, bids=[(100, 9)]), delta(130, 13))

    def minutes(self, *spans, parts=late):
        rows = run(*parts, controls=[control(VOID, at(a), at(a), at(b)) for a, b in spans])[1]
        return {int((row["available_at"] - MINUTE) // SECOND_NS): row for row in rows}

    def test_none(self):
        rows = self.minutes()
        assert [rows[t]["voided"] for t in (60, 120, 180)] == [0, 0, 0]
        assert value(rows[60], "ofi_1") == 3

    def test_minutes_that_end_in_it_have_no_row_and_those_that_touch_it_say_so(self):
        rows = self.minutes((30, 60))
        assert list(rows) == [120, 180]
        assert [rows[t]["voided"] for t in (120, 180)] == [1, 0]

    def test_what_comes_in_it_takes_effect_when_it_ends_and_begins_a_flow(self):
        rows = self.minutes((30, 60))
        assert rows[120]["updates"] == 2  # that of 40 s, then that of 62 s
        assert value(rows[120], "ofi_1") == 1, "from 8 to 9, not from 5"
        assert rows[120]["synced_ns"] == 32 * SECOND_NS - 1, "until 30 s after its own time, then of the other's"

    def test_one_void_after_another_is_one(self):
        apart = self.minutes((30, 60), (60 + 1e-9, 120))
        assert list(apart) == [180]
        one = self.minutes((30, 120))
        assert list(one) == [180]
        assert (apart[180]["voided"], apart[180]["synced_ns"]) == (one[180]["voided"], one[180]["synced_ns"])
        assert apart[180]["values"][5:].tobytes() == one[180]["values"][5:].tobytes()  # all but flows

    def test_from_a_boundary_on_the_minute_before_is_whole(self):
        rows = self.minutes((60, 120))
        assert list(rows) == [60, 180]
        assert [rows[t]["voided"] for t in (60, 180)] == [0, 1]
        assert rows[60].tobytes() == self.minutes()[60].tobytes()

    def test_within_a_minute(self):
        rows = self.minutes((20, 25))
        assert [rows[t]["voided"] for t in (60, 120, 180)] == [1, 0, 0]
        assert rows[60]["synced_ns"] == 35 * SECOND_NS + 10 * SECOND_NS - 1  # less the 5 s and the 1 ns of the end
        assert value(rows[60], "ofi_1") == 0

    def test_before_the_first_snapshot(self):
        rows = self.minutes((2, 5))
        assert [rows[t]["voided"] for t in (60, 120)] == [1, 0]
        assert rows[60]["values"].tobytes() == self.minutes()[60]["values"].tobytes()

    def test_an_update_keeps_its_own_age(self):
        rows = self.minutes((20, 60), parts=(snapshot(10, 10), delta(25, 11), delta(170, 12)))
        assert list(rows) == [120, 180, 240]  # at the void's end it is 35 s old
        assert (rows[120]["synced_ns"], rows[120]["age_ns"]) == (0, 95 * SECOND_NS)


class TestHole:
    """A source that knows of missing updates where no id shows them says so; the next snapshot heals it."""

    parts = (snapshot(10), delta(20, bids=[(100, 8)]), snapshot(40, bids=[(100, 1)]), delta(50, bids=[(100, 4)]))
    hole = control(HOLE, at(20), at(20), at(40), RECONNECT)

    def test_it_is_a_gap_of_its_reason_and_the_book_is_not_known_meanwhile(self):
        core, rows, gaps, dead = run(*self.parts, controls=[self.hole])
        assert (state(core), dead) == ((SYNCED, NEVER), ())
        assert gaps == [
            (at(20), at(20), NEVER, RECONNECT, NEVER, NEVER),
            (at(40), at(20), at(40), RECONNECT, NEVER, NEVER),
        ]
        assert rows[0]["synced_ns"] == 10 * SECOND_NS + 20 * SECOND_NS
        assert (rows[0]["voided"], rows[0]["updates"]) == (0, 4)
        assert value(rows[0], "ofi_1") == 3 + 3, "what the snapshot changed is no flow"

    def test_without_it_the_snapshot_is_one_more_state(self):
        _, rows, gaps, _ = run(*self.parts)
        assert (rows[0]["synced_ns"], gaps) == (50 * SECOND_NS, [])

    def test_of_a_book_that_is_not_known_it_says_nothing(self):
        core, rows, gaps, _ = run(controls=[self.hole])
        assert (state(core), len(rows), gaps) == ((EMPTY, NEVER), 0, [])

    def test_before_a_void_that_begins_with_it(self):
        _, rows, gaps, _ = run(*self.parts, controls=[control(VOID, at(20), at(20), at(30)), self.hole])
        assert len(gaps) == 2
        assert (rows[0]["voided"], rows[0]["synced_ns"]) == (1, 30 * SECOND_NS)


def test_the_plain_book_tells_a_good_book_from_a_bad_one():
    """The second book of these tests is not one that says yes to everything."""
    plain = SimpleBook()
    for part in updates(concat([snapshot(1, 10), delta(2, 11, bids=[(100, 6)]), delta(3, 14)])):
        plain.take(part)
    assert (plain.synced, plain.broken) == (False, [(at(3), "BOOK_SEQ")])
    assert len(MEANS) == 16
