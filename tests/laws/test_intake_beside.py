"""Where rows of the streams beside trades enter: repeats, late rows, faults; how frames are cut decides nothing."""

from __future__ import annotations

import numpy as np
import pytest
from beside import book, samples
from hypothesis import given
from hypothesis import strategies as st
from lab import digest, together
from test_intake import admit

from events.faults import faults
from events.feeds import BOOKS, CONTEXT, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, TICKERS, TOPS, UNIVERSE
from events.frames import Frame, concat
from events.rows import UNIVERSE_ROW
from events.schema import MALFORMED, NEVER
from events.validation import REASONS
from operators.intake import Intake

SAMPLED = (TOPS, TICKERS, OPEN_INTEREST, LONG_SHORT, LIQUIDATIONS, CONTEXT)


def counted(frames):
    (count,) = together(frames)["counts"]
    return count


def updates(rows):
    """The rows of a book, cut into its updates."""
    return np.split(rows, np.flatnonzero(rows["last"])[:-1] + 1)


@given(
    name=st.sampled_from(SAMPLED),
    chunk=st.sampled_from([1, 7, 10**9]),
    restart=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 3),
)
def test_chunks_restarts_and_repeats_of_samples(name, chunk, restart, seed):
    rows = samples(name, 200, seed)
    whole = together(admit(rows, name=name))
    assert len(whole[name]) == len(rows)
    assert digest({name: together(admit(rows, chunk, restart=restart, seed=seed, name=name))[name]}) == digest(
        {name: whole[name]}
    )
    twice = admit(np.repeat(rows, 2), chunk, restart=restart, seed=seed, name=name)
    assert digest({name: together(twice)[name]}) == digest({name: whole[name]})
    assert counted(twice).rejected == {"DUPLICATE": len(rows)}


@given(chunk=st.sampled_from([1, 5, 10**9]), restart=st.sampled_from([0.0, 0.5]), seed=st.integers(0, 3))
def test_updates_of_a_book_are_judged_as_a_whole(chunk, restart, seed):
    rows = book(60, seed)
    parts = updates(rows)
    spoiled = [part.copy() for part in parts]
    spoiled[10]["qty"][-1] = -1.0
    spoiled[20]["available_at"] = parts[0]["available_at"][0] - 10**10
    sent = [concat(spoiled[a : a + chunk]) for a in range(0, len(parts), chunk)]
    out, kept = [], [part for k, part in enumerate(parts) if k not in (10, 20)]
    stage = Intake({BOOKS: 0})
    for part in [*sent, *parts[1:2]]:
        stage.push(Frame("lab:BTC/USDT", BOOKS, part, NEVER))
        out += stage.advance()
        if restart:
            held, stage = stage.snapshot(), Intake({BOOKS: 0})
            stage.restore(held)
    got = together(out)
    assert digest({BOOKS: got[BOOKS]}) == digest({BOOKS: concat(kept)})
    said = [letter.reason for letter in got["dead_letters"]]
    assert said == ["NON_POSITIVE"] * len(parts[10]) + ["LATE"] * len(parts[20])


@pytest.mark.parametrize(
    ("name", "field", "value", "reason"),
    [
        (TOPS, "ask", 1.0, "CROSSED"),
        (TOPS, "bid_qty", 0.0, "NON_POSITIVE"),
        (TICKERS, "mark", np.inf, "NON_FINITE"),
        (TICKERS, "last", 1.0, "OUT_OF_RANGE"),
        (OPEN_INTEREST, "oi_base", -1.0, "OUT_OF_RANGE"),
        (OPEN_INTEREST, "oi_base", np.nan, "NON_FINITE"),
        (LONG_SHORT, "long_frac", 1.0, "OUT_OF_RANGE"),
        (LONG_SHORT, "basis", 3, "MALFORMED"),
        (LIQUIDATIONS, "pos", 0, "BAD_SIDE"),
        (LIQUIDATIONS, "price", 0.0, "NON_POSITIVE"),
        (CONTEXT, "value", 101.0, "OUT_OF_RANGE"),
        (CONTEXT, "flags", MALFORMED, "MALFORMED"),
        (BOOKS, "side", 2, "BAD_SIDE"),
        (BOOKS, "price", 1e13, "OUT_OF_RANGE"),
    ],
)
def test_each_fault_has_its_reason(name, field, value, reason):
    rows = book(3, 1) if name == BOOKS else samples(name, 5, 1)
    assert not faults(name, rows).any()
    rows[field][2] = value
    assert [REASONS[code] for code in faults(name, rows)][:4] == ["", "", reason, ""]


def test_dead_letters_of_an_instrument_that_joins_again_are_others():
    rows = samples(TOPS, 3, 1)
    rows["bid"][1] = 0.0
    told = []
    for joins in (1, 2):
        stage = Intake()
        for name, sent in ((UNIVERSE, np.array([(joins, joins, joins, 1.0, 1, 0)], UNIVERSE_ROW)), (TOPS, rows)):
            stage.push(Frame("lab:BTC/USDT", name, sent, NEVER))
        told += together(stage.advance())["dead_letters"]
    assert [letter.reason for letter in told] == ["NON_POSITIVE"] * 2
    assert told[0].record_id != told[1].record_id
