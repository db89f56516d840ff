"""The book against a second one, made the plain way, after every update; its minutes against the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from beside import book
from hypothesis import given
from hypothesis import strategies as st
from simple_book import MEANS, SimpleBook, minutes, updates

from events.frames import concat
from events.schema import BOOK_DELTA, BOOK_SNAPSHOT, NEVER, SYNCED
from events.times import MINUTE_NS, SECOND_NS
from operators.microstructure.book import BookMinutes, BookSettings
from operators.microstructure.columns import BOOK_COLUMNS, LASTS, SUMS


def sides(core):
    """Bids and asks of a core, best first."""
    out = []
    for side, name, sign in ((0, "n_bids", 1), (1, "n_asks", -1)):
        n = int(core.state[name][0])
        keys, sizes = core.levels[side, :, :n][:, ::-1]
        out.append([(sign * float(key), float(size)) for key, size in zip(keys, sizes)])
    return tuple(out)


def run(rows, settings, after=lambda core: None):
    """A core that took these rows update by update, and the rows it made."""
    core, made = BookMinutes(settings), {name: [] for name in BookMinutes.outputs}
    core.instrument = "lab:BTC/USDT"
    for update in updates(rows):
        for name, out in core.advance(int(update["available_at"][0]) + 1, {"book": update}, {}):
            made[name].append(out)
        after(core)
    return core, made


def fine(rows, shift=9900):
    """The same book at prices where a tick is half a basis point."""
    rows = rows.copy()
    rows["price"][rows["side"] != 0] += shift
    return rows


@given(seed=st.integers(0, 50), skips=st.sampled_from([0.0, 0.05]), crossed=st.sampled_from([0.0, 0.05]))
def test_every_state_is_that_of_the_plain_book(seed, skips, crossed):
    rows, plain, checked = book(120, seed, skips=skips, crossed=crossed), SimpleBook(), []

    def compare(core):
        plain.take(parts[len(checked)])
        known = core.state["state"][0] == SYNCED
        assert known == plain.synced
        if known:
            state = plain.states[-1]
            assert sides(core) == (state.bids, state.asks)
            assert int(core.state["u"][0]) == plain.u
        checked.append(known)

    parts = updates(rows)
    _, made = run(rows, BookSettings(), compare)
    assert sum(checked) > 60
    letters = [letter for part in made["dead_letters"] for letter in part]
    assert [(letter.ts, letter.reason) for letter in letters] == plain.broken
    assert bool(letters) == bool(plain.broken)


@pytest.mark.parametrize("settings", [BookSettings(), BookSettings(depth=20, cap_mult=None), BookSettings(40, 1.5)])
@pytest.mark.parametrize("seed", range(4))
def test_minutes_are_what_their_definitions_say(settings, seed):
    rows = fine(book(400, seed, spacing_ns=6 * SECOND_NS, skips=0.01, crossed=0.01), 9900 if seed else 0)
    until = int(rows["available_at"][-1]) // MINUTE_NS * MINUTE_NS
    plain = SimpleBook()
    for update in updates(rows):
        plain.take(update)
    expected = minutes(plain, until, *settings)
    got = concat([part for part in run(rows, settings)[1]["book.1m"] if len(part)])
    got = got[got["available_at"] <= until]
    assert len(got) > 20
    assert got["available_at"].tolist() == [close for close, row in expected.items() if row]
    for row in got:
        want = expected[int(row["available_at"])]
        values = dict(zip(BOOK_COLUMNS, row["values"].tolist()))
        assert row["synced_ns"] == want.get("synced_ns", 0)
        assert row["updates"] == want.get("updates", 0)
        for name in SUMS:
            assert values[name] == pytest.approx(want.get(name, 0.0), abs=1e-9), name
        for name in MEANS:
            mean = want[f"sum {name}"] / want["synced_ns"] if "synced_ns" in want else math.nan
            assert values[name] == pytest.approx(mean, rel=1e-9, abs=1e-9, nan_ok=True), name
        for name in LASTS:
            assert values[name] == pytest.approx(want.get(name, math.nan), rel=1e-9, nan_ok=True), name


@given(seed=st.integers(0, 20), levels=st.integers(1, 8))
def test_a_full_side_keeps_its_best(seed, levels):
    """Of more levels than a side has room for, the best are kept, whatever the order in which they came."""
    r = np.random.default_rng(seed)
    prices = r.permutation(np.arange(1, 1200 + levels)).astype(float)
    rows = np.zeros(len(prices) + 1, book(1, 0).dtype)
    rows["u_first"] = rows["u_prev"] = rows["u_last"] = NEVER
    rows["price"], rows["qty"], rows["side"] = [*prices, 5000.0], 1.0, [*np.ones(len(prices)), -1]
    rows["kind"], rows["last"][-1] = BOOK_SNAPSHOT, 1
    best = sorted(prices.tolist(), reverse=True)[:1000]
    assert [price for price, _ in sides(run(rows, BookSettings())[0])[0]] == best
    rows["kind"][1:], rows["last"] = BOOK_DELTA, 1
    rows["available_at"] = np.arange(len(rows))
    core, _ = run(rows, BookSettings())
    assert [price for price, _ in sides(core)[0]] == best
    assert int(core.state["updates"][0]) == len(rows)
