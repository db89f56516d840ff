"""Laws of books beyond those of every core: mirror, scale, repeats, voids in front of a join, memory while trades stall."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from beside import book
from book_cases import fine_book
from lab import ALL, END_OF_TIME, KEY, START, Joined, deliver, drive, together, trades

from events.feeds import BOOKS, FEEDS, TRADES
from events.frames import NO_ROWS, Frame, concat, control
from events.identity import id_hash
from events.rows import BOOK_MINUTE
from events.schema import BOOK_DELTA, BOOK_SNAPSHOT, NEVER, VOID
from events.times import MINUTE_NS, SECOND_NS
from operators.bars import Bars
from operators.chain import Beside, Chain
from operators.intake import Intake
from operators.latest import Input
from operators.microstructure.book import BookMinutes, BookSettings
from operators.microstructure.columns import BOOK_COLUMNS, SUMS
from operators.ordered import Ordered

DIRECTIONAL = (*SUMS, "imb_1", "imb_5", "imb_band", "micro_dev")
UNSCALED = ("imb_1", "imb_5", "imb_band", "micro_dev", "spread_bps")
MINUTE = START // MINUTE_NS * MINUTE_NS


DEFAULT = BookSettings()


def minutes(rows, settings=DEFAULT):
    return drive(lambda: BookMinutes(settings), [BOOKS], deliver({BOOKS: rows}, ALL))["book.1m"]


def column(rows, name):
    return rows["values"][:, BOOK_COLUMNS.index(name)]


def steady_book(n, seed):
    """A book whose best prices stay, at 64 ticks of 1/64 on either side of 1024, so that distances mirror exactly."""
    r, rows = np.random.default_rng(seed), np.zeros(n + 2, FEEDS[BOOKS].dtype)
    level = np.append([0, 0], r.integers(0, 64, n))
    rows["side"] = np.append([1, -1], r.choice([-1, 1], n))
    rows["price"] = 1024.0 - rows["side"] * (level + 1) / 64
    rows["qty"] = np.round(r.exponential(5, n + 2), 3) + 0.001
    rows["qty"][(level > 0) & (r.random(n + 2) < 0.3)] = 0.0
    rows["available_at"] = START + np.maximum(np.arange(n + 2) - 1, 0) * 700_000_000
    rows["seq"], rows["kind"], rows["last"] = np.arange(n + 2), BOOK_DELTA, 1
    rows["u_last"], rows["u_first"], rows["u_prev"] = NEVER, NEVER, NEVER
    rows["kind"][:2], rows["last"][0] = BOOK_SNAPSHOT, 0
    return rows


@pytest.mark.parametrize("settings", [BookSettings(), BookSettings(cap_mult=None), BookSettings(20, 2.0)])
def test_mirror_law(settings):
    """Sides swapped, prices mirrored: directional columns change their sign, all else stays or changes places."""
    rows = steady_book(3_000, 5)
    mirrored = rows.copy()
    mirrored["side"], mirrored["price"] = -rows["side"], 2048.0 - rows["price"]
    one, other = minutes(rows, settings)[:-1], minutes(mirrored, settings)[:-1]
    assert len(one) > 30
    for name in DIRECTIONAL:
        assert np.isfinite(column(one, name)).all()
        assert len(np.unique(column(one, name))) > 20, name
        assert (column(one, name) == -column(other, name)).all(), name
    for name in ("bid_qty", "ask_qty"):
        swapped = {"bid_qty": "ask_qty", "ask_qty": "bid_qty"}[name]
        assert (column(one, name) == column(other, swapped)).all()
    for name in ("ad_1", "ad_5", "spread_bps", "mid"):
        assert (column(one, name) == column(other, name)).all()


@pytest.mark.parametrize("moving", [False, True])
def test_mirror_law_of_what_does_not_look_at_distances(moving):
    rows = fine_book(1_000, 3, skips=0.01, crossed=0.01) if moving else steady_book(1_000, 6)
    mirrored = rows.copy()
    mirrored["side"], mirrored["price"] = -rows["side"], np.where(rows["side"], 32768.0 - rows["price"], 0.0)
    one, other = minutes(rows), minutes(mirrored)
    for name in (*SUMS, "imb_1", "imb_5", "micro_dev"):
        assert (column(one, name) + 0.0).tobytes() == (-column(other, name) + 0.0).tobytes(), name


@pytest.mark.parametrize("power", [-7, 9])
def test_scale_law(power):
    rows, factor = fine_book(1_000, 4, skips=0.01), 2.0**power
    dear, large = rows.copy(), rows.copy()
    dear["price"] *= factor
    large["qty"] *= factor
    whole, by_price, by_size = minutes(rows), minutes(dear), minutes(large)
    assert len(whole) > 60
    for name in (*UNSCALED, *SUMS, "ad_1", "ad_5"):
        assert column(whole, name).tobytes() == column(by_price, name).tobytes(), name
    for name in UNSCALED:
        assert column(whole, name).tobytes() == column(by_size, name).tobytes(), name
    for name in (*SUMS, "ad_1", "ad_5", "depth_bid_50_usd"):
        assert (column(whole, name) * factor).tobytes() == column(by_size, name).tobytes(), name
    for name in ("mid", "wmid", "depth_ask_10_usd", "book_slope_bid"):
        assert (column(whole, name) * factor).tobytes() == column(by_price, name).tobytes(), name


def test_repeats_are_refused_before_the_book_and_would_change_nothing_in_it():
    rows = fine_book(400, 7)
    parts = np.split(rows, np.flatnonzero(rows["last"])[:-1] + 1)
    twice = concat([parts[0], *(part for part in parts[1:] for _ in range(2))])
    twice = twice.copy()
    twice["seq"] = np.arange(len(twice))
    assert minutes(twice).tobytes() == minutes(rows).tobytes()


# A void of the book, in front of a join of the instrument's own bars with it.

VOIDED = (MINUTE + 10 * MINUTE_NS + 37 * SECOND_NS, MINUTE + 13 * MINUTE_NS)


def joined(rows, said, arrival):
    """Bars of trades joined with minutes of the book, both fed from these frames in this order of arrival."""
    ticks = trades(600, 8, 3 * SECOND_NS)
    inputs = (Input("book.1m", BOOK_MINUTE, 0),)
    books, bars = Ordered(BookMinutes(DEFAULT), (BOOKS,)), Ordered(Bars((("1m", MINUTE_NS),), 60), (TRADES,))
    join = Ordered(Joined("joined", "bars.1m", inputs), ("bars.1m", "book.1m"))
    made = []
    for frame in arrival(ticks, rows, said):
        stage = books if frame.name == BOOKS else bars
        stage.push(frame)
        for out in stage.advance():
            if out.name in join.streams:
                join.push(out)
        made += join.advance()
    return together(made)["joined"]


def book_first(ticks, rows, said):
    frames = deliver({BOOKS: rows, TRADES: ticks}, ALL, control={BOOKS: said} if len(said) else None)
    return sorted(frames, key=lambda frame: frame.name != BOOKS)


def book_behind(ticks, rows, said):
    """The book stops before the void, which is told when the trades are past it, and comes in one piece after all of them."""
    since = VOIDED[0]
    before, after = rows[rows["available_at"] < since], rows[rows["available_at"] >= since]
    yield Frame(KEY, BOOKS, before, since)
    yield from deliver(
        {TRADES: ticks[ticks["available_at"] < VOIDED[1] + 3 * SECOND_NS]}, 7, end=VOIDED[1] + 3 * SECOND_NS
    )
    if len(said):
        yield Frame(KEY, BOOKS, NO_ROWS, NEVER, said)
    rest = ticks[ticks["available_at"] >= VOIDED[1] + 3 * SECOND_NS]
    yield from deliver({TRADES: rest}, 7)
    yield Frame(KEY, BOOKS, after, END_OF_TIME)


@pytest.mark.parametrize("arrival", [book_first, book_behind])
def test_a_void_of_the_book_lets_the_instruments_own_bars_pass(arrival):
    rows = fine_book(1_200, 9)
    rows = rows[rows["available_at"] < MINUTE + 20 * MINUTE_NS]
    said = control(VOID, VOIDED[0], *VOIDED)
    out, without = joined(rows, said, arrival), joined(rows, said[:0], arrival)
    minute = (out["available_at"] - MINUTE) // MINUTE_NS
    known = {int(m): age == 0 for m, age in zip(minute, out["book.1m.age"])}
    assert [known[m] for m in (9, 10, 11, 12, 13, 14, 15)] == [True, True, False, False, False, True, True]
    voided = {int(m): int(row["voided"]) for m, row in zip(minute, out["book.1m"])}
    assert [voided[m] for m in (9, 10, 14, 15)] == [0, 0, 1, 0]
    assert out[minute <= 10].tobytes() == without[minute <= 10].tobytes()
    assert out.tobytes() == joined(rows, said, book_first).tobytes()


def test_a_void_of_the_book_is_told_as_one_of_its_minutes():
    """From the minute on in whose midst it begins; not in the instrument's own name, in which it would be waited for."""
    rows = fine_book(1_200, 9)
    books = Ordered(BookMinutes(DEFAULT), (BOOKS,))
    books.push(Frame(KEY, BOOKS, rows[rows["available_at"] < VOIDED[0]], VOIDED[0], control(VOID, VOIDED[0], *VOIDED)))
    (void,) = (frame for frame in books.advance() if len(frame.control))
    assert void.name == "book.1m"
    assert void.control[["kind", "since", "until"]].tolist() == [(VOID, MINUTE + 10 * MINUTE_NS + 1, VOIDED[1])]
    assert void.control["id_from"][0] != id_hash(KEY)


# Memory.


def test_updates_do_not_pile_up_while_trades_stall():
    """An hour of a book without a trade: what is held is the book, and a row a minute goes out."""
    stage = Chain(
        Intake({TRADES: 0, BOOKS: 0}),
        Beside({
            (TRADES,): Ordered(Bars((("1m", MINUTE_NS),), 60), (TRADES,)),
            (BOOKS,): Ordered(BookMinutes(DEFAULT), (BOOKS,)),
        }),
        (TRADES, BOOKS),
    )  # fmt: skip
    stage.push(Frame(KEY, TRADES, trades(3, 1), NEVER))
    rows, sizes, out = book(8_000, 2, SECOND_NS // 2), [], 0
    for part in np.split(rows, np.flatnonzero(rows["last"])[99:-1:100] + 1):
        stage.push(Frame(KEY, BOOKS, part, NEVER))
        out += sum(len(frame.rows) for frame in stage.advance() if frame.name == "book.1m")
        sizes.append(len(pickle.dumps(stage.snapshot())))
    assert out >= (rows["available_at"][-1] - START) // MINUTE_NS
    assert max(sizes[20:]) < 1.2 * max(sizes[:20])
    assert max(sizes) < 64_000
