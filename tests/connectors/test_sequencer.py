"""The sequencer of trades with ids that count: whatever the stream does, each id goes out once, in order, or its hole is stated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange.sequencer import Arrival, Fill, Hole, Sequencer
from events.errors import InputError

FIRST = 100


def arrival(last, first=None):
    """Trades of one millisecond share a time."""
    return Arrival(last if first is None else first, last, (last // 3, 0, last, last, 1.0, 2.0, 1, 0))


class Bench:
    """A sequencer, and what came out of it."""

    def __init__(self, next_id=FIRST, **options):
        self.rows, self.holes = [], []
        self.sequencer = Sequencer("x:A/B", self.rows.append, self.holes.append, **options)
        if next_id is not None:
            self.sequencer.resume(next_id, (next_id - 1) // 3)

    @property
    def ids(self):
        return [row[3] for row in self.rows]

    def page(self, traded, size=7):
        """Ask a REST that knows these ids for the next page."""
        anchor = self.sequencer.next_id - 1
        rows = [i for i in traded if i >= anchor][:size]
        return self.sequencer.fill(anchor, [arrival(i) for i in rows], len(rows) == size)

    def complete(self, traded):
        for _ in range(10_000):
            self.sequencer.settle()
            if self.page(traded) is Fill.DONE:
                return
        pytest.fail("it does not end")


MISSING = st.sets(st.integers(FIRST, FIRST + 60), max_size=12)
STEPS = st.lists(
    st.tuples(st.sampled_from(["push", "push", "push", "repeat", "page"]), st.integers(0, 70)), max_size=150
)


@given(missing=MISSING, steps=STEPS, waiting=st.integers(0, 9), room=st.lists(st.booleans(), min_size=1))
def test_every_id_goes_out_once_and_in_order_and_only_what_was_never_traded_is_a_hole(missing, steps, waiting, room):
    traded = [FIRST - 1, *sorted(set(range(FIRST, FIRST + 70)) - missing), FIRST + 70]
    bench = Bench(most_waiting=waiting, patience=10_000)
    for n, (what, at) in enumerate(steps):
        if what == "page":
            bench.sequencer.settle()
            bench.page(traded[: at + 1])  # REST is behind
        else:
            trade = traded[min(1 + at, len(traded) - 1)]
            bench.sequencer.push(arrival(trade), room[n % len(room)])
            if what == "repeat":
                bench.sequencer.push(arrival(trade), True)
    bench.complete(traded)
    assert bench.ids == traded[1:]
    assert {i for hole in bench.holes for i in range(hole.id_from, hole.id_to + 1)} == {
        i for i in missing if i < traded[-1]
    }
    by_id = {row[3]: row[0] for row in [arrival(FIRST - 1).row, *bench.rows]}
    assert all(by_id[hole.id_from - 1] == hole.since and by_id[hole.id_to + 1] == hole.until for hole in bench.holes)


@given(cuts=st.lists(st.integers(1, 30), min_size=1, max_size=20), swaps=st.randoms(use_true_random=False))
def test_sums_of_trades_and_single_trades_of_them_are_not_taken_twice(cuts, swaps):
    """A stream that sums trades up, and pages that begin inside a sum."""
    sums, at = [], FIRST
    for size in cuts:
        sums.append(arrival(at + size - 1, at))
        at += size
    pushed = [one for one in sums if swaps.random() < 0.7]
    swaps.shuffle(pushed)
    bench = Bench()
    for one in pushed:
        bench.sequencer.push(one)
        if swaps.random() < 0.4:
            bench.page(range(FIRST - 1, at), size=4)
    bench.complete(range(FIRST - 1, at))
    covered = []
    for row in bench.rows:
        first = next((one.first for one in sums if one.row is row), row[3])
        covered += range(first, row[3] + 1)
    assert covered == list(range(FIRST, at))
    assert not bench.holes


def test_what_comes_before_the_beginning_waits_for_it():
    bench = Bench(next_id=None)
    for i in (103, 101, 102, 105):
        bench.sequencer.push(arrival(i))
    assert not bench.rows
    bench.sequencer.start_after(arrival(101))
    assert bench.ids == [102, 103]
    assert bench.sequencer.missing


def test_a_missing_id_is_given_up_only_when_rest_serves_a_later_one_and_only_after_the_tries():
    bench = Bench(tries=3)
    bench.sequencer.push(arrival(FIRST + 1))
    for _ in range(50):
        assert bench.page([FIRST - 1]) is Fill.WAIT  # REST is behind: that is no hole, for however long
    assert bench.page([FIRST - 1, FIRST + 1]) is Fill.WAIT
    assert bench.page([FIRST - 1, FIRST + 1]) is Fill.WAIT
    assert bench.page([FIRST - 1, FIRST + 1]) is Fill.MORE
    assert bench.holes == [Hole(FIRST // 3, (FIRST + 1) // 3, FIRST, FIRST)]
    assert bench.ids == [FIRST + 1]


def test_a_past_that_is_no_longer_served_is_a_hole():
    bench = Bench(tries=2)
    assert bench.page([FIRST - 1]) is Fill.DONE
    later = [FIRST + 40, FIRST + 41]
    for expected in (Fill.WAIT, Fill.MORE):
        assert bench.sequencer.fill(FIRST - 1, [arrival(i) for i in later], False) is expected
    assert bench.ids == later
    assert [(hole.id_from, hole.id_to) for hole in bench.holes] == [(FIRST, FIRST + 39)]


def test_trades_that_were_pushed_while_a_page_was_on_its_way_are_no_surprise():
    bench = Bench()
    for i in range(FIRST, FIRST + 5):
        bench.sequencer.push(arrival(i))
    page = [arrival(i) for i in range(FIRST - 1, FIRST + 3)]
    assert bench.sequencer.fill(FIRST - 1, page, False) is Fill.DONE
    assert bench.ids == list(range(FIRST, FIRST + 5))


def test_ids_that_begin_anew_are_a_sentence():
    bench = Bench(patience=4)
    page = [arrival(5), arrival(6)]
    for _ in range(50):
        assert bench.sequencer.fill(FIRST - 1, [], False) is Fill.WAIT  # no page at all shows nothing
    for _ in range(3):
        assert bench.sequencer.fill(FIRST - 1, page, False) is Fill.WAIT
    with pytest.raises(InputError, match=r"x:A/B: the exchange does not know trade 99.*ids 5 to 6.*begun anew"):
        bench.sequencer.fill(FIRST - 1, page, False)
