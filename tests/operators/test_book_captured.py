"""Books rebuilt from what Binance sent: the best bid and ask are those that it stated itself, at every update that both name."""

from __future__ import annotations

from bisect import bisect_right
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from captured_books import CAPTURES, captured, update
from lab import together
from test_book_properties import sides

from events.frames import Frame
from events.schema import BOOK_SEQUENCE, BOOK_SNAPSHOT, NEVER, SYNCED
from events.times import MINUTE_NS, SECOND_NS
from operators.microstructure.book import BookMinutes, BookSettings
from operators.microstructure.columns import BOOK_COLUMNS
from operators.ordered import Ordered

pytestmark = [pytest.mark.data, pytest.mark.slow]

KEY = "binance:BTC/USDT"
LEAST = {"spot BTC": 1_000, "spot ETH": 1_000, "USD-M BTC": 600}
"""Updates whose id a best quote names too."""


@cache
def capture(folder: Path, name: str):
    return captured(folder, name)


def best(core):
    """(bid, its size, ask, its size)."""
    n_bids, n_asks = (int(core.state[n][0]) - 1 for n in ("n_bids", "n_asks"))
    (bid, bid_qty), (key, ask_qty) = core.levels[0, :, n_bids].tolist(), core.levels[1, :, n_asks].tolist()
    return bid, bid_qty, -key, ask_qty


def rebuild(updates, quotes):
    """(core, states held against a best quote, those that differ, gaps, dead letters, updates after which it was not SYNCED)."""
    core, checked, wrong, stale = BookMinutes(BookSettings()), 0, 0, 0
    gaps, letters = [], []
    for part in updates:
        made = dict(core.advance(int(part["available_at"][0]) + 1, {"book": part}, {}))
        gaps += made["gaps.book"].tolist() if "gaps.book" in made else []
        letters += made.get("dead_letters", ())
        known, u = core.state["state"][0] == SYNCED, int(core.state["u"][0])
        stale += not known
        if known and u in quotes:
            checked, wrong = checked + 1, wrong + (best(core) != quotes[u])
    return core, checked, wrong, gaps, letters, stale


@pytest.mark.parametrize("name", CAPTURES)
def test_the_best_bid_and_ask_are_those_that_were_stated(market_data, name):
    found = capture(market_data, name)
    _, checked, wrong, gaps, letters, stale = rebuild(found.updates, found.quotes)
    assert (wrong, gaps, letters) == (0, [], [])
    assert checked > LEAST[name]
    assert stale < 20, "only what came before the snapshot waits"


@pytest.mark.parametrize(("name", "untold"), [("spot BTC", 2), ("spot ETH", 0), ("USD-M BTC", 0)])
def test_every_state_is_that_of_the_newest_quote(market_data, name, untold):
    """The quote with the newest id up to that of the book; twice the venue sent none of the newest change."""
    found, different, checked = capture(market_data, name), 0, 0
    ids, core = sorted(found.quotes), BookMinutes(BookSettings())
    for part in found.updates:
        list(core.advance(int(part["available_at"][0]) + 1, {"book": part}, {}))
        newest = bisect_right(ids, int(core.state["u"][0])) - 1
        if core.state["state"][0] == SYNCED and newest >= 0:
            checked, different = checked + 1, different + (best(core) != found.quotes[ids[newest]])
    assert checked > 6_000
    assert different == untold


def healing(found, at):
    """A snapshot of the book as it is after update `at`, as the venue would give it."""
    core = BookMinutes(BookSettings())
    for part in found.updates[: at + 1]:
        list(core.advance(int(part["available_at"][0]) + 1, {"book": part}, {}))
    last = found.updates[at]
    ids = (NEVER, int(last["u_last"][0]), NEVER)
    return update(BOOK_SNAPSHOT, int(last["available_at"][0]), ids, *sides(core))


@pytest.mark.parametrize("fault", ["skipped", "crossed"])
@pytest.mark.parametrize("name", CAPTURES)
def test_a_fault_is_stated_and_healed(market_data, name, fault):
    """Update 2,000 is left out, or spoiled; after update 2,050 comes a snapshot, late, when 2,060 has come too."""
    found = capture(market_data, name)
    snapshot, updates = healing(found, 2_050), list(found.updates)
    lost = updates[2_000]
    if fault == "skipped":
        broken, reason, ids = (
            updates[2_001],
            "BOOK_SEQ",
            (int(lost["u_first"][0]), int(updates[2_001]["u_first"][0]) - 1),
        )
        if lost["u_prev"][0] != NEVER:  # ids of futures are not consecutive
            ids = (int(updates[1_999]["u_last"][0]) + 1, ids[1])
        del updates[2_000]
    else:
        spoiled = lost[:1].copy()
        spoiled["price"], spoiled["qty"], spoiled["side"], spoiled["last"] = 1e6, 1.0, 1, 0
        broken, reason, ids = lost, "CROSSED", (NEVER, NEVER)
        updates[2_000] = np.concatenate([spoiled, lost])
    snapshot["available_at"] = found.updates[2_060]["available_at"][0]
    updates.insert(2_061 - (fault == "skipped"), snapshot)
    core, checked, wrong, gaps, letters, _ = rebuild(updates, found.quotes)
    since, at = int(found.updates[1_999]["available_at"][0]), int(broken["available_at"][0])
    until = int(snapshot["available_at"][0])
    assert gaps == [
        (at, since, NEVER, BOOK_SEQUENCE, *ids),
        (until, since, until, BOOK_SEQUENCE, *ids),
    ]
    assert [(letter.reason, letter.ts) for letter in letters] == [(reason, at)]
    assert wrong == 0
    assert LEAST[name] * 0.9 < checked < rebuild(found.updates, found.quotes)[1]
    sound = rebuild(found.updates, {})[0]
    assert [side[:20] for side in sides(core)] == [side[:20] for side in sides(sound)]


def minutes(frames):
    """The rows of minutes of the book that come of these frames."""
    ordered, out = Ordered(BookMinutes(BookSettings()), ("book",)), []
    for frame in frames:
        ordered.push(frame)
        out += ordered.advance()
    return together(out)["book.1m"]


@cache
def whole(folder, name):
    rows = capture(folder, name).rows
    return minutes([Frame(KEY, "book", rows, int(rows["available_at"].max()) + 1)])


@pytest.mark.parametrize("name", CAPTURES)
def test_its_minutes_do_not_depend_on_how_it_came(market_data, name):
    """Seven updates at a time, the watermark two seconds behind, against all at once."""
    found = capture(market_data, name)
    rows, ends = found.rows, np.cumsum([len(part) for part in found.updates])
    frames = [Frame(KEY, "book", rows[:0], int(rows["available_at"].max()) + 1)]
    for start, end in zip([0, *ends[6:-1:7]], [*ends[6:-1:7], len(rows)]):
        watermark = int(rows["available_at"][:end].max()) - 2 * SECOND_NS
        frames.insert(-1, Frame(KEY, "book", rows[start:end], watermark))
    assert len(frames) > 900
    assert minutes(frames).tobytes() == whole(market_data, name).tobytes()


@pytest.mark.parametrize("name", CAPTURES)
def test_figures_of_a_liquid_book_are_what_they_must_be(market_data, name):
    found = whole(market_data, name)[1:-1]
    assert len(found) >= 6
    v = {column: found["values"][:, k] for k, column in enumerate(BOOK_COLUMNS)}
    assert (found["synced_ns"] == MINUTE_NS).all()
    assert (found["updates"] > 300).all()
    assert ((v["spread_bps"] > 0) & (v["spread_bps"] < 1)).all()
    for column in ("imb_1", "imb_5", "imb_band", "micro_dev"):
        assert (np.abs(v[column]) < 1).all()
    assert ((v["bid"] < v["wmid"]) & (v["wmid"] < v["ask"])).all()
    for side in ("bid", "ask"):
        narrow, middle, wide = (v[f"depth_{side}_{bps}_usd"] for bps in (10, 25, 50))
        assert ((narrow > 0) & (narrow <= middle) & (middle <= wide)).all()
        assert (v[f"book_slope_{side}"] > 0).all()
    assert (v["ctt_buy_10k"] > 0).all()
    assert (v["ofi_1"] != 0).all()
