"""The vectors of order flow, multi-level flow, displayed size and shape, through the kernels that books go through."""

from __future__ import annotations

import math

import numpy as np
import pytest
from captured_books import update

from events.frames import concat
from events.schema import BOOK_DELTA, BOOK_SNAPSHOT, NEVER
from events.times import MINUTE_NS, SECOND_NS
from operators.microstructure.book import BookMinutes, BookSettings
from operators.microstructure.columns import BOOK_COLUMNS
from operators.microstructure.shape import cost_bps, size_cap

MINUTE = 1_700_000_040 * SECOND_NS
LATE = MINUTE + 50 * SECOND_NS
UNCAPPED = BookSettings(cap_mult=None)
NO_IDS = (NEVER, NEVER, NEVER)

# (bid, its size, ask, its size) of one level, then of two
STATES = [(100, 5, 101, 4), (100, 7, 101, 4), (101, 2, 102, 6), (101, 2, 102, 3), (100, 9, 101, 1)]
SECOND = [(99, 8, 102, 9), (99, 6, 102, 9), (100, 7, 103, 5)]
BIDS = [(100.0, 30), (99.95, 20), (99.9, 50), (99.8, 10), (99.5, 100)]
ASKS = [(100.1, 10), (100.15, 25), (100.2, 40), (100.3, 5), (100.6, 80)]


def snapshots(states, times_s):
    """A whole book at each of these seconds of the minute."""
    out = []
    for levels, at in zip(states, times_s):
        bids, asks = [level[:2] for level in levels], [level[2:] for level in levels]
        out.append(update(BOOK_SNAPSHOT, MINUTE + at * SECOND_NS, NO_IDS, bids, asks))
    return out


def minute(updates, settings=UNCAPPED):
    """The row of the minute, by column."""
    core = BookMinutes(settings)
    (row,) = dict(core.advance(MINUTE + MINUTE_NS, {"book": concat(updates)}, {}))["book.1m"]
    return dict(zip(BOOK_COLUMNS, row["values"].tolist())) | {"synced_ns": int(row["synced_ns"])}


@pytest.mark.parametrize(("n", "flow"), [(1, 0), (2, 2), (3, 8), (4, 11), (5, 8)])
def test_order_flow(n, flow):
    assert minute(snapshots([[state] for state in STATES[:n]], range(n)))["ofi_1"] == flow


def test_order_flow_of_single_changes():
    sums = [minute(snapshots([[state] for state in STATES[:n]], range(n)))["ofi_1"] for n in range(1, 6)]
    assert np.diff(sums).tolist() == [2, 6, 3, -3]


@pytest.mark.parametrize(("n", "flows"), [(2, (2, -2)), (3, (8, 14))])
def test_order_flow_of_two_levels(n, flows):
    row = minute(snapshots([list(levels) for levels in zip(STATES, SECOND)][:n], range(n)))
    assert (row["ofi_1"], row["ofi_2"]) == flows
    assert row["ofi_3"] == 0


def test_displayed_size_is_a_mean_over_time():
    row = minute(snapshots([[state] for state in STATES[:3]], (54, 56, 59)))
    assert row["synced_ns"] == 6 * SECOND_NS
    assert row["ad_1"] == pytest.approx(4.916666666666667, rel=1e-12)
    assert row["ad_2"] == 0


def test_an_absent_level_has_no_size_at_its_last_price():
    """Of level 2: it goes, then comes back worse, which is no flow, then better, which is all of it."""
    books = [[(100, 5, 101, 4), (99, 8, 102, 9)], [(100, 5, 101, 4)], [(100, 5, 101, 4), (98, 3, 103, 2)]]
    books.append([(100, 5, 101, 4), (99, 4, 102, 1)])
    sums = [minute(snapshots(books[:n], range(n)))["ofi_2"] for n in range(1, 5)]
    assert np.diff(sums).tolist() == [-8 + 9, 0, 4 - 1]


def test_shape():
    row = minute([update(BOOK_SNAPSHOT, LATE, NO_IDS, BIDS, ASKS)])
    expected = {
        "mid": 100.05,
        "spread_bps": 9.995002498750058,
        "imb_1": 0.5,
        "imb_5": 0.13513513513513514,
        "imb_band": 0.20812898476169733,
        "wmid": 100.075,
        "micro_dev": 0.5,
        "depth_bid_10_usd": 4999,
        "depth_ask_10_usd": 3504.75,
        "depth_bid_25_usd": 10992,
        "depth_ask_25_usd": 8014.25,
        "depth_bid_50_usd": 10992,
        "depth_ask_50_usd": 8014.25,
        "bid": 100.0,
        "bid_qty": 30,
        "ask": 100.1,
        "ask_qty": 10,
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-12), name
    assert math.isnan(row["ctt_buy_100k"])
    assert math.isnan(row["ctt_sell_100k"])


def test_cost_to_trade():
    keys, sizes = np.array(BIDS)[::-1].T.copy()
    asks, ask_sizes = np.array(ASKS)[::-1].T.copy()
    assert cost_bps(-asks, ask_sizes, 5, 50, 100.05, math.inf, 5000.0) == pytest.approx(10.487784245215849, rel=1e-12)
    assert cost_bps(keys, sizes, 5, 50, 100.05, math.inf, 5000.0) == pytest.approx(6.998102229910716, rel=1e-12)
    assert math.isnan(cost_bps(keys, sizes, 5, 50, 100.05, math.inf, 5e6))
    assert math.isnan(cost_bps(keys, sizes, 5, 3, 100.05, math.inf, 10_500.0))  # the first three levels do not hold it


def test_slopes_are_fits_through_the_origin():
    row = minute([update(BOOK_SNAPSHOT, LATE, NO_IDS, BIDS, ASKS)])
    for name, side in (("bid", BIDS[:4]), ("ask", ASKS[:4])):  # the fifth levels are 55 bps away
        distance = np.array([[1e4 * abs(price - 100.05) / 100.05] for price, _ in side])
        notional = np.cumsum([price * size for price, size in side])
        slope = np.linalg.lstsq(distance, notional, rcond=None)[0][0]
        assert row[f"book_slope_{name}"] == pytest.approx(slope, rel=1e-10)


def test_sizes_are_capped_by_the_median():
    """Of the sizes 5, 10, 10, 20, 25, 30, 40, 50, 80, 100 the median is 27.5; twice that, 55, is what a level counts with."""
    assert size_cap(np.array([float(q) for _, q in BIDS]), 5, np.array([float(q) for _, q in ASKS]), 5, 2.0) == 55.0
    row = minute([update(BOOK_SNAPSHOT, LATE, NO_IDS, BIDS, ASKS)], BookSettings(cap_mult=2.0))
    capped = minute([
        update(BOOK_SNAPSHOT, LATE, NO_IDS, [(p, min(q, 55)) for p, q in BIDS], [(p, min(q, 55)) for p, q in ASKS])
    ])  # fmt: skip
    assert {name: row[name] for name in ("imb_5", "imb_band", "depth_bid_50_usd")} == {
        name: capped[name] for name in ("imb_5", "imb_band", "depth_bid_50_usd")
    }
    assert row["imb_5"] == (165 - 135) / (165 + 135)


def test_a_cap_on_the_best_level_moves_the_weighted_mid_but_not_what_is_displayed():
    row = minute([update(BOOK_SNAPSHOT, LATE, NO_IDS, [(100.0, 900), *BIDS[1:]], ASKS)], BookSettings(cap_mult=2.0))
    assert row["bid_qty"] == 900
    assert row["imb_1"] == row["micro_dev"] == (65 - 10) / (65 + 10)  # the median is 32.5


def test_means_weigh_states_by_their_time():
    """A spread of 10 bps for 5 s, of 20 bps for 15 s."""
    first, second = [(9995.0, 1)], [(9990.0, 1)]
    row = minute([
        update(BOOK_SNAPSHOT, MINUTE + 40 * SECOND_NS, NO_IDS, first, [(10005.0, 3)]),
        update(BOOK_DELTA, MINUTE + 45 * SECOND_NS, NO_IDS, [(9995.0, 0), *second], [(10005.0, 0), (10010.0, 3)]),
    ])  # fmt: skip
    assert row["spread_bps"] == pytest.approx((5 * 10 + 15 * 20) / 20, rel=1e-12)
    assert row["imb_1"] == -0.5
