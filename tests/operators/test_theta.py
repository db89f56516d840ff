"""The learned threshold: the vector of file 05 section 4, eviction, and that cuts and restarts change nothing."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest

from events.times import DAY_NS, MINUTE_NS
from operators.theta import PRIOR, QUANTILE, ThetaMemory, upper_edge

PRICE6 = np.array([0.30, 0.20, 0.18, 0.15, 0.10, 0.07])
ALL = 0b111111


def s2(n):
    x, out = 42, np.empty(n)
    for i in range(n):
        x = (1103515245 * x + 12345) % 2**31
        out[i] = x / 2**31
    return out


def rows(days):
    """1,440 records a day, the first at 00:00 of day 0, with the m of the vector."""
    y = s2(3 * 1440 * days).reshape(-1, 3)
    m = np.array([0.4 * (a + b + c - 1.5) for a, b, c in y.tolist()])
    return np.arange(1440 * days) * MINUTE_NS, m


def run(times, m, mask, cuts=(), restart=False):
    memory, out = ThetaMemory(PRICE6, 16.0), []
    memory.cover(0)
    for a, b in pairwise([0, *cuts, len(times)]):
        out.append(memory.apply(times[a:b], m[a:b], mask[a:b]))
        if restart:
            blob = pickle.dumps(memory.snapshot())
            memory = ThetaMemory(PRICE6, 16.0)
            memory.restore(pickle.loads(blob))
    return np.concatenate([theta for theta, _ in out]), np.concatenate([source for _, source in out]), memory


def test_the_vector():
    times, m = rows(11)
    theta, source, _ = run(times, m, np.full(len(m), ALL))
    by_day = {
        day: set(zip(theta[times // DAY_NS == day].tolist(), source[times // DAY_NS == day].tolist()))
        for day in range(11)
    }
    assert all(by_day[day] == {(16.0, PRIOR)} for day in range(7))
    assert by_day[7] == {(22.0, QUANTILE)}
    assert by_day[10] == {(22.0, QUANTILE)}


def test_a_day_that_was_not_covered_from_its_start_does_not_count():
    times, m = rows(9)
    memory = ThetaMemory(PRICE6, 16.0)
    memory.cover(1)
    _, source = memory.apply(times, m, np.full(len(m), ALL))
    assert (source[times // DAY_NS <= 7] == PRIOR).all()
    assert (source[times // DAY_NS == 8] == QUANTILE).all()


@pytest.mark.parametrize("seed", range(4))
def test_cuts_and_restarts_change_nothing(seed):
    r = np.random.default_rng(seed)
    times, m = rows(12)
    mask = np.where(r.random(len(m)) < 0.02, r.integers(0, 63, len(m)), ALL)
    whole = run(times, m, mask)
    cuts = np.sort(r.choice(len(m), 200, replace=False)).tolist()
    got = run(times, m, mask, cuts, restart=True)
    assert np.array_equal(got[0], whole[0])
    assert np.array_equal(got[1], whole[1])
    assert pickle.dumps(got[2].snapshot()) == pickle.dumps(whole[2].snapshot())


def test_at_most_eight_sets_are_kept_the_stalest_goes():
    times, mask = np.arange(10) * MINUTE_NS, np.arange(1, 11)
    _, _, memory = run(times, np.full(10, 0.1), mask)
    assert sorted(memory.sets) == [3, 4, 5, 6, 7, 8, 9, 10]


def test_state_is_bounded():
    times, m = rows(45)
    _, _, memory = run(times, m, np.full(len(m), ALL))
    assert len(memory.sets[ALL].days) <= 31
    assert len(pickle.dumps(memory.snapshot())) < 8_000


def test_upper_edge_counts_what_is_at_or_below():
    counts = np.zeros(101, np.int64)
    counts[[3, 10]] = [39, 1]
    assert upper_edge(counts, 0.975) == (40, 2.0)
    assert upper_edge(counts, 0.98) == (40, 5.5)
