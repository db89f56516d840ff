"""Trades whose ids do not count: none goes out twice, and each that does not go out lies in a hole that was stated."""

from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange.overlap import Overlap
from connectors.exchange.sequencer import Arrival, Fill


def arrival(n):
    """Trade number n, with an id that says nothing of its place; two trades share a time."""
    name = -(n * 7919 % 100_003) - 1
    return Arrival(name, name, (1_000 + n // 2, 0, name, name, 1.0, 2.0, 1, 0))


class Bench:
    def __init__(self):
        self.rows, self.holes = [], []
        self.overlap = Overlap("x:A/B", self.rows.append, self.holes.append)
        self.overlap.start_after(arrival(-1))
        self.number = {arrival(n).last: n for n in range(-1, 500)}

    @property
    def numbers(self):
        return [self.number[row[3]] for row in self.rows]


STEPS = st.lists(
    st.tuples(st.sampled_from(["trade", "trade", "trade", "lose", "page", "cut"]), st.integers(1, 12)), max_size=80
)


@given(steps=STEPS, size=st.integers(2, 20))
def test_nothing_twice_and_every_loss_stated(steps, size):
    bench, made = Bench(), 0
    overlap, up = bench.overlap, True

    def page():
        assert overlap.fill(0, [arrival(n) for n in range(max(-1, made - size), made)], False) is not Fill.MORE

    for what, count in steps:
        if what == "trade":
            if not up:  # connected again: from here on all is pushed
                overlap.interrupted()
                up = True
            for n in range(made, made + count):
                overlap.push(arrival(n))
                overlap.push(arrival(n))
            made += count
            if overlap.missing:
                page()
        elif what == "lose":
            up = False
            made += count
        elif what == "cut":
            up = False
        else:
            page()
    overlap.interrupted()
    overlap.push(arrival(made))
    made += 1
    while overlap.missing:
        page()
    assert bench.numbers == sorted(set(bench.numbers))
    assert [row[2] for row in bench.rows] == list(range(len(bench.rows)))
    for n in set(range(made)) - set(bench.numbers):
        assert any(hole.since <= arrival(n).row[0] <= hole.until for hole in bench.holes), n


def test_an_overlap_on_both_sides_leaves_no_hole():
    bench = Bench()
    bench.overlap.interrupted()
    bench.overlap.push(arrival(4))
    assert bench.overlap.missing
    assert bench.overlap.fill(0, [arrival(n) for n in range(-1, 4)], False) is Fill.WAIT  # REST is behind the stream
    assert bench.overlap.fill(0, [arrival(n) for n in range(1, 6)], False) is Fill.DONE
    assert bench.numbers == [0, 1, 2, 3, 4, 5]
    assert not bench.holes


def test_a_loss_without_a_break_is_found_by_an_audit():
    bench = Bench()
    bench.overlap.push(arrival(0))
    assert bench.overlap.fill(0, [arrival(-1), arrival(0)], False) is Fill.DONE
    for n in (1, 2, 9, 10):
        bench.overlap.push(arrival(n))
    bench.overlap.fill(0, [arrival(n) for n in range(11)], False)
    assert [(hole.since, hole.until) for hole in bench.holes] == [(1001, 1004)]
